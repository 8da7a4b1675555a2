// A loss that compares all images of a batch is that of the whole batch, however it is cut.
#include <limits>

#include <gtest/gtest.h>

#include "nn/linear.h"
#include "tests/noise.h"
#include "tests/thread_group.h"
#include "train/step.h"

namespace vitral::train {
namespace {

constexpr std::int64_t width = 6, half = 3;

// Two projections of the targets, each of which is to find the other one of its image: a CLIP without towers.
class Pairs : public models::Objective {
 public:
  struct Model : nn::Module {
    explicit Model(Random random) : layer(child<nn::Linear>("layer", width, 2 * half, random)) {}
    nn::Linear& layer;
    nn::Parameter& scale = parameter("scale", Tensor::full({1}, 2));
  };

  nn::Module& model() override { return model_; }
  std::map<std::string, std::string> metadata() const override { return {}; }
  std::map<std::string, std::string> metadata_in(const std::map<std::string, std::string>&,
                                                 const std::string&) const override {
    return {};
  }
  std::map<std::string, std::string> metadata_of(const std::vector<std::pair<std::string, Tensor>>&,
                                                 const std::string&,
                                                 std::vector<std::string>&) const override {
    return {};
  }
  int image_size() const override { return 4; }
  int target_width() const override { return width; }
  std::int64_t feature_width() const override { return 2 * half; }
  Variable features(const data::Inputs& inputs, DType, const nn::ForwardContext& context) const override {
    largest_piece = std::max(largest_piece, inputs.targets.dim(0));
    samples.push_back(context.first_sample);
    return model_.layer(Variable(inputs.targets));
  }
  std::vector<models::Term> terms_of(const Variable& features, const Tensor& present,
                                     std::int64_t images) const override {
    const Variable logits = mul(matmul(l2_normalize(slice(features, 1, 0, half)),
                                       l2_normalize(slice(features, 1, half, 2 * half)), true),
                                model_.scale);
    const std::int64_t n = features.dim(0);
    Tensor eye = Tensor::zeros({n, n}), absent = Tensor::zeros({1, n}), counts = Tensor::full({n}, 1);
    for (std::int64_t i = 0; i < n; ++i) {
      const bool here = !present.defined() || present.data<float>()[i] == 1;
      eye.data<float>()[i * n + i] = here ? 1 : 0;
      absent.data<float>()[i] = here ? 0 : -1e4F;
      counts.data<float>()[i] = here ? 1 : 0;
    }
    const Variable all = logsumexp(add(logits, Variable(absent)));
    return {{"pairs", 1,
             affine(sub(sum(mul(all, Variable(counts))), sum(mul(logits, Variable(eye)))),
                    1 / static_cast<double>(images))}};
  }
  std::vector<models::Term> terms(const data::Inputs& inputs, DType dtype,
                                  const nn::ForwardContext& context) const override {
    return terms_of(features(inputs, dtype, context), {}, inputs.targets.dim(0));
  }
  std::vector<std::string> measures() const override { return {"loss"}; }
  models::Measured measured(const data::Inputs&, DType) const override { return {}; }

  mutable std::int64_t largest_piece = 0;
  mutable std::vector<std::int64_t> samples;

