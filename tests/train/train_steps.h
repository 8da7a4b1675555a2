// A few steps of a small student on batches of noise, on any device.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "models/student/distillation.h"
#include "tests/cli/small_run.h"
#include "train/step.h"

namespace vitral::train {

struct Batches {
  explicit Batches(std::int64_t size, std::int64_t side = test::small_size)
      : images(test::noise({size, side, side, 3}, 1, DType::uint8)),
        targets(test::noise({size, test::small_width}, 2, DType::float32)) {}
  Tensor images, targets;
};

inline double difference(const data::NamedTensors& a, const data::NamedTensors& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].first.find("scale") != std::string::npos) continue;  // rounding noise, see adamw_test.cpp
    const auto x = a[i].second.to_vector(), y = b[i].second.to_vector();
    for (std::size_t k = 0; k < x.size(); ++k) largest = std::max(largest, std::abs(x[k] - y[k]));
  }
  return largest;
}

struct Trained {
  std::vector<double> losses, norms;
  data::NamedTensors weights, state;
};

// Steps of whole batches and, in the fourth, a smaller one, with as many in flight as may be.
inline Trained train_steps(const TrainConfig& config, const models::StudentConfig& model, Device device,
                           int steps) {
  const Batches whole(8), part(5);
  models::Distillation objective(model);
  TrainStep step(objective, config, device);
  Trained out;
  const auto take = [&] {
    const StepResult r = step.take();
    EXPECT_FALSE(r.skipped);
    out.losses.push_back(r.loss);
    out.norms.push_back(r.gradient_norm);
  };
  for (int i = 0; i < steps; ++i) {
    if (step.pending() == TrainStep::max_pending) take();
    const Batches& b = i == 3 ? part : whole;
    step.submit({b.images, b.targets}, 1e-3 / (1 + i));
  }
  while (step.pending() > 0) take();
  for (const auto& [name, t] : step.weights()) out.weights.emplace_back(name, t.to(cpu).clone());
  for (const auto& [name, t] : step.state()) out.state.emplace_back(name, t.to(cpu).clone());
  return out;
}

}  // namespace vitral::train
