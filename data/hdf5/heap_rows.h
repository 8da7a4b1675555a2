// Rows of variable length (data or text), by our own reading of references and global heap: the HDF5 library
// holds its lock for each and crashes on damaged ones.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/files/input_file.h"
#include "data/hdf5/file.h"
#include "data/hdf5/global_heap.h"
#include "data/hdf5/storage_index.h"

namespace vitral::data {

/// Where each value lies, row by row; `index` has no obstacle. Values never written are empty. Error:
/// damaged.
std::vector<HeapObject> resolve_heap_rows(const InputFile& bytes, const StorageIndex& index,
                                          const H5Layout& layout, const std::string& name);

/// A dataset of strings, row by row, of fixed or variable length. UsageError: it does not hold text.
std::vector<std::string> read_text_rows(const H5File& file, const InputFile& bytes, const std::string& name);
/// Some rows of it, in this order. UsageError also where one is out of range.
std::vector<std::string> read_text_rows(const H5File& file, const InputFile& bytes, const std::string& name,
                                        const std::vector<std::int64_t>& rows);

/// Strings [N] or [N,C], one row at a time, from any thread: places are resolved on opening, texts are read
/// when they are asked for (all at once where the HDF5 library must read them).
class TextReader {
 public:
  /// UsageError: it does not hold text; Error: truncated or damaged.
  TextReader(const H5File& file, std::shared_ptr<const InputFile> bytes, const std::string& name);

  /// The C strings of a row (one, of [N]). UsageError out of range; Error: damaged.
  std::vector<std::string> read(std::int64_t row) const;

 private:
  std::shared_ptr<const InputFile> bytes_;
  std::string name_;
  std::size_t rows_ = 0, a_row_ = 1;
  std::vector<HeapObject> places_;  // [N * C]; or, where the library must read
  std::vector<std::string> texts_;  // them all
};

}  // namespace vitral::data
