// Inside data/ only: one checked file of a Dataset.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/encoded.h"
#include "data/hdf5/heap_rows.h"
#include "data/hdf5/rows.h"

namespace vitral::data {

class DatasetFile {
 public:
  /// targets: those that must be there; of those for places no others are looked at.
  explicit DatasetFile(const std::string& path, const DatasetNames& names = {},
                       const std::vector<Target>& targets = {});

  std::string path;
  std::string images_name, embeddings_name;  // "/images", "/embeddings", or as they were named
  std::int64_t size = 0;
  std::optional<RowReader> plain;         // [N,H,W,3]; either this
  std::optional<EncodedReader> encoded;   // or this
  std::optional<RowReader> embeddings;    // [N,D] or [N,V,D]
  std::int64_t width = 0;                 // D
  std::optional<RowReader> regions;       // [N,R,D] or [N,V,R,D]
  std::optional<RowReader> patches;       // [N,N',D] or [N,V,N',D]
  Tensor region_boxes;                    // float32 [R,4]
  std::int64_t views = 0;                 // V of all of these, 0: without views
  std::vector<std::uint64_t> view_seeds;  // [N,V]
  std::vector<std::string> names;         // [N] or none
  std::int64_t captions_each = 0;         // C of /captions [N,C], 1 of [N], 0: none
  std::optional<Concepts> concepts;
  std::optional<MaskReader> masks;
  std::vector<Dataset::Size> original_sizes;  // [N], or none
  std::optional<std::string> teacher, transform, stored;
  std::optional<Exif> exif;  // how the embeddings were made; none without embeddings
  int view_size = 0;         // pixels a side of the views, 0: not stored

  /// float32 [D], [R,D] or [N',D] of row i, view v, as it is stored.
  void read_target(Target kind, std::int64_t i, std::int64_t v, float* to) const;
  /// Of read_target(). UsageError: they are not read.
  Shape target_shape(Target kind) const;
  /// As those of Dataset.
  void open_captions() const;
  std::vector<std::string> captions(std::int64_t i) const;
  std::string description() const;
  /// UsageError that says what to do, where there are no embeddings.
  void require_embeddings() const;

 private:
  void find_images(const H5File& file);
  void check_images(const H5File& file) const;
  void check_embeddings(const H5File& file);
  void read_view_seeds(const H5File& file, const std::string& name, const Shape& shape);
  void check_places(const H5File& file, Target kind);
  void read_region_boxes(const H5File& file, std::int64_t count);
  const RowReader& rows_of(Target kind) const;
  void read_names(const H5File& file, const InputFile& bytes);
  void check_captions(const H5File& file);
  void read_concepts(const H5File& file, const InputFile& bytes);
  std::vector<std::uint8_t> read_flags(const H5File& file, const char* name, std::size_t count) const;
  void read_original_sizes(const H5File& file);
  Tensor read_concept_embeddings(const H5File& file, std::int64_t count) const;

  bool views_known_ = false;  // some target says how many there are
  mutable std::once_flag captions_asked_;
  mutable std::optional<TextReader> captions_;  // opened when the first is asked for
};

}  // namespace vitral::data
