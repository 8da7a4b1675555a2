// The global heap of an HDF5 file, where variable-length values lie (HDF5 File Format Specification 3.0,
// III.E).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/files/input_file.h"

namespace vitral::data {

/// A variable-length value as its dataset stores it, little-endian.
constexpr std::size_t heap_reference_bytes = 16;
struct HeapReference {
  std::uint32_t length = 0;   // elements; here of one byte
  std::uint64_t address = 0;  // of the collection, from the end of the user block
  std::uint32_t object = 0;   // number in the collection
};

struct HeapObject {
  std::uint64_t offset = 0;  // in the file
  std::uint32_t length = 0;  // bytes
};

HeapReference parse_heap_reference(const unsigned char bytes[heap_reference_bytes]);

/// Where the values lie, in the order of the references. Reads every collection once. Error, naming `what`: a
/// reference to nothing, collections that overlap or leave the file.
std::vector<HeapObject> resolve_heap(const InputFile& file, std::uint64_t user_block,
                                     const std::vector<HeapReference>& references, const std::string& what);

}  // namespace vitral::data
