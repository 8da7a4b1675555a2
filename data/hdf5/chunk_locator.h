// Addresses of the chunks of a dataset.
//
// The library's own question, H5Dget_chunk_info_by_coord, walks over all chunks for each answer before HDF5
// 1.14 (quadratic: minutes for 100,000 images). H5Dread_chunk looks one chunk up in the index, so we open the
// file a second time through a small file driver that notes where a chunk would be read and reads nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace vitral::data {

class ChunkLocator {
 public:
  /// The dataset must be chunked and without filters. Error: damaged.
  ChunkLocator(const std::string& path, const std::string& name);
  ~ChunkLocator();

  struct Location {
    std::uint64_t offset = 0, bytes = 0;
    bool written = false;
  };
  /// The chunk that begins at row `row` (and at 0 in all other dimensions).
  Location locate(std::uint64_t row);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitral::data
