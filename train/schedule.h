// Learning rates over a run. Steps are optimiser steps and count from 0: lr(0) is the rate of the first one.
//
//   reduce_on_plateau   lr *= factor (not below min_lr) once more than `patience` validations in a row
//                       brought no loss below best * (1 - threshold); as ReduceLROnPlateau of
//                       torch.optim.lr_scheduler (mode min, relative threshold, cooldown 0, changes of at
//                       most 1e-8 left out)
//   cosine              t < w:  lr * (t + 1) / w           w = warmup_steps, T = total steps
//                       else:   min_lr + (lr - min_lr) * (1 + cos(pi * (t - w) / (T - w))) / 2
//   one_cycle           as torch.optim.lr_scheduler.OneCycleLR (anneal cos, momentum left alone): with
//                       p = warmup_fraction * T - 1, a cosine from lr / start_factor at step 0 up to lr at p,
//                       and one down to lr / start_factor / end_factor at T - 1
//   constant            t < w:  lr * (t + 1) / w;  else lr
//
// Past the last step cosine and one_cycle stay at their end value.
#pragma once
#include <cstdint>
#include <memory>

#include <nlohmann/json_fwd.hpp>

#include "train/config.h"

namespace vitral::train {

class Schedule {
 public:
  virtual ~Schedule() = default;

  virtual double lr(std::int64_t step) const = 0;

  /// Once an epoch, with the validation loss, or with the epoch's mean training loss where there is no
  /// validation set. Only reduce_on_plateau listens.
  virtual void on_validation(double /*loss*/) {}

  /// What an exact resume needs, as a JSON object. load_state throws Error where it is another schedule's or
  /// damaged. The state does not hold what the configuration says: a resume with other numbers uses those.
  /// For reduce_on_plateau that means: a changed optimizer.lr starts over from the new lr.
  virtual nlohmann::json state() const = 0;
  virtual void load_state(const nlohmann::json& state) = 0;
};

/// lr is optimizer.lr; total_steps the optimiser steps of the whole run, at least 1. Throws UsageError where
/// the warm-up is not shorter than the run.
std::unique_ptr<Schedule> make_schedule(const SchedulerConfig& config, double lr, std::int64_t total_steps);

}  // namespace vitral::train
