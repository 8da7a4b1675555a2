// What a training step of the 21.4M student takes of a GPU's memory. In the simulator nothing is computed
// here (VITRAL_SIMULATOR_DRY): memory that nobody writes costs nothing, so that the real sizes can be asked
// for.
#include <gtest/gtest.h>

#include "models/student/distillation.h"
#include "tests/support.h"
#include "train/step.h"

namespace vitral::train {
namespace {

struct Memory {
  double peak = 0, reserved = 0;  // GB
};

Memory of_steps(std::int64_t batch, const std::string& precision, const std::string& attention) {
  release_cached(test::gpu);
  TrainConfig config;
  config.batch_size = static_cast<int>(batch);
  config.precision = precision;
  models::StudentConfig model;
  model.attention = attention;
  models::Distillation objective(model);
  Memory m;
  {
    TrainStep step(objective, config, test::gpu);
    const Tensor images = Tensor::pinned({batch, model.image_size, model.image_size, 3}, DType::uint8),
                 targets = Tensor::pinned({batch, model.width});
    const Tensor few = Tensor::pinned({batch / 2, model.image_size, model.image_size, 3}, DType::uint8);
    reset_peak(test::gpu);
    for (int i = 0; i < 4; ++i) step.run({images, targets}, 1e-3);  // by itself, then in graphs
    step.run({few, targets.rows(0, batch / 2)}, 1e-3);              // the last batch of an epoch
    m.peak = static_cast<double>(allocator_stats(test::gpu).peak_in_use) / 1e9;
    m.reserved = static_cast<double>(allocator_stats(test::gpu).bytes_reserved) / 1e9;
  }
  std::printf("batch %lld, %s, %s attention: %.2f GB in use at the peak, %.2f GB reserved\n",
              static_cast<long long>(batch), precision.c_str(), attention.c_str(), m.peak, m.reserved);
  return m;
}

TEST(StepMemoryOnCuda, ABatchOf4096InBfloat16FitsIn24GB) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "measured by tests/bench/train_step.cpp on a real GPU";
  for (const char* attention : {"neighbourhood", "full"}) {
    const Memory m = of_steps(4096, "bf16", attention);
    EXPECT_LE(m.reserved, 24.0);
    EXPECT_GE(m.peak, 15.0) << "less than what a layer must keep: this test measures nothing";
  }
}

TEST(StepMemoryOnCuda, GrowsWithTheBatchAlone) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "measured by tests/bench/train_step.cpp on a real GPU";
  // 10 numbers kept a token, layer and unit of width, twice as many bytes in float32.
  const Memory half = of_steps(256, "bf16", "neighbourhood"), single = of_steps(256, "fp32", "neighbourhood");
  EXPECT_LE(half.peak, 0.45 + 256 * 6e-3);
  EXPECT_LE(single.peak, 0.40 + 256 * 12e-3);
}

}  // namespace
}  // namespace vitral::train
