#include "data/benchmarks/shapes.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "base/random.h"
#include "data/benchmarks/canvas.h"

namespace vitral::data {
namespace {

constexpr int side = shapes_image_size;
constexpr int width = shapes_embedding_width;

// Constants of the benchmark: other values make other data, and results could not be compared any more.
constexpr std::uint64_t space_seed = 0x7368617065730001;  // "shapes" and a version
constexpr std::uint64_t sample_seed = 0x7368617065730002;
constexpr double object_variation = 0.06;  // of an object's colour, each channel
constexpr double noise = 0.04;             // standard deviation, each pixel and channel

struct Colour {
  const char* name;
  std::array<float, 3> rgb;
};
constexpr std::array<Colour, shapes_colour_count> colours{{
    {"red", {0.86F, 0.16F, 0.15F}},
    {"green", {0.20F, 0.68F, 0.24F}},
    {"blue", {0.16F, 0.32F, 0.88F}},
    {"yellow", {0.94F, 0.84F, 0.16F}},
    {"purple", {0.62F, 0.22F, 0.78F}},
    {"cyan", {0.20F, 0.80F, 0.86F}},
}};

// A shape as the set of points (u, v) of its box, each in -1..1, v downwards.
struct ShapeKind {
  const char* name;
  bool (*inside)(float u, float v);
};
constexpr std::array<ShapeKind, shapes_shape_count> kinds{{
    {"circle", [](float u, float v) { return u * u + v * v <= 1.0F; }},
    {"square", [](float u, float v) { return std::max(std::abs(u), std::abs(v)) <= 1.0F; }},
    {"triangle", [](float u, float v) { return v <= 1.0F && std::abs(u) <= (v + 1.0F) / 2; }},
    {"cross",
     [](float u, float v) {
       const float a = std::abs(u), b = std::abs(v);
       return std::max(a, b) <= 1.0F && std::min(a, b) <= 0.34F;
     }},
    {"ring",
     [](float u, float v) {
       const float r2 = u * u + v * v;
       return r2 <= 1.0F && r2 >= 0.55F * 0.55F;
     }},
    {"diamond", [](float u, float v) { return std::abs(u) + std::abs(v) <= 1.0F; }},
}};

using Vector = std::array<double, width>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (int i = 0; i < width; ++i) sum += a[i] * b[i];
  return sum;
}

void normalise(Vector& a) {
  const double length = std::sqrt(dot(a, a));
  for (double& x : a) x /= length;
}

// Gram-Schmidt on normal vectors: orthonormal, and uniform among all such sets.
std::vector<Vector> orthonormal_vectors(int count) {
  std::vector<Vector> basis;
  Random random(space_seed);
  while (static_cast<int>(basis.size()) < count) {
    Vector v;
    for (double& x : v) x = random.normal();
    for (int pass = 0; pass < 2; ++pass) {  // the second pass removes what rounding left of the first
      for (const Vector& b : basis) {
        const double along = dot(v, b);
        for (int i = 0; i < width; ++i) v[i] -= along * b[i];
      }
      normalise(v);
    }
    basis.push_back(v);
  }
  return basis;
}

Tensor to_tensor(std::span<const Vector> rows) {
  Tensor t({static_cast<std::int64_t>(rows.size()), width});
  float* out = t.data<float>();
  for (const Vector& row : rows)
    for (const double x : row) *out++ = static_cast<float>(x);
  return t;
}

ShapesSpace make_space() {
  const auto basis = orthonormal_vectors(shapes_colour_count + shapes_shape_count + 1);
  const std::span all(basis);
  ShapesSpace space;
  space.colours = to_tensor(all.first(shapes_colour_count));
  space.shapes = to_tensor(all.subspan(shapes_colour_count, shapes_shape_count));
  space.background = to_tensor(all.last(1)).reshape({width});
  std::vector<Vector> concepts;
  for (int c = 0; c < shapes_colour_count; ++c)
    for (int k = 0; k < shapes_shape_count; ++k) {
      Vector v;
      for (int i = 0; i < width; ++i) v[i] = basis[c][i] + basis[shapes_colour_count + k][i];
      normalise(v);
      concepts.push_back(v);
      space.names.push_back(std::string(colours[c].name) + " " + kinds[k].name);
    }
  space.concepts = to_tensor(concepts);
  return space;
}

void check_concept(std::int64_t index) {
  VITRAL_CHECK(index >= 0 && index < shapes_concept_count, "shapes: concept {} must be in 0..{}", index,
               shapes_concept_count - 1);
}

bool boxes_overlap(const ShapesObject& a, const ShapesObject& b) {
  return a.x < b.x + b.size && b.x < a.x + a.size && a.y < b.y + b.size && b.y < a.y + a.size;
}

// Objects with places drawn until none overlap; where one finds no place the whole layout starts anew.
std::vector<ShapesObject> draw_layout(Random& random) {
  const auto count = 1 + static_cast<int>(random.below(shapes_max_objects));
  std::vector<ShapesObject> objects;
  for (int i = 0; i < count; ++i) {
    ShapesObject o;
    const auto taken = [&](std::int64_t index) {
      return std::ranges::any_of(objects, [&](const auto& other) { return other.concept_index == index; });
    };
    do o.concept_index = static_cast<std::int64_t>(random.below(shapes_concept_count));
    while (taken(o.concept_index));
    o.size =
        (2 * shapes_min_size + static_cast<int>(random.below(2 * (shapes_max_size - shapes_min_size) + 1))) /
        2;
    const auto& rgb = colours[static_cast<std::size_t>(o.concept_index / shapes_shape_count)].rgb;
    for (int c = 0; c < 3; ++c)
      o.colour[c] = rgb[c] + static_cast<float>(random.uniform(-object_variation, object_variation));
    objects.push_back(o);
  }
  for (;;) {
    bool fits = true;
    for (int i = 0; i < count; ++i) {
      ShapesObject& o = objects[i];
      const auto places = static_cast<std::uint64_t>(side - o.size) + 1;
      o.x = static_cast<int>(random.below(places));
      o.y = static_cast<int>(random.below(places));
      for (int j = 0; j < i; ++j) fits = fits && !boxes_overlap(o, objects[j]);
    }
    if (fits) return objects;
  }
}

// A subdued colour: a grey with a slight tint.
std::array<double, 3> background_colour(Random& random) {
  const double grey = random.uniform(0.2, 0.7);
  std::array<double, 3> rgb;
  for (double& c : rgb) c = grey + random.uniform(-0.1, 0.1);
  return rgb;
}

}  // namespace

