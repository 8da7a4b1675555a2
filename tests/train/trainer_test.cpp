// A training step asks the system for no memory once warm, and skips what is not finite without a trace.
#include "train/trainer.h"

#include <chrono>
#include <csignal>
#include <functional>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "base/signals.h"
#include "data/loader.h"
#include "models/student/distillation.h"
#include "tensor/ops/linear.h"
#include "tests/cli/small_run.h"
#include "train/step.h"

namespace vitral::train {
namespace {

TrainConfig small_training() {
  TrainConfig c;
  c.batch_size = 8;
  return c;
}

std::vector<std::vector<double>> values_of(const data::NamedTensors& tensors) {
  std::vector<std::vector<double>> out;
  for (const auto& [name, tensor] : tensors) out.push_back(tensor.to_vector());
  return out;
}

TEST(TrainStep, AllocatesNothingOnceWarm) {
  TrainConfig plain = small_training(), rich = small_training();
  rich.ema = 0.9;
  rich.clip_norm = 1;
  rich.accumulate = 2;
  for (const TrainConfig& config : {plain, rich}) {
    models::Distillation objective(test::small_student());
    TrainStep step(objective, config, cpu);
    const Tensor images = test::noise({8, test::small_size, test::small_size, 3}, 1, DType::uint8);
    const Tensor targets = test::noise({8, test::small_width}, 2, DType::float32);
    for (int i = 0; i < 3; ++i) step.run({images, targets}, 1e-3);
    const auto before = allocator_stats(cpu).system_calls;
    for (int i = 4; i <= 10; ++i) {
      const StepResult r = step.run({images, targets}, 1e-3);
      EXPECT_FALSE(r.skipped);
      EXPECT_EQ(allocator_stats(cpu).system_calls, before) << "step " << i;
    }
  }
}

void wait_until_memory_rests() {
  const auto in_use = [] { return allocator_stats(cpu).bytes_in_use; };
  for (auto before = in_use() + 1; before != in_use();) {
    before = in_use();
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
}

std::size_t blocks_of(const std::function<void()>& work) {
  release_cached(cpu);
  const auto before = allocator_stats(cpu).system_calls;
  work();
  return allocator_stats(cpu).system_calls - before;
}

// How the step and the loader's thread meet is chance, and with it the step in which the last block is asked
// for. But together they never need more than the two peaks alone add up to.
TEST(TrainStep, AllocatesNothingOnceWarmWithALoader) {
  constexpr std::int64_t images = 320;
  const test::TempDir dir;
  test::write_dataset(dir / "train.h5", images);
  data::LoaderOptions options;
  options.batch_size = 8;
  options.image_size = test::small_size;
  options.augment.resize = 72;
  options.augment.random_crop = true;
  options.augment.flip = 0.5F;
  options.workers = 1;
  const auto dataset = data::Dataset::open(dir / "train.h5");
  std::size_t alone = blocks_of([&] {
    data::Loader loader(dataset, options);
    while (const auto batch = loader.next()) wait_until_memory_rests();  // all is loaded that may wait
  });

  models::Distillation objective(test::small_student());
  const TrainConfig config = small_training();
  TrainStep step(objective, config, cpu);
  const Tensor pixels = test::noise({8, test::small_size, test::small_size, 3}, 1, DType::uint8);
  const Tensor targets = test::noise({8, test::small_width}, 2, DType::float32);
  const auto steps = [&] {
    for (int i = 0; i < 2; ++i) step.run({pixels, targets}, 1e-3);
  };
  steps();  // what the first one keeps is not asked for again
  alone += blocks_of(steps);

  const std::size_t together = blocks_of([&] {
    data::Loader loader(dataset, options);
    while (const auto batch = loader.next()) step.run(*batch, 1e-3);
  });
  EXPECT_GT(together, 0U);
  EXPECT_LE(together, alone);
}

TEST(TrainStep, SkipsWithoutATrace) {
  for (const float value : {0.0F, test::not_a_number, std::numeric_limits<float>::infinity()}) {
    SCOPED_TRACE(value);
    TrainConfig config = small_training();
    config.ema = 0.9;
    models::Distillation objective(test::small_student());
    TrainStep step(objective, config, cpu);
    const Tensor images = test::noise({8, test::small_size, test::small_size, 3}, 1, DType::uint8);
    const Tensor good = test::noise({8, test::small_width}, 2, DType::float32), bad = good.clone();
    test::embedding_of(5, value)(const_cast<Tensor&>(bad));
    step.run({images, good}, 1e-3);
    const auto weights = values_of(step.weights()), state = values_of(step.state());
    EXPECT_TRUE(step.run({images, bad}, 1e-3).skipped);
    EXPECT_EQ(values_of(step.weights()), weights);
    EXPECT_EQ(values_of(step.state()), state);
    EXPECT_FALSE(step.run({images, good}, 1e-3).skipped);
  }
}

TEST(StopSignals, ScopesShareTheFlag) {
  {
    const StopSignals outer;
    {
      const StopSignals inner;
      EXPECT_FALSE(inner.requested());
      std::raise(SIGTERM);
      EXPECT_EQ(inner.signal(), SIGTERM);
    }
    EXPECT_EQ(outer.signal(), SIGTERM);
    std::raise(SIGINT);
    const StopSignals again;
    EXPECT_EQ(again.signal(), SIGINT);
  }
  const StopSignals next;
  EXPECT_FALSE(next.requested());
}

// A handler must not write where a product keeps its numbers: oneDNN's do so below the stack pointer.
TEST(StopSignals, LeaveProductsAlone) {
#pragma omp parallel  // its threads are older than the scope
  std::this_thread::yield();
  const StopSignals stop;
  const auto blocked = [] {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) && sigismember(&mask, SIGXCPU);
  };
  std::atomic<int> open = 0;
#pragma omp parallel
  open += blocked() ? 0 : 1;
  std::thread([&] { open += blocked() ? 0 : 1; }).join();
  EXPECT_EQ(open, 0);

  const Tensor dy = Tensor::full({4096, 528}, 1, DType::float32),
               x = Tensor::full({4096, 528}, 0.5, DType::float32);
  Tensor dweight({528, 528}, DType::float32), none;
  std::atomic<bool> done = false;
  std::thread sender([&, self = pthread_self()] {
    while (!done) {
      pthread_kill(self, SIGINT);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  int wrong = 0;
  for (int i = 0; i < 30; ++i) {
    kernel::linear_backward(dweight, none, dy, x, false);
    for (std::int64_t k = 0; k < dweight.numel(); ++k) wrong += dweight.data<float>()[k] != 2048;
  }
  done = true;
  sender.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(stop.signal(), SIGINT);
}

// The run as a library call, its progress into a file.
TEST(Trainer, SummaryAndProgress) {
  const test::SmallRun small(24, true);
  const std::string log = small / "log";
  std::FILE* out = std::fopen(log.c_str(), "w");
  const RunSummary s = train(load_config(small.config()), "", out);
  std::fclose(out);
  EXPECT_EQ(s.end, RunEnd::finished);
  EXPECT_EQ(s.signal, 0);
  EXPECT_EQ(s.step, 6);
  EXPECT_EQ(s.steps_now, 6);
  EXPECT_EQ(s.skipped_samples, 0);
  EXPECT_GE(s.data_wait, 0);
  EXPECT_LE(s.data_wait, 1);
  ASSERT_TRUE(s.validated);
  ASSERT_EQ(s.validation.size(), 2U);
  EXPECT_EQ(s.validation[0].name, "loss");
  EXPECT_EQ(s.validation[1].name, "cosine");
  for (const auto& [name, value] : s.validation)
    EXPECT_EQ(value, test::metric(small.output("run"), "val", name).back());
  const std::string text = test::bytes_of_file(log);
  EXPECT_NE(text.find("epoch 2/2 step 6/6 loss "), std::string::npos) << text;
  EXPECT_NE(text.find("epoch 2/2 validation: loss "), std::string::npos) << text;
  EXPECT_EQ(load_config(small.output("run") + "/config.yaml"), load_config(small.config()));
}

TEST(Trainer, AutoTakesTheCpuWhereThereIsNoGpuAndSaysWhyOnce) {
  if (test::why_no_gpu().empty()) GTEST_SKIP() << "there is a GPU";
  const test::SmallRun small;
  const std::string log = small / "log";
  std::FILE* out = std::fopen(log.c_str(), "w");
  train(load_config(small.config(), {"train.device=auto"}), "", out);
  std::fclose(out);
  const std::string text = test::bytes_of_file(log), note = "train.device auto: training on the CPU, ";
  const auto at = text.find(note);
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_TRUE(text.substr(at + note.size()).starts_with(test::why_no_gpu())) << text;
  EXPECT_EQ(text.find(note, at + 1), std::string::npos) << text;
  EXPECT_EQ(test::message_of([&] {
              train(load_config(small.config(), {"train.device=auto", "train.precision=tf32",
                                                 "train.output=" + small.output("tf32")}),
                    "", stderr);
            }).find("train.precision: tf32 needs a GPU, on the CPU choose fp32 ("),
            0U);
}

}  // namespace
}  // namespace vitral::train
