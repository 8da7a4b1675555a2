#include "data/hdf5/rows.h"

#include <vector>

#include <Eigen/Core>

#include "data/hdf5/handle.h"

namespace vitral::data {
namespace {

bool native(hid_t type, DType stored) {
  switch (stored) {
    case DType::uint8:
      return H5Tget_precision(type) == 8;
    case DType::float16:
      return H5Tequal(type, float16_type()) > 0;
    case DType::float32:
      return H5Tequal(type, H5T_NATIVE_FLOAT) > 0;
    case DType::float64:
      return H5Tequal(type, H5T_NATIVE_DOUBLE) > 0;
    default:
      return false;
  }
}

template <class Stored>
void to_float(const void* from, void* to, std::size_t count) {
  using Eigen::Array, Eigen::Dynamic, Eigen::Index, Eigen::Map;
  const auto n = static_cast<Index>(count);
  Map<Array<float, Dynamic, 1>>(static_cast<float*>(to), n) =
      Map<const Array<Stored, Dynamic, 1>>(static_cast<const Stored*>(from), n).template cast<float>();
}

}  // namespace

struct RowReader::Library {
  Handle dataset, space;
};

RowReader::RowReader(std::shared_ptr<const H5File> file, std::shared_ptr<const InputFile> bytes,
                     std::string name)
    : file_(std::move(file)), bytes_(std::move(bytes)), name_(std::move(name)) {
  const auto lock = lock_hdf5();
  shape_ = file_->shape(name_);
  const auto dtype = file_->dtype(name_);
  if (!dtype || *dtype == DType::int64)
    throw_error<UsageError>("{}: {} does not hold uint8 or floating-point numbers", file_->path(), name_);
  stored_ = *dtype;
  library_ = std::make_unique<Library>();
  library_->dataset = open_dataset(*file_, name_);
  library_->space = Handle(H5Dget_space(library_->dataset), H5Sclose);
  index_ = index_storage(*file_, *bytes_, name_);
  const Handle type(H5Dget_type(library_->dataset), H5Tclose);
  if (index_.obstacle.empty() && !native(type, stored_)) index_.obstacle = "numbers in a foreign format";
}

RowReader::~RowReader() {
  const auto lock = lock_hdf5();
  library_.reset();
  file_.reset();  // the last reader of a file closes it
}
RowReader::RowReader(RowReader&&) noexcept = default;
RowReader& RowReader::operator=(RowReader&&) noexcept = default;

void RowReader::read_rows(std::int64_t first, std::int64_t count, void* to) const {
  VITRAL_CHECK(first >= 0 && count >= 0 && count <= size() && first <= size() - count,
               "{}: {} rows [{}, {}) are out of range, there are {}", file_->path(), name_, first,
               first + count, size());
  if (count == 0 || index_.row_bytes == 0) return;
  if (direct()) {
    if (stored_ == DType::uint8 || stored_ == DType::float32) {
      if (index_.read(*bytes_, first, count, to)) return;
    } else {
      thread_local std::vector<char> scratch;
      scratch.resize(static_cast<std::size_t>(count) * index_.row_bytes);
      if (index_.read(*bytes_, first, count, scratch.data())) {
        const std::size_t n = scratch.size() / size_of(stored_);
        if (stored_ == DType::float16) to_float<Eigen::half>(scratch.data(), to, n);
        if (stored_ == DType::float64) to_float<double>(scratch.data(), to, n);
        return;
      }
    }
  }
  const auto lock = lock_hdf5();
  std::vector<hsize_t> start(static_cast<std::size_t>(shape_.rank()), 0);
  std::vector<hsize_t> extent(shape_.begin(), shape_.end());
  start[0] = static_cast<hsize_t>(first);
  extent[0] = static_cast<hsize_t>(count);
  H5Sselect_hyperslab(library_->space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
  const Handle memory(H5Screate_simple(shape_.rank(), extent.data(), nullptr), H5Sclose);
  if (H5Dread(library_->dataset, memory_type(dtype()), memory, library_->space, H5P_DEFAULT, to) < 0)
    throw_error("{}: {} row {} cannot be read; the file is damaged", file_->path(), name_, first);
}

std::string RowReader::description() const {
  if (!direct()) return index_.layout + ", read through the HDF5 library: " + index_.obstacle;
  const std::int64_t unwritten = index_.unwritten_rows();
  return index_.layout + ", read directly" +
         (unwritten > 0 ? fmt::format(", {} rows never written", unwritten) : "");
}

}  // namespace vitral::data
