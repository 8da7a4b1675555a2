// What each pixel of an image shows: /masks of a dataset file (docs/dataset.md).
//   /masks/labels uint16 [N,H,W]                                              images of one size, or
//   /masks/labels uint16 [total], /masks/offsets uint64 [N+1], /masks/shape [N,2]   images of many
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files/input_file.h"
#include "data/annotations/label_map.h"
#include "data/hdf5/file.h"
#include "data/hdf5/storage_index.h"

namespace vitral::data {

/// Reads label maps, from any thread; where uint16 is stored uncompressed without the HDF5 library.
class MaskReader {
 public:
  /// UsageError: parts that are not as above, not of `images` images, or (`size` [H,W] given) not of their
  /// size; Error: truncated or damaged.
  MaskReader(std::shared_ptr<const H5File> file, std::shared_ptr<const InputFile> bytes, std::int64_t images,
             std::int64_t concepts, const std::optional<Shape>& size);

  /// Of image i. Error: a label beyond the concepts.
  LabelMap read(std::int64_t i) const;
  /// "uint16 [40, 64, 64], chunks of 1 row, read directly"
  std::string description() const;

 private:
  void check_flat(const H5File& file, std::int64_t images, const std::optional<Shape>& size);
  void read_rows(std::int64_t first, std::int64_t count, std::vector<std::uint16_t>& to) const;

  std::shared_ptr<const H5File> file_;  // where the library must read
  std::shared_ptr<const InputFile> bytes_;
  H5Layout layout_;
  StorageIndex index_;
  std::int64_t concepts_ = 0;
  std::vector<std::uint64_t> offsets_, shapes_;  // [N+1], [N,2]; of flat labels
};

/// Writes label maps as they come.
class MaskWriter {
 public:
  /// All of `size` [H,W], or (nullopt) of any, which are written flat.
  MaskWriter(H5File& file, std::optional<Shape> size);

  /// UsageError: of another size. An empty one of a fixed size is all `ignore`.
  void add(const LabelMap& map);
  void finish();

 private:
  H5File* file_;
  std::optional<Shape> size_;
  std::vector<std::uint64_t> offsets_{0}, shapes_;
  std::vector<std::uint16_t> buffer_;  // of flat labels: less than a chunk
};

}  // namespace vitral::data
