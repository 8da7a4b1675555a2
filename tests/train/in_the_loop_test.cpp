// Validation, and a teacher in the loop, on a GPU: as on the CPU, and no batch waits for the one before.
#include <fstream>

#include <gtest/gtest.h>

#include "tests/models/tiny_clip.h"
#include "tests/train/train_steps.h"
#include "tests/waits.h"
#include "train/pipeline.h"
#include "train/setup.h"
#include "train/trainer.h"
#include "train/validate.h"

namespace vitral::train {
namespace {

class InTheLoopOnCuda : public testing::Test {
 protected:
  void SetUp() override {
    VITRAL_NEEDS_DEVICE(test::gpu);
    test::write_image_tower(small_.folder(), test::tiny_teacher(24, 8, test::small_width));
  }

  std::string clip() const { return small_ / "clip.safetensors"; }
  Config config(const std::string& device, std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"train.device=" + device, "teacher.weights=" + clip()});
    return load_config(small_.config(), more);
  }
  void run(const std::string& name, const std::string& device, std::vector<std::string> more = {}) const {
    more.push_back("train.output=" + small_.output(name));
    std::FILE* out = std::fopen((small_ / (name + ".log")).c_str(), "w");
    train(config(device, more), "", out);
    std::fclose(out);
  }

  test::SmallRun small_{28, true};
};

// Regions and patches, too; batches of which the last is smaller; in bfloat16 with a teacher in bfloat16.
TEST_F(InTheLoopOnCuda, TrainsAndValidatesAsTheCpuDoes) {
  const std::vector<std::string> places{"train.objective={l1: 1, regions: 1, patches: 0.5}",
                                        "teacher.regions=2"};
  run("cpu", "cpu", places);
  run("cuda", "cuda", places);
  run("again", "cuda", places);
  test::expect_same_run(small_.output("cuda"), small_.output("again"));
  for (const char* kind : {"train", "val"}) {
    const auto a = test::metric(small_.output("cpu"), kind, "loss"),
               b = test::metric(small_.output("cuda"), kind, "loss");
    ASSERT_EQ(a.size(), b.size());
    ASSERT_FALSE(a.empty());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i] / a[i], 1, 1e-4) << kind << " " << i;
    EXPECT_EQ(test::metric(small_.output("cpu"), kind, "step"),
              test::metric(small_.output("cuda"), kind, "step"));
  }
  auto half = places;
  half.push_back("train.precision=bf16");
  run("half", "cuda", half);
  EXPECT_NEAR(test::metric(small_.output("half"), "train", "loss")[0] /
                  test::metric(small_.output("cuda"), "train", "loss")[0],
              1, 0.02);
}

TEST_F(InTheLoopOnCuda, SlicesAndResumesKeepTheirBits) {
  run("whole", "cuda", {"train.slices=2", "train.checkpoint_every=3", "train.keep=9"});
  const std::string cut = small_.output("cut");
  std::filesystem::copy(small_.output("whole"), cut, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::directory_iterator(cut + "/checkpoints")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step-") && name != "step-000000003") std::filesystem::remove_all(entry.path());
  }
  std::ofstream(cut + "/checkpoints/latest") << "step-000000003\n";
  std::FILE* out = std::fopen((small_ / "cut.log").c_str(), "w");
  train(config("cuda", {"train.slices=2", "train.checkpoint_every=3", "train.keep=9", "train.output=" + cut}),
        "auto", out);
  std::fclose(out);
  test::expect_same_run(small_.output("whole"), cut);
}

TEST_F(InTheLoopOnCuda, StepsFollowEachOther) {
  const Config c = config("cuda", {"data.augment={flip: 0.5}"});
  models::Distillation objective(c.model);
  const data::Dataset dataset = open_training_data(c.data.train, c, objective);
  data::Loader loader(dataset, loader_options(c, objective, test::gpu, true));
  const Teacher teacher(c.teacher, objective, test::gpu, DType::float32);
  TrainStep step(objective, c.train, test::gpu);
  StepPipeline pipeline(loader, &teacher, step, test::gpu);
  const auto steps = [&](int count) {
    for (int i = 0; i < count; ++i) {
      pipeline.submit(pipeline.next(i / 3, i % 3), 1e-3, i);
      while (pipeline.full()) EXPECT_FALSE(pipeline.take().result.skipped);
    }
  };
  steps(9);  // alone, then in graphs
  const test::Waits waits;
  steps(6);
  EXPECT_EQ(test::Waits::copies(), 0);
  EXPECT_EQ(test::Waits::synchronizations(), 0);
  // Pixels go to the teacher, then pixels and targets to the step: three uploads. When the host waits for the
  // teacher's answer to a batch, that of the next one has been asked for.
  const auto& at = test::Waits::uploads_at_waits();
  ASSERT_EQ(at.size(), 12U);
  for (std::size_t i = 0; i < at.size(); ++i)
    EXPECT_EQ(at[i], i % 2 == 0 ? 1 + 3 * (i / 2) : 3 + 3 * (i / 2));
  while (pipeline.in_flight() > 0) EXPECT_FALSE(pipeline.take().result.skipped);
}

TEST_F(InTheLoopOnCuda, ValidationHasNoGaps) {
  test::write_dataset(small_ / "long.h5", 48, {}, 9);
  for (const bool with_teacher : {false, true}) {
    const Config c = config("cuda");
    models::Distillation objective(c.model);
    const Teacher teacher(c.teacher, objective, test::gpu, DType::float32);
    TrainStep step(objective, c.train, test::gpu);  // moves the model
    const auto measure = [&](const std::string& path, int batches) {
      Config own = c;
      if (!with_teacher) own.teacher = {};
      const data::Dataset dataset = open_training_data({path}, own, objective);
      data::Loader loader(dataset, loader_options(own, objective, test::gpu, false));
      const auto values =
          validate(objective, loader, with_teacher ? &teacher : nullptr, test::gpu, DType::float32);
      const test::Waits waits;
      const auto again =
          validate(objective, loader, with_teacher ? &teacher : nullptr, test::gpu, DType::float32);
      EXPECT_EQ(again.values[0].value, values.values[0].value);
      EXPECT_EQ(test::Waits::copies(), 0);
      EXPECT_EQ(test::Waits::synchronizations(), 0);
      const auto& at = test::Waits::uploads_at_waits();
      EXPECT_EQ(static_cast<int>(at.size()), batches * (with_teacher ? 2 : 1));
      for (int i = 0; i < batches && !with_teacher; ++i)  // pixels and targets
        EXPECT_EQ(at[static_cast<std::size_t>(i)], 2 * std::min(i + 2, batches)) << i;
    };
    measure(small_ / "val.h5", 2);
    measure(small_ / "long.h5", 6);
  }
}

}  // namespace
}  // namespace vitral::train
