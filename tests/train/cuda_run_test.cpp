// Runs on a GPU: as on the CPU, resumed, continued elsewhere, and against what PyTorch computed.
#include <cmath>
#include <fstream>

#include <gtest/gtest.h>

#include "data/benchmarks/shapes.h"
#include "infer/measure/evaluate.h"
#include "tensor/profile.h"
#include "tests/cli/golden_run.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

class TrainerOnCuda : public testing::Test {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(test::gpu); }

  static RunSummary run(const test::SmallRun& small, const std::string& output, const std::string& device,
                        const std::vector<std::string>& more = {}, const std::string& resume = "") {
    std::vector<std::string> keys{"train.output=" + small.output(output), "train.device=" + device};
    keys.insert(keys.end(), more.begin(), more.end());
    std::FILE* out = std::fopen((small / (output + ".log")).c_str(), "w");
    const RunSummary summary = train(load_config(small.config(), keys), resume, out);
    std::fclose(out);
    return summary;
  }
};

// All of it is done on the device.
const std::string strong_augmentation =
    "{resize: 75, brightness: 0.4, contrast: 0.4, saturation: 0.4, grayscale: 0.2, flip: 0.5, blur: 0.3, "
    "posterize: 0.2, autocontrast: 0.2, random_crop: true}";

TEST_F(TrainerOnCuda, RunsAsOnTheCpu) {
  const test::SmallRun small(28, true);  // four batches an epoch, the last one smaller
  for (const std::string& augment : {std::string("none"), strong_augmentation}) {
    SCOPED_TRACE(augment);
    const std::string keys = "data.augment=" + augment, name = augment == "none" ? "a" : "b";
    run(small, name + "-cpu", "cpu", {keys});
    const RunSummary s = run(small, name + "-cuda", "cuda", {keys});
    EXPECT_EQ(s.end, RunEnd::finished);
    const auto a = test::metric(small.output(name + "-cpu"), "train", "loss"),
               b = test::metric(small.output(name + "-cuda"), "train", "loss");
    ASSERT_EQ(a.size(), 8U);
    ASSERT_EQ(b.size(), 8U);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i] / a[i], 1, 1e-4) << i;
    EXPECT_EQ(test::metric(small.output(name + "-cpu"), "train", "step"),
              test::metric(small.output(name + "-cuda"), "train", "step"));
  }
}

TEST_F(TrainerOnCuda, LeavesAugmentationToTheDevice) {
  const test::SmallRun small(28);
  for (const std::string& augment : {strong_augmentation, std::string("{resize: 75, flip: 0.5}")}) {
    Profile profile;
    const Profile::Use use(profile);
    run(small, "run", "cuda", {"train.epochs=1", "data.augment=" + augment});
    std::int64_t calls = 0;
    for (const OperationProfile& o : profile.operations()) calls += o.name == "augment" ? o.calls : 0;
    EXPECT_EQ(calls, augment == strong_augmentation ? 4 : 0);  // the others are resized last
    std::filesystem::remove_all(small.output("run"));
  }
}

// From a checkpoint in mid-epoch.
TEST_F(TrainerOnCuda, ResumesBitForBit) {
  const test::SmallRun small(28, true);
  for (const char* precision : {"fp32", "bf16"}) {
    const std::string p = precision;
    const std::vector<std::string> keys{"train.precision=" + p, "train.checkpoint_every=3", "train.keep=9",
                                        "train.ema=0.9", "data.augment=" + strong_augmentation};
    run(small, "whole-" + p, "cuda", keys);
    // As a kill leaves it: the later checkpoints were never written.
    const std::string cut = small.output("cut-" + p);
    std::filesystem::copy(small.output("whole-" + p), cut, std::filesystem::copy_options::recursive);
    for (const auto& entry : std::filesystem::directory_iterator(cut + "/checkpoints")) {
      const std::string name = entry.path().filename();
      if (name.starts_with("step-") && name != "step-000000003") std::filesystem::remove_all(entry.path());
    }
    std::ofstream(cut + "/checkpoints/latest") << "step-000000003\n";
    run(small, "cut-" + p, "cuda", keys, "auto");
    test::expect_same_run(small.output("whole-" + p), cut);
  }
}