 private:
  Model model_{Random(1)};
};

data::Inputs batch_of(std::int64_t images, std::uint64_t seed) {
  return {.images = Tensor::zeros({images, 4, 4, 3}, DType::uint8),
          .targets = test::noise({images, width}, seed)};
}

struct Trained {
  std::vector<double> weights, losses, norms;
};

Trained weights_of(Pairs& objective, Trained out) {
  for (const auto& p : objective.model().parameters())
    for (const double v : p.value->value().to_vector()) out.weights.push_back(v);
  return out;
}

void expect_near(const Trained& a, const Trained& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (std::size_t i = 0; i < a.weights.size(); ++i) EXPECT_NEAR(a.weights[i], b.weights[i], 2e-6) << i;
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    EXPECT_NEAR(a.losses[i], b.losses[i], 1e-6);
    EXPECT_NEAR(a.norms[i], b.norms[i], 1e-5);
  }
}

constexpr std::int64_t images = 16;
constexpr int steps = 4;

TrainConfig config_of(int accumulate) {
  TrainConfig config;
  config.batch_size = images;
  config.accumulate = accumulate;
  return config;
}

void note(Trained& out, const StepResult& r) {
  EXPECT_FALSE(r.skipped);
  out.losses.push_back(r.loss);
  out.norms.push_back(r.gradient_norm);
}

Trained trained_alone(int accumulate, std::int64_t largest_piece) {
  Pairs objective;
  const TrainConfig config = config_of(accumulate);
  TrainStep step(objective, config, cpu);
  Trained out;
  for (int i = 0; i < steps; ++i)
    note(out, step.run(batch_of(images, static_cast<std::uint64_t>(i)), 0.01, i));
  EXPECT_EQ(objective.largest_piece, largest_piece);
  return weights_of(objective, out);
}

TEST(ComparedBatch, TheLossIsThatOfTheWholeBatchInAnyNumberOfMicroBatches) {
  const Trained whole = trained_alone(1, 16);
  expect_near(trained_alone(2, 8), whole);
  expect_near(trained_alone(16, 1), whole);
}

// The rows of a batch that process `rank` of `processes` has, where those in `missing` did not decode.
std::pair<data::Inputs, StepPart> part_of(const data::Inputs& all, std::int64_t slices, int rank,
                                          int processes, const std::vector<std::int64_t>& missing) {
  StepPart part{.planned = images, .slice_ends = {}};
  std::vector<float> rows;
  const std::int64_t own = slices / processes, each = images / slices;
  for (std::int64_t k = own * rank; k < own * (rank + 1); ++k) {
    for (std::int64_t i = k * each; i < (k + 1) * each; ++i) {
      if (std::find(missing.begin(), missing.end(), i) != missing.end()) {
        ++part.skipped;
        continue;
      }
      const float* row = all.targets.data<float>() + i * width;
      rows.insert(rows.end(), row, row + width);
    }
    part.slice_ends.push_back(static_cast<std::int64_t>(rows.size()) / width);
  }
  const auto n = static_cast<std::int64_t>(rows.size()) / width;
  return {{.images = Tensor::zeros({n, 4, 4, 3}, DType::uint8), .targets = Tensor::from(rows, {n, width})},
          part};
}

Trained trained_together(int processes, std::int64_t slices, int accumulate,
                         const std::vector<std::int64_t>& missing) {
  Trained first;
  test::Threads(processes).run([&](Group& group) {
    Pairs objective;
    TrainConfig config = config_of(accumulate);
    config.slices = slices;
    TrainStep step(objective, config, cpu, group);
    Trained out;
    for (int i = 0; i < steps; ++i) {
      const auto [inputs, part] =
          part_of(batch_of(images, static_cast<std::uint64_t>(i)), slices, group.rank(), processes,
                  i == 1 ? missing : std::vector<std::int64_t>{});
      step.submit(inputs, part, 0.01, i);
      const StepResult r = step.take();
      EXPECT_EQ(r.images, i == 1 ? images - static_cast<std::int64_t>(missing.size()) : images);
      note(out, r);
    }
    out = weights_of(objective, out);
    if (group.is_first()) first = out;
  });
  return first;
}

TEST(ComparedBatch, SlicesGiveTheSameBitsOnAnyNumberOfProcesses) {
  const Trained whole = trained_alone(1, 16);
  const Trained alone = trained_together(1, 4, 1, {});
  expect_near(alone, whole);
  for (const int processes : {2, 4}) {
    const Trained shared = trained_together(processes, 4, 1, {});
    EXPECT_EQ(shared.weights, alone.weights) << processes;
    EXPECT_EQ(shared.losses, alone.losses) << processes;
  }
  expect_near(trained_together(2, 4, 8, {}), whole);
}

// Images that did not decode are in neither softmax, and the mean is over the others; a whole slice may be
// missing.
TEST(ComparedBatch, MissingImagesAreNotCompared) {
  const std::vector<std::int64_t> missing{2, 4, 5, 6, 7, 15};
  Trained without;
  {
    Pairs objective;
    const TrainConfig config = config_of(1);
    TrainStep step(objective, config, cpu);
    for (int i = 0; i < steps; ++i) {
      data::Inputs inputs = batch_of(images, static_cast<std::uint64_t>(i));
      if (i == 1) inputs = part_of(inputs, 1, 0, 1, missing).first;
      note(without, step.run(inputs, 0.01, i));
    }
    without = weights_of(objective, without);
  }
  const Trained alone = trained_together(1, 4, 1, missing);
  expect_near(alone, without);
  EXPECT_EQ(trained_together(4, 4, 1, missing).weights, alone.weights);
}

// Random numbers of a sample do not depend on how the batch is cut: both passes say where it stands.
TEST(ComparedBatch, BothPassesKnowTheirSamples) {
  Pairs objective;
  const TrainConfig config = config_of(4);
  TrainStep step(objective, config, cpu);
  step.run(batch_of(images, 0), 0.01, 0);
  EXPECT_EQ(objective.samples, (std::vector<std::int64_t>{0, 4, 8, 12, 0, 4, 8, 12}));
}

}  // namespace
}  // namespace vitral::train
