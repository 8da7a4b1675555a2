// The shapes benchmark: images of coloured shapes with the embedding a perfect teacher would give them, in
// one space with the concepts ("red circle"), as CLIP has one space for images and text. Nothing in an
// embedding says where an object is, so what a student knows of positions it found out by itself
// (infer/measure/pointing.h).
//
//   image      64x64 RGB: 1 to 3 objects with different concepts in non-overlapping boxes, on a gradient with
//              noise
//   concept    c = (colour + shape) / |colour + shape|
//   embedding  e = s / |s|,  s = sum over the objects of c + background / 2
//   of a box   the same with each c times the share of the box that the object's box covers
//
// The 6 colour, 6 shape and 1 background vectors are orthonormal in 64 dimensions and the same for every
// file. A sample is a pure function of (seed, split, index).
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/benchmarks/samples.h"
#include "tensor/tensor.h"

namespace vitral::data {

inline constexpr int shapes_image_size = 64;       // pixels a side
inline constexpr int shapes_embedding_width = 64;  // D
inline constexpr int shapes_grid = 8;              // patches a side of the benchmark's student
inline constexpr int shapes_colour_count = 6;
inline constexpr int shapes_shape_count = 6;
inline constexpr int shapes_concept_count = shapes_colour_count * shapes_shape_count;  // C
inline constexpr int shapes_max_objects = 3;
// Pixels a side of an object's box: uniform in half pixels, rounded down. A patch of the 8x8 grid overlaps an
// object with probability 0.147 then, the chance level of the pointing game.
inline constexpr int shapes_min_size = 14;
inline constexpr int shapes_max_size = 22;

/// The space that images and concepts share; concept = 6 * colour + shape.
struct ShapesSpace {
  std::vector<std::string> names;  // [C] "red circle", "red square", ...
  Tensor concepts;                 // float32 [C,D], unit rows
  Tensor colours;                  // float32 [6,D], orthonormal with shapes and background
  Tensor shapes;                   // float32 [6,D]
  Tensor background;               // float32 [D]
};
const ShapesSpace& shapes_space();

struct ShapesObject {
  std::int64_t concept_index = 0;
  int x = 0, y = 0, size = 0;     // its box in pixels: [x, x + size) x [y, y + size)
  std::array<float, 3> colour{};  // RGB in 0..1

  std::array<float, 4> box() const;  // x0, y0, x1, y1 in 0..1
};

struct ShapesSample {
  Tensor image;                       // uint8 [64,64,3]
  Tensor embedding;                   // float32 [D], unit length
  std::vector<ShapesObject> objects;  // 1 to 3
};

ShapesSample make_shapes_sample(std::uint64_t seed, Split split, std::int64_t index);

/// e of the formula above, float32 [D]. UsageError: no object, or a concept that does not exist.
Tensor shapes_embedding(std::span<const ShapesObject> objects);
/// That of a box (x0, y0, x1, y1 in 0..1 of the image), float32 [D].
Tensor shapes_box_embedding(std::span<const ShapesObject> objects, std::span<const float, 4> box);
/// Paints the object over `canvas`, float32 [H,W,3] in 0..1, with edges smoothed by 4x4 samples a pixel. The
/// shape touches all four sides of its box.
void draw_shape(const ShapesObject& object, const Tensor& canvas);

/// Targets for places that are written, too.
struct ShapesPlaces {
  int regions = 0;       // G: of the cells of a G x G grid; 0: without
  bool patches = false;  // of those of the benchmark's student
};

/// Writes samples 0 .. count-1 as a dataset file (/images, /embeddings, /concepts, /objects, attribute
/// teacher = "shapes"; as asked /regions and /patches). The file appears under its name only when it is
/// complete; it replaces an older one. UsageError: count < 1 or a folder that cannot be written; Error: disk
/// full.
BenchmarkFile write_shapes(const std::string& path, std::int64_t count, std::uint64_t seed, Split split,
                           const ShapesPlaces& places = {});

}  // namespace vitral::data
