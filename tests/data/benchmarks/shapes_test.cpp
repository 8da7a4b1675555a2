#include "data/benchmarks/shapes.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <numbers>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

constexpr int D = shapes_embedding_width;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> row(const Tensor& t, std::int64_t i) { return t.rows(i, i + 1).to_vector(); }

TEST(ShapesSpace, VectorsAreOrthonormal) {
  const ShapesSpace& s = shapes_space();
  std::vector<std::vector<double>> basis;
  for (int i = 0; i < 6; ++i) basis.push_back(row(s.colours, i));
  for (int i = 0; i < 6; ++i) basis.push_back(row(s.shapes, i));
  basis.push_back(s.background.to_vector());
  for (std::size_t i = 0; i < basis.size(); ++i)
    for (std::size_t j = 0; j < basis.size(); ++j)
      EXPECT_NEAR(dot(basis[i], basis[j]), i == j ? 1 : 0, 1e-6) << i << " " << j;
}

TEST(ShapesSpace, ConceptsAreNormalisedSums) {
  const ShapesSpace& s = shapes_space();
  ASSERT_EQ(s.concepts.shape(), (Shape{36, D}));
  EXPECT_EQ(s.names[0], "red circle");
  EXPECT_EQ(s.names[6 * 2 + 5], "blue diamond");
  EXPECT_EQ(std::set(s.names.begin(), s.names.end()).size(), 36U);
  for (std::int64_t c = 0; c < 36; ++c) {
    const auto colour = row(s.colours, c / 6), shape = row(s.shapes, c % 6), concept_ = row(s.concepts, c);
    for (std::size_t i = 0; i < D; ++i)
      EXPECT_NEAR(concept_[i], (colour[i] + shape[i]) / std::sqrt(2.0), 1e-6);
  }
}

TEST(ShapesSpace, IsTheSameForEver) {
  // Pinned: files of different versions and machines share one space.
  EXPECT_NEAR(shapes_space().concepts.data<float>()[0], -0.1379924, 1e-6);
  EXPECT_NEAR(shapes_space().background.data<float>()[D - 1], -0.0913962, 1e-6);
}

TEST(ShapesSample, IsAPureFunctionOfItsArguments) {
  const auto a = make_shapes_sample(3, Split::train, 17);
  const auto b = make_shapes_sample(3, Split::train, 17);
  EXPECT_EQ(a.image.to_vector(), b.image.to_vector());
  EXPECT_EQ(a.embedding.to_vector(), b.embedding.to_vector());
  EXPECT_NE(a.image.to_vector(), make_shapes_sample(4, Split::train, 17).image.to_vector());
  EXPECT_NE(a.image.to_vector(), make_shapes_sample(3, Split::val, 17).image.to_vector());
  EXPECT_NE(a.image.to_vector(), make_shapes_sample(3, Split::train, 18).image.to_vector());
}

TEST(ShapesSample, BoxesDoNotOverlapAndConceptsDiffer) {
  std::array<int, 4> by_count{};
  std::set<std::int64_t> concepts;
  double overlapping = 0;
  int objects = 0;
  for (int i = 0; i < 600; ++i) {
    const auto sample = make_shapes_sample(0, Split::train, i);
    const auto n = sample.objects.size();
    ASSERT_GE(n, 1U);
    ASSERT_LE(n, 3U);
    ++by_count[n];
    for (std::size_t a = 0; a < n; ++a) {
      const ShapesObject& o = sample.objects[a];
      concepts.insert(o.concept_index);
      EXPECT_GE(o.x, 0);
      EXPECT_GE(o.y, 0);
      EXPECT_LE(o.x + o.size, 64);
      EXPECT_LE(o.y + o.size, 64);
      EXPECT_GE(o.size, shapes_min_size);
      EXPECT_LE(o.size, shapes_max_size);
      const int columns = (o.x + o.size - 1) / 8 - o.x / 8 + 1, rows = (o.y + o.size - 1) / 8 - o.y / 8 + 1;
      overlapping += columns * rows / 64.0;
      ++objects;
      for (std::size_t b = 0; b < a; ++b) {
        const ShapesObject& p = sample.objects[b];
        EXPECT_NE(o.concept_index, p.concept_index);
        EXPECT_TRUE(o.x + o.size <= p.x || p.x + p.size <= o.x || o.y + o.size <= p.y || p.y + p.size <= o.y);
      }
    }
  }
  for (int n = 1; n <= 3; ++n) EXPECT_GT(by_count[static_cast<std::size_t>(n)], 160) << n;
  EXPECT_EQ(concepts.size(), 36U);
  EXPECT_NEAR(overlapping / objects, 0.147, 0.003);  // the chance level of the pointing game
}

