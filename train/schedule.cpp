#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace vitral::train {
namespace {

using nlohmann::json;

void check_name(const json& state, const char* name) {
  if (!state.is_object() || !state.contains("name") || !state["name"].is_string())
    throw_error("scheduler state: has no name, the checkpoint is damaged");
  const auto found = state["name"].get<std::string>();
  if (found != name)
    throw_error<UsageError>(
        "scheduler state: the checkpoint was made with {}, the configuration says {}; resume with "
        "train.scheduler.name={}, or start a new run with init_from",
        found, name, found);
}

double number(const json& state, const char* key) {
  const auto it = state.find(key);
  if (it == state.end() || !it->is_number()) throw_error("scheduler state: {} is missing or no number", key);
  return it->get<double>();
}

class ReduceOnPlateau : public Schedule {
 public:
  ReduceOnPlateau(const SchedulerConfig& config, double lr) : config_(config), base_lr_(lr), lr_(lr) {}

  double lr(std::int64_t) const override { return lr_; }

  void on_validation(double loss) override {
    constexpr double smallest_change = 1e-8;
    // Not a number is no improvement, so that the comparison must be this way round.
    if (loss < best_ * (1.0 - config_.threshold)) {
      best_ = loss;
      bad_epochs_ = 0;
    } else {
      ++bad_epochs_;
    }
    if (bad_epochs_ <= config_.patience) return;
    bad_epochs_ = 0;
    const double reduced = std::max(lr_ * config_.factor, config_.min_lr);
    if (lr_ - reduced > smallest_change) lr_ = reduced;
  }

  json state() const override {
    return {{"name", "reduce_on_plateau"},
            {"base_lr", base_lr_},
            {"lr", lr_},
            {"best", std::isfinite(best_) ? json(best_) : json(nullptr)},  // JSON has no infinity
            {"bad_epochs", bad_epochs_}};
  }

  void load_state(const json& state) override {
    check_name(state, "reduce_on_plateau");
    const double base_lr = number(state, "base_lr");
    const double lr = number(state, "lr");
    const double bad_epochs = number(state, "bad_epochs");
    const bool no_best = state.contains("best") && state["best"].is_null();
    const double best = no_best ? std::numeric_limits<double>::infinity() : number(state, "best");
    if (!(lr > 0) || bad_epochs < 0 || bad_epochs > config_limit || bad_epochs != std::floor(bad_epochs))
      throw_error("scheduler state: lr {} or bad_epochs {} is not possible, the checkpoint is damaged", lr,
                  bad_epochs);
    best_ = best;
    bad_epochs_ = static_cast<std::int64_t>(bad_epochs);
    if (base_lr == base_lr_) lr_ = lr;
  }

 private:
  static constexpr double config_limit = 1 << 30;  // the largest patience

  SchedulerConfig config_;
  double base_lr_;
  double lr_;
  double best_ = std::numeric_limits<double>::infinity();
  std::int64_t bad_epochs_ = 0;
};

/// A schedule that is a function of the step alone: nothing to remember.
class StepSchedule : public Schedule {
 public:
  StepSchedule(const SchedulerConfig& config, double lr, std::int64_t total_steps)
      : config_(config), lr_(lr), total_steps_(total_steps) {}

  json state() const override { return {{"name", config_.name}}; }
  void load_state(const json& state) override { check_name(state, config_.name.c_str()); }

 protected:
  double warm_up(std::int64_t step) const {
    return lr_ * static_cast<double>(step + 1) / static_cast<double>(config_.warmup_steps);
  }

  SchedulerConfig config_;
  double lr_;
  std::int64_t total_steps_;
};

class Constant : public StepSchedule {
 public:
  using StepSchedule::StepSchedule;
  double lr(std::int64_t step) const override { return step < config_.warmup_steps ? warm_up(step) : lr_; }
};

class Cosine : public StepSchedule {
 public:
  using StepSchedule::StepSchedule;
  double lr(std::int64_t step) const override {
    if (step < config_.warmup_steps) return warm_up(step);
    const auto done = static_cast<double>(std::min(step, total_steps_) - config_.warmup_steps);
    const double part = done / static_cast<double>(total_steps_ - config_.warmup_steps);
    return config_.min_lr + (lr_ - config_.min_lr) * (1 + std::cos(std::numbers::pi * part)) / 2;
  }
};

class OneCycle : public StepSchedule {
 public:
  using StepSchedule::StepSchedule;
  double lr(std::int64_t step) const override {
    const double first = lr_ / config_.start_factor;
    const auto t = static_cast<double>(std::min(step, total_steps_ - 1));
    const double peak = config_.warmup_fraction * static_cast<double>(total_steps_) - 1;
    const auto end = static_cast<double>(total_steps_ - 1);
    if (t <= peak) return anneal(first, lr_, t, 0, peak);
    return anneal(lr_, first / config_.end_factor, t, peak, end);
  }

 private:
  static double anneal(double from, double to, double t, double begin, double end) {
    const double part = end > begin ? (t - begin) / (end - begin) : 1;
    return to + (from - to) / 2 * (std::cos(std::numbers::pi * part) + 1);
  }
};

}  // namespace

std::unique_ptr<Schedule> make_schedule(const SchedulerConfig& config, double lr, std::int64_t total_steps) {
  VITRAL_CHECK(total_steps >= 1, "scheduler {}: a run needs at least 1 step, not {}", config.name,
               total_steps);
  if (config.name == "reduce_on_plateau") return std::make_unique<ReduceOnPlateau>(config, lr);
  if (config.name == "one_cycle") return std::make_unique<OneCycle>(config, lr, total_steps);
  VITRAL_CHECK(config.warmup_steps < total_steps || config.warmup_steps == 0,
               "train.scheduler.warmup_steps: {} must be below the {} steps of the run", config.warmup_steps,
               total_steps);
  if (config.name == "cosine") return std::make_unique<Cosine>(config, lr, total_steps);
  VITRAL_CHECK(config.name == "constant",
               "train.scheduler.name: {} is unknown, choose reduce_on_plateau, cosine, one_cycle or constant",
               config.name);
  return std::make_unique<Constant>(config, lr, total_steps);
}

}  // namespace vitral::train
