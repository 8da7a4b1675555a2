#include "data/hdf5/rows.h"

#include <cstring>
#include <vector>

#include <Eigen/Core>

namespace vitral::data {
namespace {

template <class Stored>
void to_float(const void* from, void* to, std::size_t count) {
  using Eigen::Array, Eigen::Dynamic, Eigen::Index, Eigen::Map;
  const auto n = static_cast<Index>(count);
  Map<Array<float, Dynamic, 1>>(static_cast<float*>(to), n) =
      Map<const Array<Stored, Dynamic, 1>>(static_cast<const Stored*>(from), n).template cast<float>();
}

// What lies in the file as read() gives it.
void convert(DType stored, const std::vector<char>& from, void* to) {
  const std::size_t n = from.size() / size_of(stored);
  if (stored == DType::float16) to_float<Eigen::half>(from.data(), to, n);
  if (stored == DType::float64) to_float<double>(from.data(), to, n);
}

}  // namespace

RowReader::RowReader(std::shared_ptr<const H5File> file, std::shared_ptr<const InputFile> bytes,
                     std::string name)
    : file_(std::move(file)),
      bytes_(std::move(bytes)),
      name_(std::move(name)),
      layout_(file_->layout(name_)) {
  if (!layout_.dtype || *layout_.dtype == DType::int64)
    throw_error<UsageError>("{}: {} does not hold uint8 or floating-point numbers", file_->path(), name_);
  index_ = index_storage(*file_, *bytes_, name_, layout_);
  if (index_.obstacle.empty() && !layout_.native) index_.obstacle = "numbers in a foreign format";
  if (direct() && index_.unwritten_rows() == 0) file_.reset();  // the last one ends the child
}

void RowReader::read_rows(std::int64_t first, std::int64_t count, void* to) const {
  VITRAL_CHECK(first >= 0 && count >= 0 && count <= size() && first <= size() - count,
               "{}: {} rows [{}, {}) are out of range, there are {}", bytes_->path(), name_, first,
               first + count, size());
  if (count == 0 || index_.row_bytes == 0) return;
  if (direct()) {
    if (stored() == DType::uint8 || stored() == DType::float32) {
      if (index_.read(*bytes_, first, count, to)) return;
    } else {
      thread_local std::vector<char> scratch;
      scratch.resize(static_cast<std::size_t>(count) * index_.row_bytes);
      if (index_.read(*bytes_, first, count, scratch.data())) {
        convert(stored(), scratch, to);
        return;
      }
    }
  }
  file_->read_rows(name_, layout_, first, count, dtype(), to);
}

void RowReader::read_part(std::int64_t row, std::int64_t begin, std::int64_t count, void* to) const {
  const std::int64_t all = shape().product(1, shape().rank());
  VITRAL_CHECK(row >= 0 && row < size() && begin >= 0 && count >= 0 && begin <= all - count,
               "{}: {} row {}, numbers [{}, {}) are out of range of {}", bytes_->path(), name_, row, begin,
               begin + count, shape());
  const std::uint64_t offset = direct() ? index_.offset_of(row) : StorageIndex::unwritten;
  if (offset == StorageIndex::unwritten) {
    thread_local std::vector<char> whole;
    const std::size_t bytes = size_of(dtype());
    whole.resize(static_cast<std::size_t>(all) * bytes);
    read(row, whole.data());
    std::memcpy(to, whole.data() + static_cast<std::size_t>(begin) * bytes,
                static_cast<std::size_t>(count) * bytes);
    return;
  }
  const std::uint64_t at = offset + static_cast<std::uint64_t>(begin) * size_of(stored());
  const std::size_t length = static_cast<std::size_t>(count) * size_of(stored());
  if (stored() == dtype()) return bytes_->read(at, to, length);
  thread_local std::vector<char> scratch;
  scratch.resize(length);
  bytes_->read(at, scratch.data(), length);
  convert(stored(), scratch, to);
}

std::string RowReader::description() const {
  if (!direct()) return index_.layout + ", read through the HDF5 library: " + index_.obstacle;
  const std::int64_t unwritten = index_.unwritten_rows();
  return index_.layout + ", read directly" +
         (unwritten > 0 ? fmt::format(", {} rows never written", unwritten) : "");
}

}  // namespace vitral::data
