// What a run begins with, from its configuration: device, datasets, loaders.
#pragma once
#include <string>
#include <vector>

#include "data/loader.h"
#include "models/objective.h"
#include "processes/group.h"
#include "train/config.h"

namespace vitral::train {

/// train.device. UsageError where it is not there, and where the CPU is asked for a precision that it does
/// not have. `note` says in one line why `auto` took the CPU, else it stays empty.
Device choose_device(const TrainConfig& config, std::string& note, const Group& group = alone());

/// Files with the targets that the objective wants, or any where a teacher is in the loop; else UsageError.
data::Dataset open_training_data(const std::vector<std::string>& paths, const Config& config,
                                 const models::Objective& objective);

/// What this one of several processes loads.
data::LoaderOptions loader_options(const Config& config, const models::Objective& objective, Device device,
                                   bool training, const Group& group = alone());

}  // namespace vitral::train
