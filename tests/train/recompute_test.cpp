// train.recompute: whether what backward could compute again is kept does not change a bit.
#include <gtest/gtest.h>

#include "models/clip/contrastive.h"
#include "tensor/ops/gemm.h"
#include "tests/thread_group.h"
#include "tests/train/train_steps.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

const std::vector<std::string> choices{"always", "never", "auto"};

class RecomputeOn : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(GetParam()); }
};

// `trained(choice)` for each of them; state, with its weights, losses and norms, must be the same bits.
template <class Train>
void expect_same_bits(const Train& trained) {
  const Trained always = trained(choices[0]);
  for (std::size_t i = 1; i < choices.size(); ++i) {
    SCOPED_TRACE(choices[i]);
    const Trained other = trained(choices[i]);
    EXPECT_EQ(always.losses, other.losses);
    EXPECT_EQ(always.norms, other.norms);
    for (const auto of : {&Trained::weights, &Trained::state}) {
      ASSERT_EQ((always.*of).size(), (other.*of).size());
      for (std::size_t k = 0; k < (always.*of).size(); ++k)
        EXPECT_EQ((always.*of)[k].second.to_vector(), (other.*of)[k].second.to_vector())
            << (always.*of)[k].first;
    }
  }
}

// With a smaller batch, and with and without graphs.
TEST_P(RecomputeOn, AStudentGetsTheSameBits) {
  models::StudentConfig gated = test::small_student(2, "full");
  gated.mlp = "swiglu";
  gated.norm = "rms_norm";
  models::StudentConfig exact = test::small_student(2);
  exact.mlp = "gelu";
  for (const models::StudentConfig& model : {test::small_student(2), gated, exact})
    for (const char* precision : {"fp32", "bf16"})
      for (const int accumulate : {1, 2}) {
        if (accumulate > 1 && model.mlp != "quick_gelu") continue;
        SCOPED_TRACE(fmt::format("{}, {}, {} micro-batches", model.mlp, precision, accumulate));
        TrainConfig config;
        config.batch_size = 8;
        config.accumulate = accumulate;
        config.precision = precision;
        config.ema = 0.9;
        expect_same_bits([&](const std::string& choice) {
          config.recompute = choice;
          return train_steps(config, model, GetParam(), 6);
        });
      }
}

// A batch so large that the CPU cuts the MLP's products.
TEST_P(RecomputeOn, ManyRowsGetTheSameBits) {
  if (!GetParam().is_cpu()) GTEST_SKIP() << "a GPU does not cut them";
  const Batches b(40);  // of 64 tokens
  for (const char* precision : {"fp32", "bf16"})
    expect_same_bits([&](const std::string& choice) {
      TrainConfig config;
      config.batch_size = 40;
      config.precision = precision;
      config.recompute = choice;
      models::Distillation objective(test::small_student(1));
      TrainStep step(objective, config, GetParam());
      Trained out;
      for (int i = 0; i < 2; ++i) out.losses.push_back(step.run({b.images, b.targets}, 1e-3).loss);
      out.weights = step.weights();
      return out;
    });
}

TEST_P(RecomputeOn, AClipGetsTheSameBits) {
  models::ClipConfig clip;
  clip.image_size = 8;
  clip.patch_size = 4;
  clip.width = 12;
  clip.vision = {.width = 16, .layers = 2, .heads = 2};
  static_cast<models::ClipTowerShape&>(clip.text) = {.width = 12, .layers = 2, .heads = 2};
  clip.text.context = 9;
  clip.text.vocabulary_size = 40;
  const Tensor images = test::noise({8, 8, 8, 3}, 1, DType::uint8);
  Tensor tokens = Tensor::zeros({8, 9}, DType::int64);
  for (std::int64_t i = 0; i < tokens.numel(); ++i)
    tokens.data<std::int64_t>()[i] = i % 9 == 8 ? 39 : (i * 7) % 39;
  for (const char* precision : {"fp32", "bf16"})
    for (const int accumulate : {1, 4})
      for (const std::vector<std::string>& freeze : {std::vector<std::string>{}, {"image"}}) {
        SCOPED_TRACE(fmt::format("{}, {} micro-batches", precision, accumulate));
        expect_same_bits([&](const std::string& choice) {
          TrainConfig config;
          config.batch_size = 8;
          config.accumulate = accumulate;
          config.precision = precision;
          config.recompute = choice;
          models::Contrastive objective(clip, nullptr, 0, freeze);
          TrainStep step(objective, config, GetParam());
          Trained out;
          data::Inputs inputs;
          inputs.images = images;
          inputs.tokens = tokens;
          for (int i = 0; i < 5; ++i) out.losses.push_back(step.run(inputs, 1e-3).loss);
          for (const auto& [name, t] : step.weights()) out.weights.emplace_back(name, t.to(cpu).clone());
          return out;
        });
      }
}

TEST_P(RecomputeOn, SlicesGetTheSameBits) {
  const Batches b(8);
  expect_same_bits([&](const std::string& choice) {
    TrainConfig config;
    config.batch_size = 8;
    config.slices = 2;
    config.recompute = choice;
    models::Distillation objective(test::small_student(2));
    TrainStep step(objective, config, GetParam());
    Trained out;
    for (int i = 0; i < 5; ++i) {
      step.submit({b.images, b.targets}, {.planned = 8, .slice_ends = {4, 8}}, 1e-3, i);
      out.losses.push_back(step.take().loss);
    }
    for (const auto& [name, t] : step.weights()) out.weights.emplace_back(name, t.to(cpu).clone());
    return out;
  });
}

