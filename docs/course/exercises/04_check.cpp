// Checks the exercise of lesson 4 against vitral's optimisers.
#include <cmath>

#include "docs/course/exercises/04_exercise.h"
#include "nn/nn.h"
#include "train/momentum.h"

using namespace vitral;
using Numbers = std::vector<double>;

namespace {

struct Weights : nn::Module {
  Weights() { to(DType::float64); }
  Random random{4};
  nn::Parameter& a = parameter("a", nn::normal({3, 4}, 1, random));
  nn::Parameter& b = parameter("b", nn::normal({5}, 1, random));
};

// Prints the verdict.
bool report(const char* exercise, bool right, const std::string& why) {
  fmt::print("{}: {}\n", exercise, right ? "right" : "wrong: " + why);
  return right;
}

bool check_lion() {
  Weights weights;
  train::Lion lion(weights, {.weight = 0.1});
  Numbers p = weights.a.value().to_vector(), m(12);
  Random random(5);
  for (int step = 1; step <= 20; ++step) {
    std::vector<Tensor> gradients{nn::normal({3, 4}, 1, random).cast(DType::float64), Tensor()};
    if (step == 1) gradients[0].data<double>()[7] = 0;  // sign(0)
    lion.lr().fill(0.01);
    lion.begin();
    lion.update({.gradients = gradients});
    lion_step(p.data(), m.data(), gradients[0].data<double>(), 12, 0.01, 0.1);
    const Numbers real = weights.a.value().to_vector();
    for (std::size_t i = 0; i < real.size(); ++i) {
      if (std::abs(p[i] - real[i]) < 1e-12) continue;
      const char* hint = std::abs(p[i] - real[i]) < 0.002 ? "is the decay there, and before the step?"
                         : step == 1 && i == 7            ? "the gradient here is 0: sign(0) is 0"
                         : step > 1                       ? "the sign is that of 0.9 m + 0.1 g with the old m"
                                                          : "p moves by lr against the sign";
      return report(
          "lion_step", false,
          fmt::format("step {}, p[{}]: expected {:.6f}, got {:.6f}; {}", step, i, real[i], p[i], hint));
    }
  }
  return report("lion_step", true, "");
}

bool check_clipping() {
  Weights weights;
  train::Sgd sgd(weights, {.weight = 0});
  for (const double max_norm : {0.5, 1.0, 100.0}) {
    Random random(6);
    const std::vector<Tensor> gradients{nn::normal({3, 4}, 1, random).cast(DType::float64),
                                        nn::normal({5}, 1, random).cast(DType::float64)};
    sgd.lr().fill(0.01);
    sgd.begin();
    sgd.update({.clip_norm = max_norm, .gradients = gradients});
    const double real = sgd.result().to_vector()[update_scale];
    const double factor = clip_factor({gradients[0].to_vector(), gradients[1].to_vector()}, max_norm);
    if (std::abs(factor - real) > 1e-12)
      return report("clip_factor", false,
                    fmt::format("max_norm {}: expected {:.9f}, got {:.9f}; {}", max_norm, real, factor,
                                max_norm > 50 ? "small gradients are not made larger"
                                              : "one norm of all gradients together, and 1e-6 added to it"));
  }
  if (clip_factor({{1, INFINITY}}, 1) != 0)
    return report("clip_factor", false, "a gradient is infinite: expected 0, the step does not count");
  return report("clip_factor", true, "");
}

bool check_steps() {
  for (const auto& [beta, steps] : {std::pair{0.9, 44}, {0.999, 4613}, {0.001, 1}}) {
    const int got = steps_until_unbiased(beta);
    if (got != steps)
      return report("steps_until_unbiased", false,
                    fmt::format("beta {}: expected {}, got {}; t counts from 1", beta, steps, got));
  }
  return report("steps_until_unbiased", true, "");
}

}  // namespace

int main() {
  const bool lion = check_lion(), clipping = check_clipping(), steps = check_steps();
  return lion && clipping && steps ? 0 : 1;
}