const ShapesSpace& shapes_space() {
  static const ShapesSpace space = make_space();
  return space;
}

std::array<float, 4> ShapesObject::box() const {
  constexpr float n = side;
  return {static_cast<float>(x) / n, static_cast<float>(y) / n, static_cast<float>(x + size) / n,
          static_cast<float>(y + size) / n};
}

namespace {

// weight(o): of its concept.
template <class Weight>
Tensor weighted_sum(std::span<const ShapesObject> objects, Weight&& weight) {
  const ShapesSpace& space = shapes_space();
  const float* concepts = space.concepts.data<float>();
  const float* background = space.background.data<float>();
  Vector sum;
  for (int i = 0; i < width; ++i) sum[i] = 0.5 * background[i];
  for (const ShapesObject& o : objects) {
    check_concept(o.concept_index);
    const double w = weight(o);
    for (int i = 0; i < width; ++i) sum[i] += w * concepts[o.concept_index * width + i];
  }
  normalise(sum);
  return to_tensor(std::span(&sum, 1)).reshape({width});
}

}  // namespace

Tensor shapes_embedding(std::span<const ShapesObject> objects) {
  VITRAL_CHECK(!objects.empty(), "shapes: an image needs at least one object");
  return weighted_sum(objects, [](const ShapesObject&) { return 1.0; });
}

Tensor shapes_box_embedding(std::span<const ShapesObject> objects, std::span<const float, 4> box) {
  const double area = (double{box[2]} - box[0]) * (double{box[3]} - box[1]);
  VITRAL_CHECK(box[0] < box[2] && box[1] < box[3], "shapes: box ({}, {}, {}, {}) has no area", box[0], box[1],
               box[2], box[3]);
  return weighted_sum(objects, [&](const ShapesObject& o) {
    const auto theirs = o.box();
    const auto both = [&](int low, int high) {
      return std::max(0.0, double{std::min(box[high], theirs[high])} - std::max(box[low], theirs[low]));
    };
    return both(0, 2) * both(1, 3) / area;
  });
}

void draw_shape(const ShapesObject& o, const Tensor& canvas) {
  check_concept(o.concept_index);
  VITRAL_CHECK(canvas.rank() == 3 && canvas.dim(2) == 3, "draw_shape: canvas {} must be [H, W, 3]",
               canvas.shape());
  VITRAL_CHECK(
      o.size > 0 && o.x >= 0 && o.y >= 0 && o.x + o.size <= canvas.dim(1) && o.y + o.size <= canvas.dim(0),
      "draw_shape: box {}x{} at ({}, {}) does not fit in canvas {}", o.size, o.size, o.x, o.y,
      canvas.shape());
  const auto inside = kinds[static_cast<std::size_t>(o.concept_index % shapes_shape_count)].inside;
  constexpr int samples = 4;  // a side of a pixel
  const auto in_box = [&](int pixel, int sample) {
    const float at = static_cast<float>(pixel) + (static_cast<float>(sample) + 0.5F) / samples;
    return 2 * at / static_cast<float>(o.size) - 1;
  };
  for (int y = 0; y < o.size; ++y)
    for (int x = 0; x < o.size; ++x) {
      int covered = 0;
      for (int i = 0; i < samples; ++i)
        for (int j = 0; j < samples; ++j) covered += inside(in_box(x, j), in_box(y, i)) ? 1 : 0;
      const float alpha = static_cast<float>(covered) / (samples * samples);
      float* pixel = canvas.data<float>() + ((o.y + y) * canvas.dim(1) + o.x + x) * 3;
      for (int c = 0; c < 3; ++c) pixel[c] += alpha * (o.colour[c] - pixel[c]);
    }
}

ShapesSample make_shapes_sample(std::uint64_t seed, Split split, std::int64_t index) {
  Random random(sample_seed, seed, static_cast<std::uint64_t>(split), index);
  ShapesSample sample;
  sample.objects = draw_layout(random);
  sample.embedding = shapes_embedding(sample.objects);
  const Tensor canvas({side, side, 3});
  const auto from = background_colour(random);
  const auto to = background_colour(random);
  draw_gradient(canvas, from, to, random.uniform(0, 2 * std::numbers::pi));
  for (const ShapesObject& o : sample.objects) draw_shape(o, canvas);
  sample.image = to_pixels(random, canvas, noise);
  return sample;
}

}  // namespace vitral::data