// Whole runs: order, checkpoints and all.
TEST_P(RecomputeOn, RunsLeaveTheSameFolder) {
  const test::SmallRun small(28, true);
  for (const std::string& choice : choices) {
    std::FILE* out = std::fopen((small / (choice + ".log")).c_str(), "w");
    train(
        load_config(small.config(), {"train.output=" + small.output(choice), "train.recompute=" + choice,
                                     std::string("train.device=") + (GetParam().is_cpu() ? "cpu" : "cuda")}),
        "", out);
    std::fclose(out);
    if (choice != "always") test::expect_same_run(small.output("always"), small.output(choice));
    const bool told = test::bytes_of_file(small / (choice + ".log")).find("train.recompute auto: what") !=
                      std::string::npos;
    EXPECT_EQ(told, choice == "auto" && !GetParam().is_cpu()) << choice;
  }
}

std::string device_name(const testing::TestParamInfo<Device>& info) {
  return info.param.is_cpu() ? "OnCpu" : "OnCuda";
}
INSTANTIATE_TEST_SUITE_P(Devices, RecomputeOn, testing::Values(cpu, test::gpu), device_name);

// An objective that takes all memory when results are kept, which nothing could have told before.
class Hungry : public models::Distillation {
 public:
  using Distillation::Distillation;
  std::vector<models::Term> terms(const data::Inputs& inputs, DType dtype,
                                  const nn::ForwardContext& context) const override {
    auto out = Distillation::terms(inputs, dtype, context);
    if (results_are_kept() && hungry) {
      ++times;
      const Tensor all({static_cast<std::int64_t>(device_memory(test::gpu).total)}, DType::uint8, test::gpu);
    }
    return out;
  }
  bool hungry = true;
  mutable int times = 0;
};

class RecomputeOnCuda : public testing::Test {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(test::gpu); }
};

TEST_F(RecomputeOnCuda, AutoFallsBackWhileItsGraphIsRecorded) {
  const Batches b(8);
  for (const bool slices : {false, true}) {
    const auto run = [&](bool hungry, int& times) {
      TrainConfig config;
      config.batch_size = 8;
      if (slices) config.slices = 2;
      Hungry objective(test::small_student(2));
      objective.hungry = hungry;
      TrainStep step(objective, config, test::gpu);
      std::vector<double> losses;
      std::vector<std::string> notes;
      for (int i = 0; i < 6; ++i) {
        if (slices)
          step.submit({b.images, b.targets}, {.planned = 8, .slice_ends = {4, 8}}, 1e-3, i);
        else
          step.submit({b.images, b.targets}, 1e-3, i);
        const StepResult r = step.take();
        losses.push_back(r.loss);
        if (!r.note.empty()) notes.push_back(r.note);
      }
      EXPECT_EQ(notes.size(), 1U);
      EXPECT_EQ(notes.at(0).substr(0, 43), hungry ? "train.recompute auto: memory is short; from"
                                                  : "train.recompute auto: what backward needs i");
      times = objective.times;
      return losses;
    };
    int refused = 0, kept = 0;
    EXPECT_EQ(run(true, refused), run(false, kept));
    EXPECT_EQ(refused, 1) << "it was tried again and again";
  }
}

TEST_F(RecomputeOnCuda, OutOfMemorySaysWhatNeedsLess) {
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "a GPU has other programs";
  const test::SmallRun small;
  release_cached(test::gpu);
  const auto room = static_cast<std::int64_t>(device_memory(test::gpu).free);
  const MemoryPool pool(test::gpu);  // rounds less
  Tensor others;
  {
    const MemoryPool::Use use(pool);
    others = Tensor({room - (3 << 20)}, DType::uint8, test::gpu);
  }
  for (const std::string& choice : choices) {
    std::FILE* out = std::fopen((small / "log").c_str(), "w");
    const std::string message = test::message_of([&] {
      train(load_config(small.config(), {"train.output=" + small.output(choice), "train.device=cuda",
                                         "train.recompute=" + choice}),
            "", out);
    });
    std::fclose(out);
    EXPECT_TRUE(message.starts_with("cuda:0: out of memory asking for ")) << message;
    const std::string advice = "use a smaller batch_size";
    EXPECT_TRUE(
        message.ends_with(choice == "never" ? advice + "; train.recompute=always needs less" : advice))
        << choice << ": " << message;
  }
}

TEST_F(RecomputeOnCuda, NeverDoesNotFallBack) {
  const Batches b(8);
  TrainConfig config;
  config.batch_size = 8;
  config.recompute = "never";
  Hungry objective(test::small_student(2));
  TrainStep step(objective, config, test::gpu);
  const std::string message = test::message_of([&] { step.run({b.images, b.targets}, 1e-3); });
  EXPECT_TRUE(message.starts_with("cuda:0: out of memory asking for")) << message;
}

}  // namespace
}  // namespace vitral::train
