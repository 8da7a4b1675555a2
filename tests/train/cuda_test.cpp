// Training on a GPU beside the CPU: the same weights, the same order of samples, the same run folder.
#include <cmath>
#include <cstring>
#include <deque>
#include <fstream>

#include <gtest/gtest.h>

#include "data/loader.h"
#include "tensor/ops/augment.h"
#include "tensor/ops/gemm.h"
#include "tensor/profile.h"
#include "tests/train/train_steps.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

class TrainStepOnCuda : public testing::Test {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(test::gpu); }
};

TEST_F(TrainStepOnCuda, AgreesWithTheCpu) {
  TrainConfig plain, rich;
  plain.batch_size = rich.batch_size = 8;
  rich.ema = 0.9;
  rich.clip_norm = 0.5;
  rich.accumulate = 2;
  for (const TrainConfig& config : {plain, rich})
    for (const char* attention : {"neighbourhood", "full"}) {
      SCOPED_TRACE(attention);
      const Trained a = train_steps(config, test::small_student(2, attention), cpu, 7),
                    b = train_steps(config, test::small_student(2, attention), test::gpu, 7);
      for (std::size_t i = 0; i < a.losses.size(); ++i) {
        EXPECT_NEAR(b.losses[i] / a.losses[i], 1, 1e-5) << i;
        EXPECT_NEAR(b.norms[i] / a.norms[i], 1, 1e-3) << i;
      }
      ASSERT_EQ(a.state.size(), b.state.size());
      // AdamW's first steps move each weight by lr whatever its gradient, also where that is rounding noise:
      // by at most the sum of all lr, in the one direction or the other.
      EXPECT_LE(difference(a.weights, b.weights), 2 * 2.6e-3);
    }
}

TEST_F(TrainStepOnCuda, SkipsWithoutATrace) {
  TrainConfig config;
  config.batch_size = 8;
  config.ema = 0.9;
  config.precision = "bf16";
  models::Distillation objective(test::small_student(2));
  TrainStep step(objective, config, test::gpu);
  const Batches b(8);
  Tensor bad = b.targets.clone();
  test::embedding_of(5, test::not_a_number)(bad);
  for (int i = 0; i < 4; ++i) {  // by itself, and in a graph
    EXPECT_FALSE(step.run({b.images, b.targets}, 1e-3).skipped);
    const auto values = [&] {
      std::vector<std::vector<double>> out;
      for (const auto& tensors : {step.weights(), step.state()})
        for (const auto& [name, t] : tensors) out.push_back(t.to_vector());
      return out;
    };
    const auto before = values();
    EXPECT_TRUE(step.run({b.images, bad}, 1e-3).skipped);
    EXPECT_EQ(values(), before);
  }
}

// Two epochs, the second from its second batch; their last batch is smaller.
std::vector<double> losses_of(const data::Dataset& dataset, data::LoaderOptions options, bool deferred,
                              const TrainConfig& config) {
  options.pinned = options.defer_augmentation = deferred;
  data::Loader loader(dataset, options);
  models::Distillation objective(test::small_student(2));
  TrainStep step(objective, config, test::gpu);
  std::vector<double> losses;
  for (const int epoch : {0, 1}) {
    loader.begin_epoch(epoch, epoch);
    while (const auto batch = loader.next()) {
      EXPECT_EQ(batch->augmentations.defined(), deferred);
      if (step.pending() == TrainStep::max_pending) losses.push_back(step.take().loss);
      step.submit(*batch, 1e-3);
    }
  }
  while (step.pending() > 0) losses.push_back(step.take().loss);
  return losses;
}

TEST_F(TrainStepOnCuda, AugmentsOnTheDeviceAsTheLoaderDoes) {
  const test::TempDir dir;
  {
    data::H5File file = data::H5File::create(dir / "train.h5");
    file.write("/images", test::noise({27, 72, 80, 3}, 3, DType::uint8), 1);
    file.write("/embeddings", test::noise({27, test::small_width}, 4, DType::float32));
    file.close();
  }
  data::AugmentConfig crops, strong = data::AugmentConfig::clip();
  crops.random_crop = true;
  crops.flip = 0.5F;
  strong.resize = 75;
  strong.grayscale = strong.flip = strong.blur = strong.posterize = strong.autocontrast = 0.5F;
  TrainConfig plain, rich;
  plain.batch_size = rich.batch_size = 8;
  rich.accumulate = 2;
  rich.precision = "bf16";
  const data::Dataset dataset = data::Dataset::open(dir / "train.h5");
  for (const auto& augment : {crops, strong})
    for (const TrainConfig& config : {plain, rich}) {
      const data::LoaderOptions options{.batch_size = 8, .image_size = test::small_size, .augment = augment};
      const std::vector<double> here = losses_of(dataset, options, false, config);
      EXPECT_EQ(here.size(), 7U);
      EXPECT_EQ(losses_of(dataset, options, true, config), here);  // to the last bit
    }
}

TEST_F(TrainStepOnCuda, AsksForNoMemoryOnceWarm) {
  TrainConfig config;
  config.batch_size = 8;
  config.precision = "bf16";
  models::Distillation objective(test::small_student(2));
  TrainStep step(objective, config, test::gpu);
  const Batches b(8), part(3);
  for (int i = 0; i < 6; ++i)
    step.run({b.images, b.targets}, 1e-3), step.run({part.images, part.targets}, 1e-3);
  const auto before = allocator_stats(test::gpu).system_calls;
  for (int i = 0; i < 4; ++i)
    step.run({b.images, b.targets}, 1e-3), step.run({part.images, part.targets}, 1e-3);
  EXPECT_EQ(allocator_stats(test::gpu).system_calls, before);
}