TEST(ShapesSample, EmbeddingIsTheFormula) {
  const ShapesSpace& s = shapes_space();
  for (int i = 0; i < 20; ++i) {
    const auto sample = make_shapes_sample(5, Split::val, i);
    std::vector<double> sum = s.background.to_vector();
    for (double& x : sum) x *= 0.5;
    for (const auto& o : sample.objects) {
      const auto c = row(s.concepts, o.concept_index);
      for (std::size_t j = 0; j < D; ++j) sum[j] += c[j];
    }
    const double length = std::sqrt(dot(sum, sum));
    const auto e = sample.embedding.to_vector();
    EXPECT_NEAR(dot(e, e), 1, 1e-6);
    for (std::size_t j = 0; j < D; ++j) EXPECT_NEAR(e[j], sum[j] / length, 1e-6);
  }
}

TEST(DrawShape, BoxIsTheBoundOfThePixels) {
  for (std::int64_t kind = 0; kind < shapes_shape_count; ++kind)
    for (int size = shapes_min_size; size <= shapes_max_size; ++size) {
      const Tensor canvas = Tensor::zeros({40, 48, 3});
      draw_shape({kind, 5, 9, size, {1, 0.5F, 0.25F}}, canvas);
      int x0 = 99, y0 = 99, x1 = -1, y1 = -1;
      for (int y = 0; y < 40; ++y)
        for (int x = 0; x < 48; ++x)
          if (canvas.data<float>()[(y * 48 + x) * 3] > 0) {
            x0 = std::min(x0, x), y0 = std::min(y0, y);
            x1 = std::max(x1, x + 1), y1 = std::max(y1, y + 1);
          }
      const std::vector<int> bound{x0, y0, x1, y1}, box{5, 9, 5 + size, 9 + size};
      EXPECT_EQ(bound, box) << shapes_space().names[static_cast<std::size_t>(kind)] << " of size " << size;
    }
}

TEST(DrawShape, AreasAreThoseOfTheShapes) {
  const double pi = std::numbers::pi;
  const double areas[] = {pi / 4, 1, 0.5, 0.34 * (2 - 0.34), pi / 4 * (1 - 0.55 * 0.55), 0.5};
  for (std::int64_t kind = 0; kind < shapes_shape_count; ++kind) {
    const Tensor canvas = Tensor::zeros({64, 64, 3});
    draw_shape({kind, 0, 0, 64, {1, 1, 1}}, canvas);
    double area = 0;
    for (const double v : canvas.to_vector()) area += v / 3 / 64 / 64;
    EXPECT_NEAR(area, areas[kind], 0.01) << kind;
  }
}

TEST(ShapesSample, NoiseIsAsStrongAsItShouldBe) {
  // Differences of neighbours along a row cancel the gradient; pixels of objects are left out.
  double sum = 0, squares = 0;
  int count = 0;
  for (int i = 0; i < 20; ++i) {
    const auto sample = make_shapes_sample(2, Split::train, i);
    const auto pixels = sample.image.to_vector();
    for (int y = 0; y < 64; ++y)
      for (int x = 0; x + 1 < 64; ++x) {
        const bool hidden = std::ranges::any_of(sample.objects, [&](const auto& o) {
          return x + 1 >= o.x && x < o.x + o.size && y >= o.y && y < o.y + o.size;
        });
        if (hidden) continue;
        const auto at = static_cast<std::size_t>(y * 64 + x) * 3;
        const double difference = pixels[at + 3] - pixels[at];
        sum += difference, squares += difference * difference, ++count;
      }
  }
  EXPECT_NEAR(std::sqrt(squares / count), 0.04 * 255 * std::numbers::sqrt2, 0.5);
  EXPECT_NEAR(sum / count, 0, 1);
}

