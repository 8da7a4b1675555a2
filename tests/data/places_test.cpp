// Targets for places in a dataset file: what is read of them, and what makes a file refused.
#include <limits>

#include <gtest/gtest.h>

#include "base/random.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/regions.h"
#include "data/loader.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::noise;
using test::TempDir;

constexpr std::int64_t count = 5, width = 6, cells = 4, tokens = 9;
const std::vector<Target> all{Target::image, Target::regions, Target::patches};

struct Contents {
  Tensor embeddings = noise({count, width}, 1);
  Tensor regions = noise({count, cells, width}, 2);
  Tensor boxes = grid_boxes(2);
  Tensor patches = noise({count, tokens, width}, 3);
  std::vector<std::uint64_t> seeds = {};
  std::int64_t patch_chunk = 0;

  void write(const std::string& path) const {
    H5File f = H5File::create(path);
    f.write("/images", noise({count, 12, 12, 3}, 4, DType::uint8));
    if (embeddings.defined()) f.write("/embeddings", embeddings);
    if (regions.defined()) f.write("/regions/embeddings", regions);
    if (boxes.defined()) f.write("/regions/boxes", boxes);
    if (patches.defined()) f.write("/patches/embeddings", patches, patch_chunk);
    if (!seeds.empty())
      f.write_uint64("/view_seeds", seeds, {count, static_cast<std::int64_t>(seeds.size()) / count});
    f.close();
  }
};

