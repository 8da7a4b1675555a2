// Writes a dataset file as vitral writes it: plain /images in chunks of one image, or of some that are
// small, or image files end to end in /encoded; images stream to the disk as they come.
//
//   DatasetWriter writer("train.h5", DatasetWriter::Size{64, 64});       // std::nullopt: encoded files
//   writer.add_image(image, "cat.jpg", embedding);
//   writer.finish();
//
// Everything is written to PATH.partial and renamed by finish(), so that PATH is never half a file; without
// finish() (an exception, a full disk) PATH stays what it was and PATH.partial is removed
// (base/files/output_file.h).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tensor/tensor.h"

namespace vitral::data {

class DatasetWriter {
 public:
  using Size = Dataset::Size;
  /// Plain images of one size, or (nullopt) encoded ones. UsageError: the file cannot be created,
  /// another process writes it, or the path is a folder or a device.
  DatasetWriter(const std::string& path, std::optional<Size> plain);
  ~DatasetWriter();
  DatasetWriter(DatasetWriter&&) noexcept;
  DatasetWriter& operator=(DatasetWriter&&) noexcept;

  /// uint8 [H,W,3] of the writer's size. Names: for all images or for none. Embedding: float32 [D] for all
  /// images or for none (undefined). Error: the disk is full.
  void add_image(const Tensor& image, const std::string& name = "", const Tensor& embedding = {});
  /// An image file as it is; the caller has checked that it decodes.
  void add_encoded(std::span<const std::uint8_t> file, const std::string& name = "",
                   const Tensor& embedding = {});

  /// Targets for places of the image that was added last, float32 [R,D] or [N',D]: for all images or for
  /// none.
  void add_places(Target kind, const Tensor& embeddings);
  /// Where the regions lie, float32 [R,4].
  void set_region_boxes(const Tensor& boxes);
  /// Of the image that was added last, maybe none. /captions is written where any image has one: strings [N],
  /// or [N,C] where one has C > 1, filled up with "".
  void add_captions(const std::vector<std::string>& captions);
  void set_concepts(const Concepts& concepts);
  /// Of the image that was added last, at the size of its pixels; an empty one says that nothing is known of
  /// it. Label maps: for all images or for none.
  void add_labels(const LabelMap& labels);
  /// That the image which was added last had before it was stretched. For all images or for none.
  void add_original_size(Size size);
  /// Attribute on /: teacher, transform.
  void set_attribute(const std::string& name, const std::string& value);

  std::int64_t size() const;
  /// Writes what is left, checks that parts fit, and renames. Error: the disk is full.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitral::data
