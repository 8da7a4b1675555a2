// Labelled objects: what a dataset says about where in its images a concept is.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "data/dataset.h"

namespace vitral::infer {

using Box = std::array<float, 4>;  // x0, y0, x1, y1 in 0..1, origin top left

struct LabelledObject {
  std::int64_t image = 0;          // which of the batch, 0..B-1
  std::int64_t concept_index = 0;  // 0..C-1
  Box box{};
  bool difficult = false;  // as the dataset marks it: hard to recognise, left out by the usual protocol
  bool crowd = false;      // not one object but many together
};

/// The objects of each image of a dataset, in the order of the file; their `image` is 0.
using ObjectsByImage = std::map<std::int64_t, std::vector<LabelledObject>>;
ObjectsByImage objects_by_image(const data::Concepts& concepts);

/// Those of a batch: `images` are the numbers of its images in the dataset.
std::vector<LabelledObject> objects_of(const ObjectsByImage& objects,
                                       const std::vector<std::int64_t>& images);

/// What every measure on labelled boxes asks of its input; `operation` opens the message. UsageError:
/// concepts that are not float32 [C,D], a grid without patches; patches that are not float32 [B,N,D] of that
/// grid and width, an image or concept out of range, a box that is turned round or outside 0..1.
void check_concepts(const char* operation, const Tensor& concepts, std::int64_t rows, std::int64_t columns);
void check_objects(const char* operation, const Tensor& patch_embeddings, std::int64_t rows,
                   std::int64_t columns, const Tensor& concepts, std::span<const LabelledObject> objects);

}  // namespace vitral::infer
