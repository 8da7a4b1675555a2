// Whole runs of the program against what PyTorch computed.
#include "tests/cli/golden_run.h"

namespace vitral {
namespace {

using test::metric;

test::Result train(const test::GoldenRun& golden, const std::string& output,
                   const test::Program::Arguments& more = {}) {
  const test::TempDir dir;
  test::write_golden_config(golden, dir / "config.yaml", output, "cpu");
  test::Program::Arguments arguments{"train", dir / "config.yaml"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return test::run(arguments);
}

TEST(GoldenRun, ReduceOnPlateau) {
  for (const auto& golden : test::golden_runs("run_expected.json")) {
    SCOPED_TRACE(golden.folder);
    const test::TempDir dir;
    test::expect_done(train(golden, dir / "run"));
    test::expect_losses(dir / "run", golden.expected, 1e-5);
    test::expect_near(metric(dir / "run", "val", "loss"), golden.expected["val_losses"], 2e-2);
    // The rate of the steps of an epoch is the one after the epoch before.
    std::vector<double> rates;
    const auto after = golden.expected["lr_after_epoch"].get<std::vector<double>>();
    const std::size_t steps = golden.expected["step_losses"].size() / after.size();
    for (std::size_t i = 0; i < steps * after.size(); ++i)
      rates.push_back(i < steps ? golden.expected["train"]["lr"].get<double>() : after[i / steps - 1]);
    EXPECT_EQ(metric(dir / "run", "train", "lr"), rates);
  }
}

TEST(GoldenRun, ClippingOneCycleAndAveragedWeights) {
  for (const auto& golden : test::golden_runs("run_clip_expected.json")) {
    for (const char* accumulate : {"1", "2"}) {
      SCOPED_TRACE(golden.folder + " accumulate " + accumulate);
      const test::TempDir dir;
      const std::string run = dir / "run";
      test::expect_done(train(golden, run, {std::string("train.accumulate=") + accumulate}));
      test::expect_losses(run, golden.expected, 1e-5);
      test::expect_near(metric(run, "train", "lr"), golden.expected["lr_of_step"], 1e-12);
      const auto average = data::read_weights(test::latest(run)).tensors;
      const auto raw = data::read_safetensors(test::latest(run) + "/optimizer.safetensors").tensors;
      const auto find = [](const data::NamedTensors& tensors, const std::string& name) {
        for (const auto& [key, tensor] : tensors)
          if (key == name) return tensor;
        throw_error("no tensor {}", name);
      };
      for (const auto& [name, tensor] : golden.expected["ema"].items()) {
        const Tensor got = find(average, name);
        const Tensor want =
            Tensor::from(tensor["values"].get<std::vector<double>>(), got.shape()).cast(DType::float32);
        EXPECT_LT(test::relative_error(got, want), 1e-4) << name;
        // The student's own weights are elsewhere.
        EXPECT_GT(test::relative_error(find(raw, "raw." + name), want), 1e-3) << name;
      }
    }
  }
}

}  // namespace
}  // namespace vitral