TEST_F(TrainerOnCuda, GoesOnAtTheOtherDevice) {
  const test::SmallRun small(28, true);
  run(small, "cpu", "cpu");
  for (const auto& [first, second] : {std::pair{"cuda", "cpu"}, std::pair{"cpu", "cuda"}}) {
    const std::string name = std::string(first) + "-" + second;
    run(small, name, first, {"train.epochs=1"});
    const RunSummary s = run(small, name, second, {}, "auto");
    EXPECT_EQ(s.step, 8);
    EXPECT_EQ(s.steps_now, 4);
    const auto a = test::metric(small.output("cpu"), "train", "loss"),
               b = test::metric(small.output(name), "train", "loss");
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i] / a[i], 1, 1e-4) << name << " " << i;
    const std::string log = test::bytes_of_file(small / (name + ".log"));
    EXPECT_NE(
        log.find(fmt::format("was trained on {}, this is {}: the last bits will differ", first, second)),
        std::string::npos)
        << log;
  }
}

TEST_F(TrainerOnCuda, EndsARunThatDiverges) {
  const test::SmallRun small(28);
  test::write_dataset(small.train(), 28, test::embedding_of(std::nullopt, 1e19F));
  const std::string message = test::message_of([&] { run(small, "diverged", "cuda"); });
  EXPECT_NE(message.find("3 steps in a row"), std::string::npos) << message;
}

TEST_F(TrainerOnCuda, AgreesWithTheGoldenRuns) {
  for (const char* name : {"run_expected.json", "run_clip_expected.json"})
    for (const auto& golden : test::golden_runs(name)) {
      SCOPED_TRACE(golden.folder + "/" + name);
      const test::TempDir dir;
      test::write_golden_config(golden, dir / "config.yaml", dir / "run", "cuda");
      std::FILE* out = std::fopen((dir / "log").c_str(), "w");
      train(load_config(dir / "config.yaml"), "", out);
      std::fclose(out);
      test::expect_losses(dir / "run", golden.expected, 1e-4);
    }
}

// The claim of the shapes benchmark holds in every precision.
TEST_F(TrainerOnCuda, ShapesBenchmarkInBfloat16) {
  if (test::gpu_is_simulated()) GTEST_SKIP() << "the simulator is too slow for a whole training";
  const test::TempDir dir;
  data::write_shapes(dir / "train.h5", 6000, 0, data::Split::train);
  data::write_shapes(dir / "val.h5", 1000, 0, data::Split::val);
  const auto evaluated = [&](const std::string& precision) {
    const std::string output = dir / precision;
    std::FILE* out = std::fopen((output + ".log").c_str(), "w");
    train(load_config("configs/shapes.yaml",
                      {"data.train=" + (dir / "train.h5"), "data.val=" + (dir / "val.h5"),
                       "train.output=" + output, "train.device=cuda", "train.precision=" + precision}),
          "", out);
    std::fclose(out);
    return infer::evaluate(models::Encoder::load(output, test::gpu), data::Dataset::open(dir / "val.h5"));
  };
  const infer::Evaluation exact = evaluated("fp32"), half = evaluated("bf16");
  EXPECT_GT(exact.cosine, 0.89);
  EXPECT_NEAR(half.cosine, exact.cosine, 0.01);
  ASSERT_TRUE(exact.pointing && half.pointing);
  EXPECT_GT(exact.pointing->accuracy(), 0.93);
  EXPECT_NEAR(half.pointing->accuracy(), exact.pointing->accuracy(), 0.02);
}

}  // namespace
}  // namespace vitral::train
