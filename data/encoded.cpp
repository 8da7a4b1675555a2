#include "data/encoded.h"

#include <mutex>

#include "data/hdf5/handle.h"
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

void check_flat(const H5File& file) {
  for (const char* name : {"/encoded/bytes", "/encoded/offsets"})
    if (!file.has(name))
      throw_error<UsageError>("{}: /encoded has no {}; it needs bytes and offsets", file.path(), name + 9);
  if (file.shape("/encoded/bytes").rank() != 1 || file.dtype("/encoded/bytes") != DType::uint8)
    throw_error<UsageError>("{}: /encoded/bytes must be uint8 [total]", file.path());
  if (file.shape("/encoded/offsets").rank() != 1 || file.dtype("/encoded/offsets") != DType::int64)
    throw_error<UsageError>("{}: /encoded/offsets must be uint64 [N+1]", file.path());
}

class Flat : public EncodedReader::Source {
 public:
  Flat(const FilePtr& file, const BytesPtr& bytes)
      : rows_(file, bytes, "/encoded/bytes"), offsets_(file->read_uint64("/encoded/offsets")) {
    const std::string& path = file->path();
    if (offsets_.empty())
      throw_error<UsageError>("{}: /encoded/offsets is empty; N images need N+1 offsets", path);
    const auto total = static_cast<std::uint64_t>(rows_.size());
    for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
      if (offsets_[i] > offsets_[i + 1])
        throw_error<UsageError>("{}: /encoded/offsets falls from {} to {} at row {}; offsets must not fall",
                                path, offsets_[i], offsets_[i + 1], i + 1);
      if (offsets_[i + 1] > total)
        throw_error<UsageError>("{}: /encoded/offsets row {} is {} but /encoded/bytes has {} bytes", path,
                                i + 1, offsets_[i + 1], total);
      if (offsets_[i + 1] - offsets_[i] > longest)
        throw_error<UsageError>("{}: /encoded image {} is {} bytes long, at most 2^30 are read", path, i,
                                offsets_[i + 1] - offsets_[i]);
    }
    if (offsets_.size() == 1 && offsets_[0] > total)
      throw_error<UsageError>("{}: /encoded/offsets row 0 is {} but /encoded/bytes has {} bytes", path,
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
  VariableLength(const FilePtr& file, const BytesPtr& bytes)
      : file_(file), bytes_(bytes), dataset_(open_dataset(*file, "/encoded")) {
    const std::string& path = file->path();
    const Shape shape = file->shape("/encoded");
    const Handle type(H5Dget_type(dataset_), H5Tclose);
    const bool is_vlen = H5Tget_class(type) == H5T_VLEN;
    const Handle element(is_vlen ? H5Tget_super(type) : -1, H5Tclose);
    if (shape.rank() != 1 || !is_vlen || H5Tget_class(element) != H5T_INTEGER || H5Tget_size(element) != 1 ||
        H5Tget_sign(element) != H5T_SGN_NONE)
      throw_error<UsageError>(
          "{}: /encoded must be variable-length uint8 [N], or a group with bytes and offsets", path);
    index_ = index_storage(*file, *bytes, "/encoded");
    if (index_.obstacle.empty()) objects_ = resolve_heap_rows(*file, *bytes, index_, "/encoded");
    for (std::size_t i = 0; i < objects_.size(); ++i)
      if (objects_[i].length > longest)
        throw_error<UsageError>("{}: /encoded image {} is {} bytes long, at most 2^30 are read", path, i,
                                objects_[i].length);
  }

  std::int64_t size() const override { return index_.rows; }
  void read(std::int64_t i, std::vector<std::uint8_t>& to) const override {
    if (!index_.obstacle.empty()) return read_by_library(i, to);
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
  void read_by_library(std::int64_t i, std::vector<std::uint8_t>& to) const {
    const auto lock = lock_hdf5();
    const Handle space(H5Dget_space(dataset_), H5Sclose);
    const auto row = static_cast<hsize_t>(i);
    const hsize_t one = 1;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &row, nullptr, &one, nullptr);
    const Handle memory(H5Screate_simple(1, &one, nullptr), H5Sclose);
    const Handle type(H5Tvlen_create(H5T_NATIVE_UINT8), H5Tclose);
    hvl_t value{};
    if (H5Dread(dataset_, type, memory, space, H5P_DEFAULT, &value) < 0)
      throw_error("{}: /encoded row {} cannot be read; the file is damaged", file_->path(), i);
    const auto* from = static_cast<const std::uint8_t*>(value.p);
    to.assign(from, from + (from ? value.len : 0));
    H5Dvlen_reclaim(type, memory, H5P_DEFAULT, &value);
  }

  FilePtr file_;
  BytesPtr bytes_;
  Handle dataset_;
  StorageIndex index_;
  std::vector<HeapObject> objects_;
};

}  // namespace

EncodedReader::EncodedReader(const FilePtr& file, const BytesPtr& bytes) {
  const Handle object(H5Oopen(file->id(), "/encoded", H5P_DEFAULT), H5Oclose);
  if (object < 0) throw_error("{}: /encoded cannot be read; the file is damaged", file->path());
  if (H5Iget_type(object) == H5I_GROUP) {
    check_flat(*file);
    source_ = std::make_unique<Flat>(file, bytes);
  } else {
    source_ = std::make_unique<VariableLength>(file, bytes);
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
