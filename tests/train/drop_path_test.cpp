// Stochastic depth in training: what is left out depends on (seed, step, place in the whole batch) alone.
#include <fstream>

#include "tests/train/train_steps.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

models::StudentConfig deep() {
  models::StudentConfig c = test::small_student(3);
  c.drop_path = 0.6;
  return c;
}

// Losses of steps that change nothing: lr is 0.
std::vector<double> losses(TrainConfig config, Device device, int first = 0) {
  const Batches b(8);
  config.batch_size = 8;
  models::Distillation objective(deep());
  TrainStep step(objective, config, device);
  std::vector<double> out;
  for (int i = first; i < 6; ++i) {
    const data::Inputs inputs{b.images, b.targets};
    if (step.has_slices())
      step.submit(inputs, {.planned = 8, .slice_ends = {2, 4, 6, 8}}, 0, i);
    else
      step.submit(inputs, 0, i);
    out.push_back(step.take().loss);
  }
  return out;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i] / b[i], 1, 1e-5) << i;
}

class DropPath : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(GetParam()); }
};

// On a GPU the later steps are one recorded graph: what it draws must not be that of the recording.
TEST_P(DropPath, DiffersFromStepToStepAndNotFromDeviceToDevice) {
  const auto here = losses({}, GetParam());
  expect_near(here, losses({}, cpu));
  for (std::size_t i = 1; i < here.size(); ++i) EXPECT_GT(std::abs(here[i] / here[i - 1] - 1), 1e-3) << i;
  TrainConfig other;
  other.seed = 1;
  EXPECT_GT(std::abs(losses(other, GetParam())[0] / here[0] - 1), 1e-3);
}

TEST_P(DropPath, IsTheSameInMicroBatches) {
  TrainConfig parts;
  parts.accumulate = 4;
  expect_near(losses(parts, GetParam()), losses({}, cpu));
}

TEST_P(DropPath, BelongsToTheStepWhereverARunBegins) {
  const auto whole = losses({}, GetParam()), rest = losses({}, GetParam(), 2);
  expect_near(rest, {whole.begin() + 2, whole.end()});
}

INSTANTIATE_TEST_SUITE_P(Devices, DropPath, testing::Values(cpu, test::gpu),
                         [](const auto& info) { return info.param.is_cpu() ? "OnCpu" : "OnCuda"; });

TEST(DropPathOfSlices, IsThatOfTheWholeBatch) {
  TrainConfig slices;
  slices.slices = 4;
  expect_near(losses(slices, cpu), losses({}, cpu));
}

// From a checkpoint in mid-epoch; and weights that were trained with one rate begin a run with another.
TEST(DropPathOfRuns, ResumesBitForBit) {
  const test::SmallRun small(28);
  const auto run = [&](const std::string& output, std::vector<std::string> more, const std::string& resume) {
    std::FILE* out = std::fopen((small / (output + ".log")).c_str(), "w");
    more.insert(more.end(), {"train.output=" + small.output(output), "train.checkpoint_every=3",
                             "train.keep=9", "model.layers=3"});
    train(load_config(small.config(), more), resume, out);
    std::fclose(out);
  };
  const std::string rate = "model.drop_path=0.5";
  run("whole", {rate}, "");
  run("none", {}, "");
  EXPECT_NE(test::metric(small.output("whole"), "train", "loss"),
            test::metric(small.output("none"), "train", "loss"));
  const std::string cut = small.output("cut");
  std::filesystem::copy(small.output("whole"), cut, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::directory_iterator(cut + "/checkpoints")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step-") && name != "step-000000003") std::filesystem::remove_all(entry.path());
  }
  std::ofstream(cut + "/checkpoints/latest") << "step-000000003\n";
  EXPECT_EQ(test::message_of([&] { run("cut", {"model.drop_path=0.25"}, "auto"); }),
            cut +
                "/checkpoints/step-000000003: was trained with model.drop_path=0.5, this configuration has "
                "0.25; set it alike, or start a new run with model.init_from");
  run("cut", {rate}, "auto");
  test::expect_same_run(small.output("whole"), cut);
  run("another", {"model.drop_path=0.25", "model.init_from=" + small.output("whole")}, "");
}

}  // namespace
}  // namespace vitral::train
