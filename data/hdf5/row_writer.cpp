#include "data/hdf5/row_writer.h"

#include <algorithm>
#include <cstring>

namespace vitral::data {

RowWriter::RowWriter(H5File& file, std::string name, const Shape& row, DType dtype, std::int64_t chunk_bytes)
    : file_(&file),
      name_(std::move(name)),
      row_(row),
      row_bytes_(static_cast<std::size_t>(row.numel()) * size_of(dtype)) {
  constexpr std::int64_t buffer_bytes = 4 << 20;
  const auto row_bytes = static_cast<std::int64_t>(row_bytes_);
  chunk_rows_ = std::max<std::int64_t>(chunk_bytes / row_bytes, 1);
  Shape shape{std::max<std::int64_t>(buffer_bytes / (chunk_rows_ * row_bytes), 1) * chunk_rows_};
  for (const auto d : row) shape = shape.append(d);
  buffer_ = Tensor(shape, dtype);
}

void RowWriter::add(const void* rows, std::size_t count) {
  const auto* from = static_cast<const char*>(rows);
  while (count > 0) {
    const std::size_t n = std::min(count, static_cast<std::size_t>(buffer_.dim(0) - used_));
    std::memcpy(static_cast<char*>(buffer_.raw()) + static_cast<std::size_t>(used_) * row_bytes_, from,
                n * row_bytes_);
    used_ += static_cast<std::int64_t>(n);
    from += n * row_bytes_;
    count -= n;
    if (used_ == buffer_.dim(0)) flush();
  }
}

void RowWriter::finish() {
  if (used_ > 0 || !created_) flush();
}

void RowWriter::flush() {
  if (!created_)
    file_->create_growing(name_, row_, buffer_.dtype(), std::clamp<std::int64_t>(used_, 1, chunk_rows_));
  created_ = true;
  if (used_ > 0) file_->append(name_, buffer_.rows(0, used_));
  used_ = 0;
}

}  // namespace vitral::data
