// Writes the rows of a dataset as they come, in whole chunks: each is written once.
//
//   RowWriter images(file, "/images", {64, 64, 3}, DType::uint8);
//   images.add(image.raw(), 1);
//   images.finish();
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "data/hdf5/file.h"
#include "tensor/tensor.h"

namespace vitral::data {

class RowWriter {
 public:
  /// A dataset [N, row...]. A chunk holds as many rows as fit into `chunk_bytes`, at least one, and no more
  /// than there are: the index of millions of small rows stays small, and who reads one row by the HDF5
  /// library reads little else.
  RowWriter(H5File& file, std::string name, const Shape& row, DType dtype,
            std::int64_t chunk_bytes = 64 << 10);

  /// `count` rows, one after the other. Error: the disk is full.
  void add(const void* rows, std::size_t count);
  /// [n, row...] of the dataset's dtype.
  void add(const Tensor& rows) { add(rows.raw(), static_cast<std::size_t>(rows.dim(0))); }
  /// Writes what is left, and the dataset where there are no rows.
  void finish();

 private:
  void flush();

  H5File* file_;
  std::string name_;
  Shape row_;
  std::int64_t chunk_rows_;
  std::size_t row_bytes_;
  Tensor buffer_;  // some chunks
  std::int64_t used_ = 0;
  bool created_ = false;
};

}  // namespace vitral::data