TEST(ShapesSample, ObjectsHaveTheirColour) {
  const auto sample = make_shapes_sample(1, Split::train, 2);
  for (const auto& o : sample.objects) {
    if (o.concept_index % 6 == 4) continue;  // a ring's middle is background
    const auto* pixel = sample.image.data<std::uint8_t>() + ((o.y + o.size / 2) * 64 + o.x + o.size / 2) * 3;
    for (int c = 0; c < 3; ++c) EXPECT_NEAR(pixel[c] / 255.0, o.colour[c], 0.2);
  }
}

TEST(ShapesFile, IsADatasetFile) {
  const TempDir dir;
  const std::string path = dir / "train.h5";
  const BenchmarkFile written = write_shapes(path, 40, 9, Split::train);
  EXPECT_EQ(written.images, 40);
  EXPECT_EQ(written.bytes, std::filesystem::file_size(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  const H5File f = H5File::open(path);
  EXPECT_EQ(f.attribute("teacher"), "shapes");
  EXPECT_EQ(f.shape("/images"), (Shape{40, 64, 64, 3}));
  EXPECT_EQ(f.dtype("/images"), DType::uint8);
  EXPECT_EQ(f.shape("/embeddings"), (Shape{40, D}));
  EXPECT_EQ(f.dtype("/embeddings"), DType::float32);
  EXPECT_EQ(f.read_strings("/concepts/names"), shapes_space().names);
  EXPECT_EQ(f.read("/concepts/embeddings").to_vector(), shapes_space().concepts.to_vector());
  const Tensor images = f.read("/images"), embeddings = f.read("/embeddings");
  const auto image = f.read("/objects/image").to_vector(), concepts = f.read("/objects/concept").to_vector();
  const Tensor boxes = f.read("/objects/box");
  EXPECT_EQ(f.shape("/objects/box"), (Shape{written.objects, 4}));
  std::size_t m = 0;
  for (std::int64_t i = 0; i < 40; ++i) {
    const auto sample = make_shapes_sample(9, Split::train, i);
    EXPECT_EQ(row(images, i), sample.image.to_vector());
    EXPECT_EQ(row(embeddings, i), sample.embedding.to_vector());
    for (const auto& o : sample.objects) {
      ASSERT_LT(m, image.size());
      EXPECT_EQ(image[m], i);
      EXPECT_EQ(concepts[m], o.concept_index);
      const std::vector<double> box{o.x / 64.0, o.y / 64.0, (o.x + o.size) / 64.0, (o.y + o.size) / 64.0};
      EXPECT_EQ(row(boxes, static_cast<std::int64_t>(m)), box);
      ++m;
    }
  }
  EXPECT_EQ(m, image.size());
  const Dataset dataset = Dataset::open(path);
  EXPECT_EQ(dataset.size(), 40);
  EXPECT_EQ(dataset.width(), D);
  EXPECT_EQ(dataset.image(39).to_vector(), row(images, 39));
  ASSERT_TRUE(dataset.concepts().has_value());
  EXPECT_EQ(dataset.concepts()->boxes.to_vector(), boxes.to_vector());
}

// Half a background and each concept by the share of the box that its object covers.
TEST(ShapesPlaces, ABoxHasTheConceptsOfWhatCoversIt) {
  const std::vector<ShapesObject> objects{{3, 0, 0, 16, {}}, {20, 40, 12, 16, {}}};
  const ShapesSpace& space = shapes_space();
  const auto expect = [&](std::array<float, 4> box, double first, double second) {
    std::vector<double> sum = space.background.to_vector();
    const auto a = row(space.concepts, 3), b = row(space.concepts, 20);
    for (int i = 0; i < D; ++i) sum[i] = 0.5 * sum[i] + first * a[i] + second * b[i];
    const double length = std::sqrt(dot(sum, sum));
    const auto found = shapes_box_embedding(objects, box).to_vector();
    for (int i = 0; i < D; ++i) EXPECT_NEAR(found[i], sum[i] / length, 1e-7);
  };
  expect({0, 0, 1, 1}, 1 / 16.0, 1 / 16.0);
  expect({0, 0, 0.125F, 0.125F}, 1, 0);
  expect({0.5F, 0, 1, 0.5F}, 0, 0.25);         // all of the second, and a quarter of the box
  expect({0.125F, 0, 0.375F, 0.25F}, 0.5, 0);  // half of the first
  expect({0.875F, 0.875F, 1, 1}, 0, 0);
  EXPECT_EQ(message_of([&] {
              shapes_box_embedding(objects, std::array<float, 4>{0.5F, 0, 0.5F, 1});
            }),
            "shapes: box (0.5, 0, 0.5, 1) has no area");
}

TEST(ShapesPlaces, StandInTheFile) {
  const TempDir dir;
  const std::string plain = dir / "plain.h5", path = dir / "places.h5";
  write_shapes(plain, 7, 9, Split::val);
  write_shapes(path, 7, 9, Split::val, {.regions = 2, .patches = true});
  const Dataset d = Dataset::open(path, {}, {Target::image, Target::regions, Target::patches});
  EXPECT_EQ(d.target_shape(Target::patches), (Shape{64, D}));
  ASSERT_EQ(d.target_shape(Target::regions), (Shape{4, D}));
  const auto objects = make_shapes_sample(9, Split::val, 5).objects;
  Tensor regions({4, D}), patches({64, D});
  d.read_target(5, 0, regions.data<float>(), Target::regions);
  d.read_target(5, 0, patches.data<float>(), Target::patches);
  EXPECT_EQ(row(regions, 2), shapes_box_embedding(objects, std::array{0.0F, 0.5F, 0.5F, 1.0F}).to_vector());
  EXPECT_EQ(row(patches, 8 + 3),
            shapes_box_embedding(objects, std::array{0.375F, 0.125F, 0.5F, 0.25F}).to_vector());
  EXPECT_EQ(d.target(5).to_vector(), Dataset::open(plain).target(5).to_vector());
}

TEST(ShapesFile, TheSameSeedGivesTheSameBytesAtAnyTime) {
  const TempDir dir;
  write_shapes(dir / "a.h5", 20, 9, Split::train);
  const std::time_t before = std::time(nullptr);  // a stored time of writing has a resolution of a second
  while (std::time(nullptr) == before) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  write_shapes(dir / "b.h5", 20, 9, Split::train);
  EXPECT_TRUE(test::bytes_of_file(dir / "a.h5") == test::bytes_of_file(dir / "b.h5"));
}

TEST(ShapesFile, ErrorsAreOneLine) {
  const TempDir dir;
  EXPECT_EQ(message_of([&] { write_shapes(dir / "a.h5", 0, 0, Split::val); }),
            dir / "a.h5" + std::string(": 0 images cannot be written, ask for at least 1"));
  EXPECT_EQ(message_of([&] { write_shapes(dir.str(), 1, 0, Split::val); }),
            dir.str() + ": is a directory, name a file");
  EXPECT_EQ(message_of([&] { write_shapes(dir / "no/a.h5", 1, 0, Split::val); }),
            dir / "no/a.h5" + std::string(": cannot be created: No such file or directory; check that the "
                                          "folder exists and may be written"));
  EXPECT_EQ(message_of([] { shapes_embedding({}); }), "shapes: an image needs at least one object");
  EXPECT_EQ(message_of([] {
              shapes_embedding(std::vector<ShapesObject>{{36, 0, 0, 14, {}}});
            }),
            "shapes: concept 36 must be in 0..35");
  EXPECT_EQ(message_of([] {
              draw_shape({0, 60, 0, 14, {}}, Tensor::zeros({64, 64, 3}));
            }),
            "draw_shape: box 14x14 at (60, 0) does not fit in canvas [64, 64, 3]");
}

}  // namespace
}  // namespace vitral::data
