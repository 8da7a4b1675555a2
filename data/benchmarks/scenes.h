// The scenes benchmark: pictures of emoji with captions, to train a CLIP and what follows from one
// (docs/scenes.md). The captions say what is there and nothing says where, so what a model knows of places it
// found out by itself; the boxes are for measuring that.
//
//   image     96 x 96 RGB: 1 to 3 objects of different classes on coloured noise, a gradient or soft blobs,
//   or
//             on a blurred crop of a photograph
//   object    an emoji, 24 to 42 pixels high, wholly inside, maybe mirrored; the box is what can be seen of
//             it. Of two objects no more than a fifth of the smaller box is covered
//   captions  3, in different wordings
//
// A scene is a pure function of (font, seed, split, index) and, with photographs, of these; boxes and
// captions do not depend on the background.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"
#include "data/benchmarks/emoji.h"
#include "data/benchmarks/samples.h"
#include "data/image_files.h"
#include "tensor/tensor.h"

namespace vitral::data {

inline constexpr int scenes_image_size = 96;  // pixels a side
inline constexpr int scenes_max_objects = 3;
inline constexpr int scenes_min_height = 24;  // pixels of an object's box
inline constexpr int scenes_max_height = 42;
inline constexpr double scenes_max_overlap = 0.2;  // intersection over the smaller area, of two boxes
inline constexpr int scenes_captions = 3;          // of an image

struct SceneObject {
  std::int64_t concept_index = 0;           // of emoji_classes()
  int x = 0, y = 0, width = 0, height = 0;  // its box in pixels: [x, x + width) x [y, y + height)
  bool mirrored = false;

  std::array<float, 4> box() const;  // x0, y0, x1, y1 in 0..1
};

struct Scene {
  Tensor image;                      // uint8 [96,96,3]
  std::vector<SceneObject> objects;  // 1 to 3, the later ones before the earlier ones
  std::vector<std::string> captions;
};

class Scenes {
 public:
  /// font: as draw_emoji(), "" stands for find_emoji_font(). photographs: a folder (or an image), "" for
  /// none: at most 512 of its images, spread evenly, are taken. Throws as draw_emoji(); UsageError: no image
  /// there; Error: none of them decodes.
  explicit Scenes(const std::string& font = "", const std::string& photographs = "");

  Scene make(std::uint64_t seed, Split split, std::int64_t index) const;

  std::int64_t photographs() const { return static_cast<std::int64_t>(photographs_.size()); }
  /// Photographs that do not decode.
  const std::vector<SkippedFile>& skipped() const { return skipped_; }

 private:
  std::vector<SceneObject> draw_layout(Random& random) const;
  Tensor draw_background(Random& random) const;
  void paint(const SceneObject& object, const Tensor& image) const;

  std::vector<EmojiPicture> pictures_;
  std::vector<Tensor> photographs_;
  std::vector<SkippedFile> skipped_;
};

/// "apple", "banana", ...
std::vector<std::string> scene_concepts();

/// Writes scenes 0 .. count-1 as a dataset file (/images, /captions [N,3], /concepts/names, /objects). The
/// file appears under its name only when it is complete; it replaces an older one. UsageError: count < 1 or a
/// folder that cannot be written; Error: disk full.
BenchmarkFile write_scenes(const std::string& path, const Scenes& scenes, std::int64_t count,
                           std::uint64_t seed, Split split);

}  // namespace vitral::data
