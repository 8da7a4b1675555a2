// vitral teach --regions and --patches, and training on what they store: the same as with the teacher in the
// loop.
#include "data/dataset.h"
#include "data/images/regions.h"
#include "models/pretrained/image_encoder.h"
#include "tests/cli/teach_run.h"
#include "tests/golden.h"

namespace vitral::test {
namespace {

using data::Target;
const std::vector<Target> all{Target::image, Target::regions, Target::patches};
constexpr const char* objective = "train.objective={l1: 1, regions: 0.5, patches: 2}";

class TeachPlaces : public TeachRun {
 protected:
  // Pixels are resized for it.
  TeachPlaces()
      : TeachRun([] {
          models::ImageTowerConfig teacher = tiny_teacher(small_size / 2, 8, small_width);
          teacher.layers = 2;
          return teacher;
        }()) {}
  Tensor stored(const std::string& name) const { return data::H5File::open(file()).read(name); }
};

TEST_F(TeachPlaces, OfPlainImages) {
  write_images(6);
  const Result r = teach({"--regions", "2", "--patches", "--grid", "3", "--batch", "7"});
  expect_done(r);
  EXPECT_EQ(r.out,
            file() + ": embeddings, embeddings of 4 regions, embeddings of 9 patches of 6 images, 16 wide\n");
  const auto encoder = models::ImageEncoder::load(clip());
  const data::Dataset d = data::Dataset::open(file(), {}, all);
  EXPECT_EQ(d.region_boxes().to_vector(), data::grid_boxes(2).to_vector());
  for (std::int64_t i = 0; i < 6; ++i) {
    const Tensor image = d.image(i);
    const Tensor seen = encoder.prepare(image, data::PlainTransform::resize).reshape({1, 32, 32, 3});
    EXPECT_LE(relative_error(d.target(i), encoder.embed(seen).reshape({16})), 1e-6);
    // A quarter of the image has the teacher's size.
    Tensor regions({4, 16}), patches({9, 16});
    d.read_target(i, 0, regions.data<float>(), Target::regions);
    d.read_target(i, 0, patches.data<float>(), Target::patches);
    const Tensor corner = data::crop(image, 32, 0, 32, 32).reshape({1, 32, 32, 3});
    EXPECT_LE(relative_error(regions.rows(1, 2), encoder.embed(corner)), 1e-6);
    EXPECT_LE(relative_error(patches, encoder.dense(seen, models::DenseTokens::naclip, 3).reshape({9, 16})),
              1e-6);
  }
  expect_failure(teach({"--regions", "2"}), 2,
                 file() + ": has /embeddings and /regions/embeddings already; replace them with --force");
  const std::string info = run({"info", file()}).out;
  EXPECT_NE(info.find("regions: float32 [6, 4, 16]"), std::string::npos) << info;
  EXPECT_NE(info.find("patches: float32 [6, 9, 16]"), std::string::npos) << info;
}

TEST_F(TeachPlaces, WhatIsThereStays) {
  write_images(5, true);
  const auto before = stored("/embeddings").to_vector();
  for (const Program::Arguments& how : {Program::Arguments{}, {"--in-place"}}) {
    Program::Arguments a{"--regions", "2", "--dtype", "float16"};
    if (!how.empty()) a = {"--patches", "--in-place"};
    const Result r = teach(a);
    expect_done(r);
    EXPECT_EQ(stored("/embeddings").to_vector(), before);
  }
  EXPECT_EQ(data::H5File::open(file()).dtype("/regions/embeddings"), DType::float16);
  const Tensor patches = stored("/patches/embeddings");
  EXPECT_EQ(patches.shape(), (Shape{5, 64, 16}));  // the grid of the model's defaults
  // Replaced is what is asked for.
  expect_done(teach({"--regions", "1", "--force"}));
  EXPECT_EQ(stored("/regions/boxes").shape(), (Shape{1, 4}));
  EXPECT_NE(stored("/embeddings").to_vector(), before);
  EXPECT_EQ(stored("/patches/embeddings").to_vector(), patches.to_vector());
  // Views are of all that a file has.
  const std::string bytes = bytes_of_file(file());
  expect_failure(teach({"--views", "2", "--force"}), 2,
                 file() +
                     ": its /regions/embeddings stay, and are of images without views; ask for the same, or "
                     "replace all together: --force with --regions and --patches");
  EXPECT_EQ(bytes_of_file(file()), bytes);
  expect_done(teach({"--views", "2", "--force", "--regions", "1", "--patches", "--config", config()}));
  EXPECT_EQ(stored("/patches/embeddings").shape(), (Shape{5, 2, 16, 16}));  // the configuration's grid
  expect_failure(teach({"--views", "2", "--seed", "3", "--force", "--config", config()}), 2,
                 file() +
                     ": its /regions/embeddings stay, and are of 2 other views of each image; ask for the "
                     "same, or replace all together: --force with --regions and --patches");
}

TEST_F(TeachPlaces, ReplayTrainsAsATeacherInTheLoopDoes) {
  write_images(24);
  expect_done(train(
      {"teacher.weights=" + clip(), "teacher.regions=2", objective, "train.output=" + (folder_ / "loop")}));
  expect_done(teach({"--views", "1", "--seed", "5", "--config", config(), "--regions", "2", "--patches"}));
  expect_done(train({objective, "train.output=" + (folder_ / "replay")}));
  for (const char* name : {"loss", "loss.l1", "loss.regions", "loss.patches"}) {
    const auto in_the_loop = metric(folder_ / "loop", "train", name),
               replayed = metric(folder_ / "replay", "train", name);
    ASSERT_EQ(in_the_loop.size(), 3U) << name;
    ASSERT_EQ(replayed.size(), 3U) << name;
    for (std::size_t i = 0; i < replayed.size(); ++i)
      EXPECT_NEAR(replayed[i], in_the_loop[i], 2e-6 * in_the_loop[i]) << name;
  }
}

TEST_F(TeachPlaces, TrainingGoesOnBitForBit) {
  write_images(24);
  expect_done(teach({"--views", "2", "--plain-view", "--config", config(), "--regions", "2", "--patches"}));
  const Program::Arguments common{objective, "data.val=" + file(), "train.epochs=2", "train.accumulate=2",
                                  "train.checkpoint_every=2"};
  const auto with = [&](Program::Arguments more) {
    more.insert(more.begin(), common.begin(), common.end());
    return train(more);
  };
  expect_done(with({"train.output=" + (folder_ / "whole")}));
  expect_done(with({"train.output=" + (folder_ / "parts"), "train.max_steps=4"}));
  expect_done(with({"train.output=" + (folder_ / "parts"), "--resume", "auto"}));
  for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
    EXPECT_TRUE(bytes_of_file(latest(folder_ / "whole") + file) ==
                bytes_of_file(latest(folder_ / "parts") + file))
        << file << " differs";
  for (const char* name : {"loss", "loss.regions", "loss.patches"})
    EXPECT_EQ(metric(folder_ / "whole", "train", name), metric(folder_ / "parts", "train", name)) << name;
  EXPECT_EQ(metric(folder_ / "whole", "val", "loss.patches").size(), 2U);
}

TEST_F(TeachPlaces, GoesOnAfterAnInterruption) {
  write_images(200);
  const Program::Arguments options{"--batch", "4", "--regions", "2", "--patches"};
  const std::string whole = folder_ / "whole.h5";
  std::filesystem::copy_file(file(), whole);
  auto uninterrupted = arguments(options);
  uninterrupted[1] = whole;
  expect_done(run(uninterrupted));
  const auto journal_size = [&] {
    std::error_code none;
    const auto size = std::filesystem::file_size(file() + ".teach", none);
    return none ? 0 : size;
  };
  Program first(arguments(options));
  ASSERT_TRUE(wait_for([&] { return journal_size() > 20000; }));
  first.send(SIGINT);
  expect_failure(first.wait(), 1,
                 file() + ": stopped by SIGINT; what is done is kept, run the same command again to go on");
  EXPECT_NE(
      teach({"--regions", "3"}).err.find(", float32 [16], regions 2, patches 8, resize) is kept here, "),
      std::string::npos);
  expect_done(teach(options));
  EXPECT_EQ(bytes_of_file(file()), bytes_of_file(whole));
}

TEST_F(TeachPlaces, WhatDoesNotFitIsNamed) {
  write_images(8);
  expect_failure(teach({"--grid", "4"}), 2, "--grid: needs --patches");
  expect_failure(
      run({"teach", file(), "--teacher", "tests/golden/siglip", "--patches"}), 2,
      "tests/golden/siglip: SigLIP has no dense tokens (of its patches, in the space of its embeddings); "
      "take a CLIP");
  expect_failure(train({objective}), 2, file() + ": has no /embeddings; write them with vitral teach");
  expect_done(teach({}));
  expect_failure(train({objective}), 2,
                 file() + ": has no /regions/embeddings; write them with vitral teach --regions G");
  expect_done(teach({"--regions", "8", "--patches"}));
  expect_failure(
      train({objective}), 2,
      "train.objective.regions: region 0 (0, 0, 0.125, 0.125) has no patch of the 4 x 4 whose middle lies "
      "in it; take fewer regions");
  expect_failure(train({"train.objective={l1: 1, patches: 1}"}), 2,
                 file() +
                     ": /patches/embeddings are of 64 patches, the student has 4 x 4; write them with vitral "
                     "teach --patches --grid 4");
  expect_failure(train({"teacher.weights=" + clip(), objective}), 2,
                 "override " + std::string(objective) +
                     ": train.objective.regions: needs teacher.regions, the cells a side of their grid");
  expect_failure(train({"teacher.weights=" + clip(), "teacher.regions=2"}), 2,
                 "override teacher.regions=2: needs train.objective.regions");
}

}  // namespace
}  // namespace vitral::test
