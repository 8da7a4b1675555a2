// Rows of variable length (data or text), by our own reading of references and global heap: the HDF5 library
// holds its lock for each and crashes on damaged ones.
#pragma once
#include <string>
#include <vector>

#include "base/files/input_file.h"
#include "data/hdf5/file.h"
#include "data/hdf5/global_heap.h"
#include "data/hdf5/storage_index.h"

namespace vitral::data {

/// Where the value of each row lies; `index` has no obstacle. Rows never written are empty. Error: damaged.
std::vector<HeapObject> resolve_heap_rows(const InputFile& bytes, const StorageIndex& index,
                                          const H5Layout& layout, const std::string& name);

/// A dataset of strings [N], of fixed or variable length. UsageError: it does not hold text.
std::vector<std::string> read_text_rows(const H5File& file, const InputFile& bytes, const std::string& name);
/// Some rows of it, in this order. UsageError also where one is out of range.
std::vector<std::string> read_text_rows(const H5File& file, const InputFile& bytes, const std::string& name,
                                        const std::vector<std::int64_t>& rows);

}  // namespace vitral::data
