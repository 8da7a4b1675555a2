// Datasets: images with the teacher's embeddings, one HDF5 file or several. docs/dataset.md describes the
// format; every layout there opens here, is checked on opening and then read without the HDF5 library's lock.
//
//   const Dataset train = Dataset::open({"a.h5", "b.h5"});
//   Tensor image = train.image(3);                      // uint8 [H,W,3]
//   Tensor target = train.target(3);                    // float32 [D]
//
// Copies share the open files; every const member may be called from any thread.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/images/image.h"
#include "data/masks.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// Labelled regions, for measuring localisation: C concepts, M objects.
struct Concepts {
  std::vector<std::string> names;           // [C]
  Tensor embeddings;                        // float32 [C,D], or undefined where the file has names alone
  std::vector<std::int64_t> image;          // [M] the image that shows object m
  std::vector<std::int64_t> concept_index;  // [M] which concept it is
  Tensor boxes;  // float32 [M,4]: x0, y0, x1, y1 in 0..1, origin top left; may be [0,4]
  std::vector<std::uint8_t> difficult = {};  // [M] 1: marked as hard to see (VOC); or empty: none is
  std::vector<std::uint8_t> crowd = {};      // [M] 1: one box around many (COCO's iscrowd); or empty: none is
};

/// Of each of so many images the concept of the one object that it shows; -1 where it shows none or several.
std::vector<std::int64_t> only_concepts(const Concepts& concepts, std::int64_t images);

/// Where the datasets of a file lie that has other names for them, groups and all ("/train/x", or "train/x").
struct DatasetNames {
  std::string images;      // "": /images, else /encoded; another name may stand for either
  std::string embeddings;  // "": /embeddings

  bool operator==(const DatasetNames&) const = default;
};

class DatasetFile;

class Dataset {
 public:
  /// Opens and checks. UsageError: no such file, not a dataset, parts that do not fit each other or (for
  /// several files) widths that differ; Error: truncated or damaged. One line, with file and dataset.
  /// `names`: of each of the files. `targets`: what must be there; targets for places are read only so.
  static Dataset open(const std::string& path, const DatasetNames& names = {},
                      const std::vector<Target>& targets = {});
  static Dataset open(const std::vector<std::string>& paths, const DatasetNames& names = {},
                      const std::vector<Target>& targets = {});

  std::int64_t size() const { return begin_.back(); }
  const std::vector<std::string>& paths() const { return paths_; }

  /// D, or 0 where the dataset has no /embeddings (as vitral pack leaves it).
  std::int64_t width() const { return width_; }
  /// UsageError that says how to embed, and what else of the file would do, where it has no /embeddings. Call
  /// before asking for targets.
  void require_embeddings() const;
  /// Of one view: [D], [R,D] or [N',D]. UsageError where open() was not asked for them.
  Shape target_shape(Target kind) const;
  /// float32 [R,4]: x0, y0, x1, y1 in 0..1 of the view, origin top left; undefined without Target::regions.
  const Tensor& region_boxes() const;
  /// Stored views of sample i: V, or 0 where the targets are without views.
  std::int64_t views(std::int64_t i) const;
  /// The view of sample i with seed 0, or -1.
  std::int64_t plain_view(std::int64_t i) const;
  /// The seed that replays view v; 0 is the plain validation transform.
  std::uint64_t view_seed(std::int64_t i, std::int64_t v) const;