// A larger batch takes the place of what graphs of smaller ones read.
TEST_F(TrainStepOnCuda, SurvivesBatchesThatGrowAndShrink) {
  const std::vector<std::int64_t> sizes{4, 4, 4, 4, 8, 8, 4, 4, 4, 8, 8, 8, 3, 8};
  TrainConfig config;
  config.batch_size = 8;
  const auto losses = [&](Device device) {
    models::Distillation objective(test::small_student(2));
    TrainStep step(objective, config, device);
    std::vector<double> out;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const Tensor images =
                       test::noise({sizes[i], test::small_size, test::small_size, 3}, 10 + i, DType::uint8),
                   targets = test::noise({sizes[i], test::small_width}, 50 + i, DType::float32);
      out.push_back(step.run({images, targets}, 1e-4).loss);
    }
    return out;
  };
  const std::vector<double> expected = losses(cpu), got = losses(test::gpu);
  for (std::size_t i = 0; i < sizes.size(); ++i) EXPECT_NEAR(got[i] / expected[i], 1, 1e-4) << "step " << i;
}

// Augmentations of one batch are not those of the next.
TEST_F(TrainStepOnCuda, ForgetsTheAugmentationsOfTheBatchBefore) {
  TrainConfig config;
  config.batch_size = 4;
  const Batches b(4);
  Tensor mirrored({4, augmentation_bytes(0)}, DType::uint8);
  for (std::int64_t i = 0; i < 4; ++i) {
    const Augmentation a{.mirrored = 1};
    std::memcpy(mirrored.data<std::uint8_t>() + i * mirrored.dim(1), &a, sizeof a);
  }
  const auto losses = [&](Device device) {
    models::Distillation objective(test::small_student(2));
    TrainStep step(objective, config, device);
    std::vector<double> out;
    for (int i = 0; i < 12; ++i) {
      data::Inputs inputs{.images = b.images, .targets = b.targets};
      if (i / 4 % 2 == 0) inputs.augmentations = mirrored;
      out.push_back(step.run(inputs, 1e-4).loss);
    }
    return out;
  };
  const std::vector<double> expected = losses(cpu), got = losses(test::gpu);
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(got[i] / expected[i], 1, 1e-4) << "step " << i;
}

// Moments that a checkpoint lacks begin at zero once, not at every launch of a graph: as a run from the
// start.
TEST_F(TrainStepOnCuda, GoesOnFromAStateWithoutMoments) {
  TrainConfig config;
  config.batch_size = 8;
  const Batches b(8);
  const auto weights = [&](bool loaded) {
    models::Distillation objective(test::small_student(2));
    TrainStep step(objective, config, test::gpu);
    data::NamedTensors begin, out;
    for (const auto& [name, t] : step.weights()) begin.emplace_back(name, t.to(cpu).clone());
    if (loaded) {
      for (int i = 0; i < 4; ++i) step.run({b.images, b.targets}, 1e-3);
      step.load(begin, {}, "test");
    }
    for (int i = 0; i < 6; ++i) step.run({b.images, b.targets}, 1e-3);
    for (const auto& [name, t] : step.weights()) out.emplace_back(name, t.to(cpu).clone());
    return out;
  };
  EXPECT_EQ(difference(weights(false), weights(true)), 0);
}

// A step that runs as a graph would show no kernels.
TEST_F(TrainStepOnCuda, ShowsItsKernelsToAProfile) {
  TrainConfig config;
  config.batch_size = 8;
  const Batches b(8);
  const auto losses = [&](int profiled) {
    models::Distillation objective(test::small_student());
    TrainStep step(objective, config, test::gpu);
    std::vector<double> out;
    Profile profile;
    for (int i = 0; i < 6; ++i) {
      std::optional<Profile::Use> use;
      if (i >= 6 - profiled) use.emplace(profile);
      out.push_back(step.run({b.images, b.targets}, 1e-3).loss);
    }
    const auto operations = profile.operations();
    const auto calls_of = [&](const char* name) {
      const auto found = std::find_if(operations.begin(), operations.end(),
                                      [&](const OperationProfile& o) { return o.name == name; });
      return found == operations.end() ? 0 : found->calls;
    };
    EXPECT_EQ(calls_of("neighbourhood_attention"), profiled);
    EXPECT_EQ(calls_of("adamw"), profiled);
    return out;
  };
  EXPECT_EQ(losses(2), losses(0));  // also behind steps that did run as a graph
}

TEST_F(TrainStepOnCuda, NamesTheMisuse) {
  TrainConfig config;
  config.batch_size = 8;
  models::Distillation objective(test::small_student(2));
  TrainStep step(objective, config, test::gpu);
  EXPECT_EQ(test::message_of([&] { step.take(); }), "train step: none is pending");
  const Batches b(8);
  for (int i = 0; i < 2; ++i) step.submit({b.images, b.targets}, 1e-3);
  EXPECT_EQ(test::message_of([&] {
              step.submit({b.images, b.targets}, 1e-3);
            }),
            "train step: 2 steps are pending, take one first");
}

}  // namespace
}  // namespace vitral::train