std::string error_of(const Contents& contents, const std::vector<Target>& targets = all) {
  const TempDir dir;
  const std::string path = dir / "train.h5";
  contents.write(path);
  const std::string message = message_of([&] { Dataset::open(path, {}, targets); });
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

std::vector<double> row_of(const Tensor& t, std::int64_t i) { return t.rows(i, i + 1).to_vector(); }

TEST(Places, AreReadWhereTheyAreAskedFor) {
  const TempDir dir;
  for (const DType dtype : {DType::float32, DType::float16}) {
    Contents c;
    c.regions = c.regions.cast(dtype);
    c.patches = c.patches.cast(dtype);
    c.patch_chunk = 2;
    c.write(dir / "a.h5");
    const Dataset d = Dataset::open(dir / "a.h5", {}, all);
    EXPECT_EQ(d.target_shape(Target::image), (Shape{width}));
    EXPECT_EQ(d.target_shape(Target::regions), (Shape{cells, width}));
    EXPECT_EQ(d.target_shape(Target::patches), (Shape{tokens, width}));
    EXPECT_EQ(d.region_boxes().to_vector(), grid_boxes(2).to_vector());
    Tensor patches({tokens, width});
    d.read_target(3, 0, patches.data<float>(), Target::patches);
    EXPECT_EQ(patches.to_vector(), row_of(c.patches.cast(DType::float32), 3));
    EXPECT_NE(d.description().find(fmt::format("regions: {} [5, 4, 6]", dtype)), std::string::npos)
        << d.description();
  }
  const Dataset without = Dataset::open(dir / "a.h5");
  EXPECT_EQ(message_of([&] { without.target_shape(Target::patches); }),
            dir / "a.h5" + ": /patches/embeddings are not read");
}

TEST(Places, ABatchHasThoseOfItsImagesAndViews) {
  const TempDir dir;
  Contents c;
  constexpr std::int64_t views = 3;
  c.embeddings = noise({count, views, width}, 11);
  c.regions = noise({count, views, cells, width}, 12);
  c.patches = noise({count, views, tokens, width}, 13).cast(DType::float16);
  for (std::uint64_t i = 0; i < count * views; ++i) c.seeds.push_back(i % views == 2 ? 0 : i + 1);
  c.write(dir / "a.h5");
  const Dataset d = Dataset::open(dir / "a.h5", {}, all);
  for (const bool training : {true, false}) {
    Loader loader(d, {.batch_size = 3, .image_size = 12, .training = training, .targets = all, .workers = 0});
    std::int64_t seen = 0;
    while (const auto batch = loader.next())
      for (std::int64_t row = 0; row < batch->size(); ++row, ++seen) {
        const std::int64_t i = batch->indices[static_cast<std::size_t>(row)];
        std::int64_t view = -1;
        for (std::int64_t v = 0; v < views; ++v)
          if (row_of(c.embeddings.reshape({count * views, width}), i * views + v) ==
              row_of(batch->targets, row))
            view = v;
        ASSERT_GE(view, 0);
        EXPECT_TRUE(training || view == 2) << view;
        EXPECT_EQ(row_of(batch->region_targets, row),
                  row_of(c.regions.reshape({count * views, cells, width}), i * views + view));
        EXPECT_EQ(
            row_of(batch->patch_targets, row),
            row_of(c.patches.cast(DType::float32).reshape({count * views, tokens, width}), i * views + view));
      }
    EXPECT_EQ(seen, count);
  }
  // Micro-batches are slices of all of it.
  Loader loader(d, {.batch_size = 4, .image_size = 12, .targets = all, .workers = 0});
  const auto batch = loader.next();
  EXPECT_EQ(batch->rows(1, 3).patch_targets.to_vector(), batch->patch_targets.rows(1, 3).to_vector());
}

TEST(Places, OneWithoutADirectionIsNamed) {
  const TempDir dir;
  Contents c;
  c.patches.data<float>()[(2 * tokens + 7) * width] = std::numeric_limits<float>::quiet_NaN();
  for (int k = 0; k < width; ++k) c.regions.data<float>()[(2 * cells + 1) * width + k] = 0;
  c.write(dir / "a.h5");
  const auto problem = [&](const std::vector<Target>& targets) {
    const Dataset d = Dataset::open(dir / "a.h5", {}, targets);
    Loader loader(d, {.image_size = 12, .shuffle = false, .targets = targets, .workers = 0});
    return target_problem(*loader.next(), d);
  };
  const std::string image = "image 2 of " + (dir / "a.h5");
  EXPECT_EQ(problem({Target::image, Target::patches}),
            "the embedding of patch 7 of " + image + " is not finite");
  EXPECT_EQ(problem({Target::image, Target::regions}), "the embedding of region 1 of " + image + " is zero");
  EXPECT_EQ(problem({Target::image}), "");
}

TEST(PlaceErrors, WhatDoesNotFitIsNamed) {
  const auto with = [](const std::function<void(Contents&)>& change,
                       const std::vector<Target>& targets = all) {
    Contents c;
    change(c);
    return error_of(c, targets);
  };
  EXPECT_EQ(with([](Contents& c) { c.regions = {}; }),
            "has no /regions/embeddings; write them with vitral teach --regions G");
  EXPECT_EQ(with([](Contents& c) { c.patches = {}; }),
            "has no /patches/embeddings; write them with vitral teach --patches");
  EXPECT_EQ(with([](Contents& c) {
              c.patches = noise({count, tokens}, 1);
            }),
            "/patches/embeddings is float32 [5, 9]; float32 or float16 [N,N',D] or [N,V,N',D] is needed");
  EXPECT_EQ(with([](Contents& c) {
              c.regions = noise({count, cells, width}, 1, DType::uint8);
            }),
            "/regions/embeddings is uint8 [5, 4, 6]; float32 or float16 [N,R,D] or [N,V,R,D] is needed");
  EXPECT_EQ(with([](Contents& c) {
              c.patches = noise({count + 1, tokens, width}, 1);
            }),
            "/patches/embeddings has 6 rows but there are 5 images; write one row for each");
  EXPECT_EQ(with([](Contents& c) {
              c.patches = noise({count, tokens, width + 1}, 1);
            }),
            "/patches/embeddings has width 7 but the embeddings have 6; use one teacher");
  EXPECT_EQ(
      with([](Contents& c) {
        c.patches = noise({count, 2, tokens, width}, 1);
      }),
      "/patches/embeddings is [5, 2, 9, 6], with 2 views, but the other targets have 0; teach all with the "
      "same --views");
  EXPECT_EQ(
      with([](Contents& c) { c.boxes = {}; }),
      "has no /regions/boxes, float [4,4]: where the regions lie; write them with vitral teach --regions G");
  EXPECT_EQ(with([](Contents& c) { c.boxes = grid_boxes(3); }),
            "/regions/boxes is float32 [9, 4]; there are 4 regions, so float [4, 4] is needed");
  EXPECT_EQ(with([](Contents& c) { c.boxes.data<float>()[4 + 2] = 1.5F; }),
            "/regions/boxes row 1 is (0.5, 0, 1.5, 0.5); x0 < x1 and y0 < y1 in 0..1 are needed");
  // Nobody who does not ask for them is kept from the rest of the file.
  EXPECT_EQ(with([](Contents& c) { c.boxes = {}; }, {Target::image}), "no error");
}

TEST(PlaceErrors, FilesMustBeAlike) {
  const TempDir dir;
  Contents c;
  c.write(dir / "a.h5");
  c.boxes.data<float>()[0] = 0.25F;
  c.write(dir / "b.h5");
  const auto both = [&] { Dataset::open({dir / "a.h5", dir / "b.h5"}, {}, all); };
  EXPECT_EQ(message_of(both), dir / "b.h5" + ": its /regions/boxes are other ones than those of " +
                                  (dir / "a.h5") + "; teach all files alike");
  Contents other;
  other.patches = noise({count, 4, width}, 1);
  other.write(dir / "b.h5");
  EXPECT_EQ(message_of(both), dir / "b.h5" + ": /patches/embeddings are [4, 6] an image but those of " +
                                  (dir / "a.h5") + " [9, 6]; teach all files alike");
}

TEST(Regions, CellsAreThePixelsOfTheirBoxes) {
  EXPECT_EQ(grid_boxes(2).to_vector(), (std::vector<double>{0, 0, 0.5, 0.5, 0.5, 0, 1, 0.5,  //
                                                            0, 0.5, 0.5, 1, 0.5, 0.5, 1, 1}));
  Tensor image({4, 6, 3}, DType::uint8);
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(10 * (i / 18 / 2) + 100 * (i % 18 / 9));
  const Tensor cells_of = grid_cells(image, 2, 5, Filter::bicubic);
  ASSERT_EQ(cells_of.shape(), (Shape{4, 5, 5, 3}));
  for (std::int64_t k = 0; k < 4; ++k)
    for (const double x : row_of(cells_of, k)) EXPECT_EQ(x, 10 * (k / 2) + 100 * (k % 2));
  EXPECT_EQ(message_of([&] { grid_cells(image, 5, 2, Filter::bicubic); }),
            "regions: a picture of 6x4 pixels has no 5x5 cells; ask for fewer regions");
}

}  // namespace
}  // namespace vitral::data
