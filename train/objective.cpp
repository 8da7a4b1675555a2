#include "train/objective.h"

#include "models/student/distillation.h"

namespace vitral::train {

std::unique_ptr<models::Objective> make_objective(const Config& config) {
  return std::make_unique<models::Distillation>(
      config.model, static_cast<std::uint64_t>(config.train.seed),
      models::DistillationOptions{.loss_norm = config.train.loss_norm});
}

}  // namespace vitral::train
