// What is trained is an objective: a model that is no student, terms of a loss, and what validation reports.
#include "models/objective.h"

#include <gtest/gtest.h>

#include "models/student/distillation.h"
#include "tests/cli/small_run.h"
#include "train/step.h"

namespace vitral::train {
namespace {

using models::Term;

// Learns one vector for all images: the mean of the targets, drawn towards zero.
class MeanTarget : public models::Objective {
 public:
  struct Vector : nn::Module {
    nn::Parameter& vector = parameter("vector", Tensor::zeros({test::small_width}));
  };

  Vector& model() override { return vector_; }
  std::map<std::string, std::string> metadata() const override { return {{"model.kind", "mean"}}; }
  std::map<std::string, std::string> metadata_in(const std::map<std::string, std::string>& file,
                                                 const std::string&) const override {
    return file;
  }
  std::map<std::string, std::string> metadata_of(const std::vector<std::pair<std::string, Tensor>>&,
                                                 const std::string&,
                                                 std::vector<std::string>&) const override {
    return metadata();
  }
  int image_size() const override { return test::small_size; }
  int target_width() const override { return test::small_width; }
  std::vector<Term> terms(const data::Inputs& inputs, DType, const nn::ForwardContext& c) const override {
    contexts.push_back(c);
    contexts.back().step = c.step.clone();
    return {{"fit", 1, mean(square(sub(Variable(inputs.targets), vector_.vector)))},
            {"size", 0.5, mean(square(vector_.vector))}};
  }
  std::vector<std::string> measures() const override { return {"loss"}; }
  models::Measured measured(const data::Inputs& inputs, DType) const override {
    const NoGrad no_grad;
    return {{mean(square(sub(Variable(inputs.targets), vector_.vector))).value()},
            [images = static_cast<double>(inputs.targets.dim(0))](std::span<const double> mean) {
              return std::vector{images * mean[0]};
            }};
  }

  mutable std::vector<nn::ForwardContext> contexts;

 private:
  Vector vector_;
};

data::Inputs batch(std::int64_t size, float value) {
  return {Tensor::zeros({size, 4, 4, 3}, DType::uint8),
          Tensor::full({size, test::small_width}, value, DType::float32)};
}

TEST(Objective, TrainsAnyModel) {
  MeanTarget objective;
  TrainConfig config;
  config.batch_size = 8;
  config.accumulate = 2;
  config.seed = 3;
  config.optimizer.weight_decay = 0;
  TrainStep step(objective, config, cpu);
  StepResult r;
  for (int i = 0; i < 400; ++i) r = step.run(batch(8, 3), 0.02, i);
  // The minimum of (3 - v)^2 + v^2 / 2.
  for (const double v : objective.model().vector.value().to_vector()) EXPECT_NEAR(v, 2, 0.01);
  ASSERT_EQ(r.terms.size(), 2U);
  EXPECT_EQ(r.terms[0].name, "fit");
  EXPECT_EQ(r.terms[1].name, "size");
  EXPECT_NEAR(r.terms[0].value, 1, 0.02);
  EXPECT_NEAR(r.terms[1].value, 4, 0.04);
  EXPECT_NEAR(r.loss, r.terms[0].value + 0.5 * r.terms[1].value, 1e-5);
}

TEST(Objective, KnowsWhereItsMicroBatchStands) {
  MeanTarget objective;
  TrainConfig config;
  config.batch_size = 8;
  config.accumulate = 2;
  config.seed = 3;
  TrainStep step(objective, config, cpu);
  step.run(batch(8, 1), 0.1, 17);
  ASSERT_EQ(objective.contexts.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const nn::ForwardContext& c = objective.contexts[i];
    EXPECT_TRUE(c.training);
    EXPECT_EQ(c.seed, 3U);
    EXPECT_EQ(c.step.item(), 17);
    EXPECT_EQ(c.first_sample, static_cast<std::int64_t>(4 * i));
  }
}

TEST(Objective, MeansAreOverAllImages) {
  models::Means means({"loss", "cosine"});
  means.add({8, 2}, 4);
  means.add({1, 0.5}, 1);
  EXPECT_EQ(means.images(), 5);
  EXPECT_EQ(means.result()[0].value, 9 / 5.0);
  EXPECT_EQ(models::describe(means.result()), "loss 1.8000, cosine 0.5000");
}

TEST(Distillation, MeasuresByHand) {
  // Unit vectors (1,0) and (0.6,0.8), targets (1,0) and (0.8,0.6).
  const Tensor y = Tensor::from(std::vector<float>{2, 0, 3, 4}, {2, 2}).cast(DType::float64),
               t = Tensor::from(std::vector<float>{5, 0, 4, 3}, {2, 2}).cast(DType::float64);
  const models::DistillationLoss loss({.loss_norm = 10});
  const auto sums = loss.measure({.embedding = Variable(y), .probs = {}, .patches = {}}, {{}, t});
  ASSERT_EQ(sums.size(), loss.measures().size());
  EXPECT_NEAR(sums[0], 2 * 10 * (0.2 + 0.2) / 4, 1e-12);
  EXPECT_NEAR(sums[1], 1 + 24 / 25.0, 1e-12);
}

// What a run validates with is what it trains for.
TEST(Distillation, TrainsForWhatItMeasures) {
  const models::Distillation objective(test::small_student(), 1);
  const data::Inputs inputs{test::noise({6, test::small_size, test::small_size, 3}, 1, DType::uint8),
                            test::noise({6, test::small_width}, 2, DType::float32)};
  const auto terms = objective.terms(inputs, DType::float32, {});
  ASSERT_EQ(terms.size(), 1U);
  EXPECT_EQ(terms[0].name, "l1");
  EXPECT_NEAR(models::loss_of(terms).item(), objective.measure(inputs, DType::float32)[0] / 6, 1e-5);
}

}  // namespace
}  // namespace vitral::train
