// Lesson 10: compares the exercise with vitral.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "docs/course/exercises/10_exercise.h"
#include "nn/nn.h"
#include "train/momentum.h"
#include "train/schedule.h"

using namespace vitral;

namespace {

int wrong = 0;

void say(const char* what, const std::string& problem) {
  fmt::print("{}: {}\n", what, problem.empty() ? "right" : "wrong: " + problem);
  if (!problem.empty()) ++wrong;
}

std::string problem_of_schedule() {
  for (const long steps : {10L, 200L}) {
    const train::SchedulerConfig config{
        .name = "one_cycle", .warmup_fraction = 0.3, .start_factor = 25, .end_factor = 100};
    const auto schedule = train::make_schedule(config, 2e-3, steps);
    for (long t = 0; t < steps; ++t) {
      const double expected = schedule->lr(t), got = one_cycle(t, steps, 2e-3, 0.3, 25, 100);
      if (std::abs(got - expected) <= 1e-12) continue;
      return fmt::format("step {} of {}: expected {:.4g}, got {:.4g}; {}", t, steps, expected, got,
                         t == 0 ? "it begins at lr / start_factor"
                         : static_cast<double>(t) <= 0.3 * static_cast<double>(steps) - 1
                             ? "this is on the way up"
                             : "this is on the way down, which begins at p");
    }
  }
  return "";
}

struct Two : nn::Module {
  nn::Parameter& a = parameter("a", Tensor::zeros({2, 2}, DType::float64));
  nn::Parameter& b = parameter("b", Tensor::zeros({3}, DType::float64));
};

// The factor that vitral's optimisers multiply these gradients with, and the norm that they see.
std::pair<double, double> clipped_by_vitral(const std::vector<std::vector<double>>& gradients,
                                            double max_norm) {
  Two module;
  train::Sgd sgd(module, {});
  const Variable a(Tensor::from(gradients[0], {2, 2})), b(Tensor::from(gradients[1], {3}));
  add(sum(mul(module.a, a)), sum(mul(module.b, b))).backward();
  sgd.begin();
  sgd.update({.clip_norm = max_norm});
  const std::vector<double> result = sgd.result().to_vector();
  return {result[update_scale], std::sqrt(result[update_squares])};
}

std::string problem_of_clipping() {
  const std::vector<std::vector<double>> gradients{{3, -1, 0.5, 2}, {-4, 0, 1}};
  for (const double max_norm : {100.0, 1.0}) {
    const auto [factor, norm] = clipped_by_vitral(gradients, max_norm);
    std::vector<std::vector<double>> got = gradients;
    const double returned = clip_by_global_norm(got, max_norm);
    if (!(std::abs(returned - norm) < 1e-12))
      return fmt::format("the norm: expected {:.6f}, got {:.6f}; of all gradients together, before clipping",
                         norm, returned);
    for (std::size_t i = 0; i < 2; ++i)
      for (std::size_t k = 0; k < gradients[i].size(); ++k) {
        const double expected = gradients[i][k] * factor;
        if (i < got.size() && k < got[i].size() && std::abs(got[i][k] - expected) < 1e-12) continue;
        return fmt::format(
            "max_norm {}: gradient {}, element {}: expected {:.6f}; {}", max_norm, i, k, expected,
            factor == 1 ? "the norm is below it, nothing changes" : "all are multiplied by one factor");
      }
  }
  return "";
}

}  // namespace

int main() {
  say("one_cycle", problem_of_schedule());
  say("clip_by_global_norm", problem_of_clipping());
  return wrong > 0 ? 1 : 0;
}
