// How a dataset of an HDF5 file is stored.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "data/hdf5/metadata.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace vitral::data {

struct H5Layout {
  static constexpr std::uint64_t unwritten = ~std::uint64_t{0}, unlimited = ~std::uint64_t{0};

  Shape shape;
  std::vector<std::uint64_t> most;  // that it may grow to
  std::optional<DType> dtype;       // as H5File::dtype()
  bool native = false;              // its numbers are stored as this machine has them in memory
  bool uint16 = false;              // unsigned, of 16 bits, as this machine has them (dtype: int64)
  bool text = false;                // strings, of fixed or variable length
  bool variable = false;            // each element is a reference into the global heap
  bool files = false;               // variable-length bytes [N]
  std::uint64_t element_bytes = 0;  // as stored
  bool contiguous = false, chunked = false, compact = false;  // or none of them
  std::uint64_t offset = unwritten;                           // of contiguous data, in the file
  std::vector<std::uint64_t> chunk;                           // elements in each dimension
  std::uint64_t filters = 0;                                  // that its chunks pass
  std::string missing_filter;                                 // one that this library lacks, or nothing
  std::uint64_t object_header = unwritten;                    // its address
  // Of the whole file:
  MetadataFormat format;
  std::uint32_t tree_rank = 32;  // of B-trees of version 1 ("indexed storage internal node K")

  double bytes() const { return static_cast<double>(shape.numel()) * static_cast<double>(element_bytes); }
  /// Which the library takes into memory to read any of it.
  double chunk_bytes() const {
    double bytes = chunk.empty() ? 0 : static_cast<double>(element_bytes);
    for (const auto n : chunk) bytes *= static_cast<double>(n);
    return bytes;
  }
  auto fields() {
    return std::tie(shape, most, dtype, native, uint16, text, variable, files, element_bytes, contiguous,
                    chunked, compact, offset, chunk, filters, missing_filter, object_header, format,
                    tree_rank);
  }
};

/// UsageError where there is a missing filter.
void require_filter(const std::string& missing, const std::string& path, const std::string& name);

}  // namespace vitral::data
