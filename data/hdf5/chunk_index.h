// Inside data/hdf5 only: where the chunks of a dataset lie, by our own reading of the indexes that HDF5
// keeps: B-trees of both versions, fixed and extensible arrays, a single chunk, chunks that follow each other
// (HDF5 File Format Specification 3.0, III.A and VII "Types of Indexes for Dataset Chunks").
//
// The library looks one chunk up at a time, which takes microseconds; an index read from end to end takes
// nanoseconds a chunk.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/hdf5/metadata.h"

namespace vitral::data {

/// A chunked dataset without filters that is cut along its first dimension alone, as the library describes
/// it.
struct ChunkGrid {
  MetadataFormat format;
  std::uint64_t object_header = undefined_address;
  unsigned tree_rank = 32;           // of B-trees of version 1 ("indexed storage internal node K")
  std::vector<std::uint64_t> chunk;  // extents of a chunk
  std::vector<std::uint64_t> most;   // that the dataset may grow to
  std::uint64_t count = 0;           // chunks that it has now
  std::uint64_t chunk_bytes = 0;

  static constexpr std::uint64_t unlimited = ~std::uint64_t{0};
};

/// The offset in the file of each chunk, undefined_address where it was never written; `name`: of the
/// dataset. nullopt: an index that is not known here. Whether the chunks lie within the file remains to be
/// checked. Error: damaged.
std::optional<std::vector<std::uint64_t>> read_chunk_index(const InputFile& file, const std::string& name,
                                                           const ChunkGrid& grid);

}  // namespace vitral::data
