// Training in fp32, tf32 and bf16, on the CPU and on a GPU. The CPU knows no tf32; without AVX512_BF16 it
// multiplies bfloat16 in float32, which the trainer refuses but a TrainStep does.
#include <fstream>

#include "tensor/ops/gemm.h"
#include "tests/train/train_steps.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

class Precision : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(GetParam()); }
  void TearDown() override { set_matmul_precision(MatmulPrecision::float32); }

  static std::vector<std::pair<std::string, double>> lower() {  // how far a first loss may be from fp32's
    if (GetParam().is_cpu()) return {{"bf16", 5e-3}};
    return {{"tf32", 1e-3}, {"bf16", 5e-3}};
  }
};

TEST_P(Precision, GivesTheSameBitsEachTime) {
  std::vector<std::string> names{"fp32"};
  for (const auto& [name, tolerance] : lower()) names.push_back(name);
  for (const std::string& precision : names)
    for (const int accumulate : {1, 2}) {
      SCOPED_TRACE(fmt::format("{}, {} micro-batches", precision, accumulate));
      TrainConfig config;
      config.batch_size = 8;
      config.accumulate = accumulate;
      config.precision = precision;
      const Trained a = train_steps(config, test::small_student(2), GetParam(), 6),
                    b = train_steps(config, test::small_student(2), GetParam(), 6);
      EXPECT_EQ(a.losses, b.losses);
      EXPECT_EQ(difference(a.weights, b.weights), 0);
      EXPECT_EQ(difference(a.state, b.state), 0);
    }
}

TEST_P(Precision, LowerOnesStayNear) {
  TrainConfig config;
  config.batch_size = 8;
  for (const int accumulate : {1, 2}) {
    config.accumulate = accumulate;
    config.precision = "fp32";
    const Trained exact = train_steps(config, test::small_student(2), GetParam(), 6);
    for (const auto& [precision, tolerance] : lower()) {
      config.precision = precision;
      const Trained near = train_steps(config, test::small_student(2), GetParam(), 6);
      double changed = 0;
      for (std::size_t i = 0; i < near.losses.size(); ++i) {
        // Each step of AdamW amplifies what the steps before have rounded.
        EXPECT_NEAR(near.losses[i] / exact.losses[i], 1, i == 0 ? tolerance : 10 * tolerance)
            << precision << " step " << i;
        changed += std::abs(near.losses[i] - exact.losses[i]);
      }
      EXPECT_GT(changed, 0) << precision << " has no effect";
      for (const auto& [name, t] : near.weights) EXPECT_EQ(t.dtype(), DType::float32) << name;
      for (const auto& [name, t] : near.state)
        EXPECT_TRUE(t.dtype() == DType::float32 || t.dtype() == DType::int64) << name;
    }
  }
}

// What micro-batches sum in the products is what a whole batch sums.
TEST_P(Precision, MicroBatchesAreTheWholeBatch) {
  TrainConfig config;
  config.batch_size = 8;
  const Trained whole = train_steps(config, test::small_student(2), GetParam(), 3);
  config.accumulate = 4;
  const Trained parts = train_steps(config, test::small_student(2), GetParam(), 3);
  for (std::size_t i = 0; i < whole.losses.size(); ++i) {
    EXPECT_NEAR(parts.losses[i] / whole.losses[i], 1, 1e-5) << i;
    EXPECT_NEAR(parts.norms[i] / whole.norms[i], 1, 1e-3) << i;
  }
}

std::string device_name(const testing::TestParamInfo<Device>& info) {
  return info.param.is_cpu() ? "OnCpu" : "OnCuda";
}
INSTANTIATE_TEST_SUITE_P(Devices, Precision, testing::Values(cpu, test::gpu), device_name);

// From a checkpoint in mid-epoch.
TEST(Bfloat16, ResumesBitForBitOnTheCpu) {
  if (!cpu_has_bfloat16()) GTEST_SKIP() << "this processor, or this build, does not multiply bfloat16";
  const test::SmallRun small(28, true);
  const auto run = [&](const std::string& output, const std::string& resume) {
    std::FILE* out = std::fopen((small / (output + ".log")).c_str(), "w");
    train(load_config(small.config(),
                      {"train.output=" + small.output(output), "train.precision=bf16",
                       "train.checkpoint_every=3", "train.keep=9", "train.ema=0.9", "train.accumulate=2"}),
          resume, out);
    std::fclose(out);
  };
  run("whole", "");
  // As a kill leaves it: the later checkpoints were never written.
  const std::string cut = small.output("cut");
  std::filesystem::copy(small.output("whole"), cut, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::directory_iterator(cut + "/checkpoints")) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step-") && name != "step-000000003") std::filesystem::remove_all(entry.path());
  }
  std::ofstream(cut + "/checkpoints/latest") << "step-000000003\n";
  run("cut", "auto");
  test::expect_same_run(small.output("whole"), cut);
}

}  // namespace
}  // namespace vitral::train
