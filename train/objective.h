// What a configuration trains.
#pragma once
#include <memory>
#include <string>

#include "models/objective.h"
#include "train/config.h"

namespace vitral::train {

/// The model with fresh weights, on the CPU, and what it is trained for: the one place in train/ that knows
/// which models there are.
/// UsageError: the loss reads what neither the configuration nor the training data have.
std::unique_ptr<models::Objective> make_objective(const Config& config);

}  // namespace vitral::train
