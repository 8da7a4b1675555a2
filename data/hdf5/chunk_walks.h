// Inside data/hdf5 only: the walks of read_chunk_index(), one for each kind of index. Error: damaged.
#pragma once
#include <cstdint>
#include <vector>

#include "data/hdf5/chunk_index.h"

namespace vitral::data {

/// What a walk finds.
class ChunkOffsets {
 public:
  ChunkOffsets(const Metadata& metadata, const ChunkGrid& grid)
      : user_block_(metadata.format.user_block), offsets_(grid.count, undefined_address) {}

  std::uint64_t count() const { return offsets_.size(); }
  /// Chunks that the dataset has no longer, and those never written, are passed over.
  void set(std::uint64_t chunk, std::uint64_t address) {
    if (chunk >= offsets_.size() || address == undefined_address) return;
    // What overflows is beyond the end of any file, too.
    offsets_[chunk] =
        address < undefined_address - user_block_ ? address + user_block_ : undefined_address - 1;
  }
  std::vector<std::uint64_t> take() { return std::move(offsets_); }

 private:
  std::uint64_t user_block_;
  std::vector<std::uint64_t> offsets_;
};

/// III.A.1 "Version 1 B-trees": what h5py and this program write.
void walk_btree_1(Metadata& metadata, std::uint64_t root, const ChunkGrid& grid, ChunkOffsets& out);
/// VII.E and III.A.2 "Version 2 B-trees".
void walk_btree_2(Metadata& metadata, std::uint64_t header, const ChunkGrid& grid, ChunkOffsets& out);

/// `stride`: elements of the array from one chunk of the first dimension to the next.
/// VII.C "The Fixed Array Index".
void walk_fixed_array(Metadata& metadata, std::uint64_t header, std::uint64_t stride, ChunkOffsets& out);
/// VII.D "The Extensible Array Index".
void walk_extensible_array(Metadata& metadata, std::uint64_t header, std::uint64_t stride, ChunkOffsets& out);

}  // namespace vitral::data
