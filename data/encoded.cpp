#include "data/encoded.h"

#include "data/hdf5/heap_rows.h"
#include "data/hdf5/rows.h"

namespace vitral::data {

struct EncodedReader::Source {
  virtual ~Source() = default;
  virtual std::int64_t size() const = 0;
  virtual void read(std::int64_t i, std::vector<std::uint8_t>& to) const = 0;
  virtual std::string description() const = 0;
};

namespace {

constexpr std::uint64_t longest = std::uint64_t{1} << 30;  // bytes of one encoded image
using FilePtr = std::shared_ptr<const H5File>;
using BytesPtr = std::shared_ptr<const InputFile>;

void check_flat(const H5File& file, const std::string& name) {
  for (const char* part : {"bytes", "offsets"})
    if (!file.has(name + "/" + part))
      throw_error<UsageError>("{}: {} has no {}; it needs bytes and offsets", file.path(), name, part);
  const std::string bytes = name + "/bytes", offsets = name + "/offsets";
  if (file.shape(bytes).rank() != 1 || file.dtype(bytes) != DType::uint8)
    throw_error<UsageError>("{}: {} must be uint8 [total]", file.path(), bytes);
  if (file.shape(offsets).rank() != 1 || file.dtype(offsets) != DType::int64)
    throw_error<UsageError>("{}: {} must be uint64 [N+1]", file.path(), offsets);
}

class Flat : public EncodedReader::Source {
 public:
  Flat(const FilePtr& file, const BytesPtr& bytes, const std::string& name)
      : rows_(file, bytes, name + "/bytes"), offsets_(file->read_uint64(name + "/offsets")) {
    const std::string& path = file->path();
    if (offsets_.empty())
      throw_error<UsageError>("{}: {}/offsets is empty; N images need N+1 offsets", path, name);
    const auto total = static_cast<std::uint64_t>(rows_.size());
    for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
      if (offsets_[i] > offsets_[i + 1])
        throw_error<UsageError>("{}: {}/offsets falls from {} to {} at row {}; offsets must not fall", path,
                                name, offsets_[i], offsets_[i + 1], i + 1);
      if (offsets_[i + 1] > total)
        throw_error<UsageError>("{0}: {1}/offsets row {2} is {3} but {1}/bytes has {4} bytes", path, name,
                                i + 1, offsets_[i + 1], total);
      if (offsets_[i + 1] - offsets_[i] > longest)
        throw_error<UsageError>("{}: {} image {} is {} bytes long, at most 2^30 are read", path, name, i,
                                offsets_[i + 1] - offsets_[i]);
    }
    if (offsets_.size() == 1 && offsets_[0] > total)
      throw_error<UsageError>("{0}: {1}/offsets row 0 is {2} but {1}/bytes has {3} bytes", path, name,
                              offsets_[0], total);
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(offsets_.size()) - 1; }
  void read(std::int64_t i, std::vector<std::uint8_t>& to) const override {
    const auto k = static_cast<std::size_t>(i);
    to.resize(static_cast<std::size_t>(offsets_[k + 1] - offsets_[k]));
    rows_.read_rows(static_cast<std::int64_t>(offsets_[k]), static_cast<std::int64_t>(to.size()), to.data());
  }
  std::string description() const override { return "flat, " + rows_.description(); }

 private:
  RowReader rows_;
  std::vector<std::uint64_t> offsets_;
};

class VariableLength : public EncodedReader::Source {
 public:
  VariableLength(const FilePtr& file, const BytesPtr& bytes, const std::string& name)
      : file_(file), bytes_(bytes), name_(name), layout_(file->layout(name)) {
    const std::string& path = file->path();
    if (!layout_.files)
      throw_error<UsageError>("{}: {} must be variable-length uint8 [N], or a group with bytes and offsets",
                              path, name);
    index_ = index_storage(*file, *bytes, name, layout_);
    if (index_.obstacle.empty()) {
      objects_ = resolve_heap_rows(*bytes, index_, layout_, name);
      file_.reset();  // the last one ends the child
    }
    for (std::size_t i = 0; i < objects_.size(); ++i)
      if (objects_[i].length > longest)
        throw_error<UsageError>("{}: {} image {} is {} bytes long, at most 2^30 are read", path, name, i,
                                objects_[i].length);
  }

  std::int64_t size() const override { return index_.rows; }
  void read(std::int64_t i, std::vector<std::uint8_t>& to) const override {
    if (file_) {
      to = file_->read_bytes(name_, layout_, i);
      return;
    }
    const HeapObject& object = objects_[static_cast<std::size_t>(i)];
    to.resize(object.length);
    bytes_->read(object.offset, to.data(), object.length);
  }
  std::string description() const override {
    const std::string kind = "variable-length, " + index_.layout;
    return index_.obstacle.empty() ? kind + ", resolved and read directly"
                                   : kind + ", read through the HDF5 library: " + index_.obstacle;
  }

 private:
  FilePtr file_;  // where the library must read
  BytesPtr bytes_;
  std::string name_;
  H5Layout layout_;
  StorageIndex index_;
  std::vector<HeapObject> objects_;
};

}  // namespace

EncodedReader::EncodedReader(const FilePtr& file, const BytesPtr& bytes, const std::string& name) {
  if (file->is_group(name)) {
    check_flat(*file, name);
    source_ = std::make_unique<Flat>(file, bytes, name);
  } else {
    source_ = std::make_unique<VariableLength>(file, bytes, name);
  }
}

EncodedReader::~EncodedReader() = default;
EncodedReader::EncodedReader(EncodedReader&&) noexcept = default;
EncodedReader& EncodedReader::operator=(EncodedReader&&) noexcept = default;

std::int64_t EncodedReader::size() const { return source_->size(); }

void EncodedReader::read(std::int64_t i, std::vector<std::uint8_t>& to) const {
  VITRAL_CHECK(i >= 0 && i < size(), "/encoded row {} is out of range, there are {}", i, size());
  source_->read(i, to);
}

std::string EncodedReader::description() const { return source_->description(); }

}  // namespace vitral::data
