// Random access to the rows of a dataset of numbers, from any thread.
//
//   const RowReader images(file, bytes, "/images");       // [N,H,W,3] uint8
//   images.read(17, pixels);
//
// On opening, the offsets of all rows are found once (data/hdf5/storage_index.h); then a row is one pread.
// Layouts that cannot be read so (compressed, chunks that split a row, compact, big-endian) go through the
// HDF5 library in the file's child, one thread at a time; description() says which.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "base/files/input_file.h"
#include "data/hdf5/file.h"
#include "data/hdf5/storage_index.h"
#include "tensor/tensor.h"

namespace vitral::data {

class RowReader {
 public:
  /// uint8 rows stay uint8; float16, float32 and float64 rows become float32. UsageError: another type,
  /// storage in another file; Error: truncated or damaged.
  RowReader(std::shared_ptr<const H5File> file, std::shared_ptr<const InputFile> bytes, std::string name);

  const Shape& shape() const { return layout_.shape; }  // [N, row...]
  std::int64_t size() const { return shape()[0]; }
  DType dtype() const { return stored() == DType::uint8 ? DType::uint8 : DType::float32; }  // of read()
  DType stored() const { return *layout_.dtype; }
  bool direct() const { return index_.obstacle.empty(); }  // by pread

  void read(std::int64_t row, void* to) const { read_rows(row, 1, to); }
  /// Rows [first, first + count), one after the other. UsageError out of range.
  void read_rows(std::int64_t first, std::int64_t count, void* to) const;
  /// `count` numbers of a row from its number `begin` on. UsageError out of range.
  void read_part(std::int64_t row, std::int64_t begin, std::int64_t count, void* to) const;
  /// "contiguous, read directly"; "chunks of 64 rows, read through the HDF5 library: compressed or filtered
  /// chunks"
  std::string description() const;

 private:
  std::shared_ptr<const H5File> file_;  // where it is still needed
  std::shared_ptr<const InputFile> bytes_;
  std::string name_;
  H5Layout layout_;
  StorageIndex index_;
};

}  // namespace vitral::data
