// What a training step of the 21.4M student takes of a GPU's memory. In the simulator nothing is computed
// here (VITRAL_SIMULATOR_DRY): memory that nobody writes costs nothing, so that the real sizes can be asked
// for.
#include "base/memory.h"

#include <gtest/gtest.h>

#include "models/student/distillation.h"
#include "tests/support.h"
#include "train/step.h"

namespace vitral::train {
namespace {

struct Memory {
  double peak = 0, reserved = 0;  // GB
};

TrainConfig config_of(std::int64_t batch, const std::string& precision, const std::string& recompute) {
  TrainConfig config;
  config.batch_size = static_cast<int>(batch);
  config.precision = precision;
  config.recompute = recompute;
  return config;
}

struct Pixels {
  explicit Pixels(std::int64_t batch, const models::StudentConfig& model = {})
      : images(Tensor::pinned({batch, model.image_size, model.image_size, 3}, DType::uint8)),
        targets(Tensor::pinned({batch, model.width})) {}
  data::Inputs inputs() const { return {images, targets}; }
  Tensor images, targets;
};

Memory of_steps(std::int64_t batch, const std::string& precision, const std::string& attention,
                const std::string& recompute = "always") {
  release_cached(test::gpu);
  const TrainConfig config = config_of(batch, precision, recompute);
  models::StudentConfig model;
  model.attention = attention;
  models::Distillation objective(model);
  Memory m;
  {
    TrainStep step(objective, config, test::gpu);
    const Pixels whole(batch), few(batch / 2);
    reset_peak(test::gpu);
    for (int i = 0; i < 4; ++i) step.run(whole.inputs(), 1e-3);  // by itself, then in graphs
    step.run(few.inputs(), 1e-3);                                // the last batch of an epoch
    m.peak = static_cast<double>(allocator_stats(test::gpu).peak_in_use) / 1e9;
    m.reserved = static_cast<double>(allocator_stats(test::gpu).bytes_reserved) / 1e9;
  }
  std::printf("batch %lld, %s, %s attention, recompute %s: %.2f GB in use at the peak, %.2f GB reserved\n",
              static_cast<long long>(batch), precision.c_str(), attention.c_str(), recompute.c_str(), m.peak,
              m.reserved);
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

// What is kept besides are the two norms' results and the activation: 1 + 1 + 4 numbers more a token, layer
// and unit of width.
TEST(StepMemoryOnCuda, KeptResultsTakeSixNumbersMore) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "measured by tests/bench/train_step.cpp on a real GPU";
  constexpr std::int64_t batch = 1024;
  const Memory always = of_steps(batch, "bf16", "neighbourhood"),
               never = of_steps(batch, "bf16", "neighbourhood", "never"),
               automatic = of_steps(batch, "bf16", "neighbourhood", "auto");
  const double more = 6.0 * 6 * 528 * 64 * 2 * batch / 1e9;
  // At the peak, in backward, one layer's are there anyhow.
  EXPECT_GE(never.peak, always.peak + 0.7 * more);
  EXPECT_LE(never.peak, always.peak + 1.1 * more);
  EXPECT_NEAR(automatic.peak, never.peak, 0.01 * never.peak);
  EXPECT_LE(automatic.reserved, always.reserved + 1.125 * 1.1 * more);
}

// However much memory there is: where `always` has enough, `auto` has.
TEST(StepMemoryOnCuda, AutoFitsWhereAlwaysDoes) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "a GPU has other programs and rounds otherwise";
  const Pixels whole(1024), few(300);
  int kept = 0, fitted = 0, failed = 0;
  for (double gigabytes = 5; gigabytes < 20; gigabytes += 0.5) {
    release_cached(test::gpu);
    const auto room = static_cast<std::int64_t>(gigabytes * 1e9);
    const Tensor others({static_cast<std::int64_t>(device_memory(test::gpu).free) - room}, DType::uint8,
                        test::gpu);
    std::string note;
    const auto runs = [&](const std::string& recompute) {
      try {
        models::Distillation objective(models::StudentConfig{});
        const TrainConfig config = config_of(1024, "bf16", recompute);
        TrainStep step(objective, config, test::gpu);
        for (int i = 0; i < 4; ++i) {
          const std::string now = step.run(whole.inputs(), 1e-3).note;
          if (!now.empty()) note = now;
        }
        step.run(few.inputs(), 1e-3);
        step.run(whole.inputs(), 1e-3);
        return true;
      } catch (const MemoryError&) {
        return false;
      }
    };
    const bool always = runs("always"), automatic = runs("auto");
    EXPECT_EQ(automatic, always) << gigabytes << " GB";
    kept += static_cast<int>(!note.empty());
    fitted += static_cast<int>(always && note.empty());
    failed += static_cast<int>(!always);
  }
  EXPECT_GT(failed, 0) << "there was always room";
  EXPECT_GT(fitted, 3);
  EXPECT_GT(kept, 3);
}

// Who needs memory later, as validation does, gets that of the graphs.
TEST(StepMemoryOnCuda, AutoGivesBackWhatItKeeps) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "a GPU has other programs";
  release_cached(test::gpu);
  const Pixels whole(1024);
  for (const char* recompute : {"auto", "never"}) {
    models::Distillation objective(models::StudentConfig{});
    const TrainConfig config = config_of(1024, "bf16", recompute);
    TrainStep step(objective, config, test::gpu);
    for (int i = 0; i < 3; ++i) step.run(whole.inputs(), 1e-3);
    step.submit(whole.inputs(), 1e-3);  // on its way
    const std::size_t before = allocator_stats(test::gpu).bytes_reserved;
    const auto most = static_cast<std::int64_t>(device_memory(test::gpu).free);
    if (std::string(recompute) == "never") {
      EXPECT_NE(test::message_of([&] {
                  const Tensor t({most + (1 << 30)}, DType::uint8, test::gpu);
                }).find("out of memory"),
                std::string::npos);
      step.take();
      continue;
    }
    { const Tensor t({most + (1 << 30)}, DType::uint8, test::gpu); }
    release_cached(test::gpu);
    EXPECT_LT(allocator_stats(test::gpu).bytes_reserved + 2'000'000'000, before);
    EXPECT_EQ(step.take().note,
              "train.recompute auto: memory is short; from here on backward computes again what was kept");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(step.run(whole.inputs(), 1e-3).note, "");
    EXPECT_LT(allocator_stats(test::gpu).bytes_reserved + 2'000'000'000, before);
  }
}

}  // namespace
}  // namespace vitral::train