  /// uint8 [H,W,3], decoded. Error: an encoded image that does not decode.
  Tensor image(std::int64_t i) const;
  /// H and W of a plain image; nullopt where it is encoded (its size is known after decoding).
  struct Size {
    std::int64_t height = 0, width = 0;
    bool operator==(const Size&) const = default;
  };
  std::optional<Size> plain_size(std::int64_t i) const;
  /// A plain image straight into H * W * 3 bytes.
  void read_plain(std::int64_t i, std::uint8_t* to) const;
  /// The stored file of an encoded image; `buffer` is reused.
  void read_encoded(std::int64_t i, std::vector<std::uint8_t>& buffer) const;
  /// What read_encoded() gave, as image() decodes it. Of `min_side` see data/images/image.h.
  Tensor decode(std::int64_t i, std::span<const std::uint8_t> bytes, std::int64_t min_side = 0) const;
  /// How image i is decoded. Embeddings belong to the pixels that they were made of: a file that has some
  /// keeps to its attribute `exif`, and without one to Exif::ignore, as the versions before the attribute.
  Exif exif(std::int64_t i = 0) const;
  /// How encoded images without embeddings are decoded, or all, where the embeddings are to be replaced.
  void set_exif(Exif exif, bool of_all = false);
  /// One line for people where a file does not follow set_exif(), else "".
  std::string exif_note() const;

  /// float32 [D]: the teacher's embedding of sample i (of view v), as it is stored. It may be zero, not
  /// finite, or beyond what float32 can square; then it has no direction to learn: target_problem() of
  /// data/loader.h finds such ones.
  Tensor target(std::int64_t i, std::int64_t v = 0) const;
  /// target_shape(kind) numbers.
  void read_target(std::int64_t i, std::int64_t v, float* to, Target kind = Target::image) const;

  /// Where image i came from: its entry of /names, or "image 17 of train.h5".
  std::string name(std::int64_t i) const;
  /// Whether that name is stored, and not made of number and file.
  bool has_name(std::int64_t i) const;
  /// Whether a file has /captions.
  bool has_captions() const;
  /// What captions() does else when the first of a file is asked for: opening one forks, which does not go
  /// with threads under a sanitizer.
  void open_captions() const;
  /// What people say of image i, in their order, without the empty strings: maybe none. They are read when
  /// they are asked for. Error: damaged.
  std::vector<std::string> captions(std::int64_t i) const;
  /// Of all files together, `image` counted over the whole dataset; nullopt where no file has /concepts.
  /// Concepts with the same name and the same embedding, or none, are one.
  std::optional<Concepts> concepts() const;
  /// Whether a file has /masks.
  bool has_masks() const;
  /// What each pixel of image i shows, its concepts counted as in concepts(); 0 x 0 where nothing is known of
  /// it. Error: a label that is none.
  LabelMap labels(std::int64_t i) const;
  /// H and W that image i had before it was stretched, where that is stored (/image_sizes); else that of its
  /// pixels; nullopt where it is encoded.
  std::optional<Size> original_size(std::int64_t i) const;

  /// The file that holds sample i.
  const std::string& file(std::int64_t i) const;
  /// Attributes of the file that holds sample i.
  std::optional<std::string> teacher(std::int64_t i = 0) const;
  std::optional<std::string> transform(std::int64_t i = 0) const;
  /// Pixels a side of the views that the seeds replay; 0: not stored.
  int view_size(std::int64_t i = 0) const;
  /// One line for people who crop these images, where they are stretched squares of what they were; else "".
  std::string crop_note() const;

  /// What the dataset holds, one fact a line, for people.
  std::string description() const;

 private:
  Dataset() = default;
  /// The file of sample i; turns i into its row. UsageError out of range.
  const DatasetFile& locate(std::int64_t& i) const;
  std::size_t file_of(std::int64_t i) const;
  void place_concepts();

  std::vector<std::string> paths_;
  std::vector<std::shared_ptr<const DatasetFile>> files_;
  std::vector<std::int64_t> begin_{0};             // first sample of each file, then size()
  std::vector<std::vector<std::int64_t>> places_;  // of the concepts of each file among those of all
  std::int64_t width_ = 0;
  Exif exif_ = Exif::apply;
  bool exif_of_all_ = false;
};

/// Tells other images, by 64 of them: reading all would take too long. Not by the file's size, which a change
/// in place that failed leaves different.
std::uint64_t dataset_digest(const Dataset& dataset);

}  // namespace vitral::data
