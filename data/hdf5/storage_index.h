// Where the rows (slices of the first dimension) of an HDF5 dataset lie in its file, so that they can be read
// by pread, without the HDF5 library and its one lock.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/files/input_file.h"
#include "data/hdf5/chunk_index.h"
#include "data/hdf5/file.h"

namespace vitral::data {

struct StorageIndex {
  static constexpr std::uint64_t unwritten = H5Layout::unwritten;

  std::int64_t rows = 0;
  std::size_t row_bytes = 0;  // as stored
  std::int64_t rows_a_piece = 1;
  std::vector<std::uint64_t> pieces;  // absolute offset of each piece (chunk), or `unwritten`
  std::string layout;                 // "contiguous", "chunks of 1 row", ...
  std::string obstacle;               // why the rows cannot be read by pread; empty: they can

  /// Of a row, or `unwritten`.
  std::uint64_t offset_of(std::int64_t row) const;
  /// Reads rows [first, first + count). False, and nothing useful in `to`, where one was never written.
  bool read(const InputFile& file, std::int64_t first, std::int64_t count, void* to) const;
  /// Rows that were never written: they read as the dataset's fill value.
  std::int64_t unwritten_rows() const;
};

/// For numbers, and for variable-length values, whose rows are then the references into the global heap.
/// Every piece is checked to lie within the file (Error: truncated or damaged).
StorageIndex index_storage(const H5File& file, const InputFile& bytes, const std::string& name,
                           const H5Layout& layout);

/// What the library says of a chunked dataset; for read_chunk_index(). Error: damaged.
ChunkGrid describe_chunks(const H5Layout& layout, const std::string& path, const std::string& name);

}  // namespace vitral::data
