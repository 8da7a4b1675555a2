// What a run begins with, from its configuration: device, datasets, loaders.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "models/objective.h"
#include "processes/group.h"
#include "train/config.h"
#include "train/product_file.h"

namespace vitral::train {

/// train.device. UsageError where it is not there, and where the CPU is asked for a precision that it does
/// not have. `note` says in one line why `auto` took the CPU, else it stays empty.
Device choose_device(const TrainConfig& config, std::string& note, const Group& group = alone());

/// train.products for this process; null where it is not set, and on the CPU. Several processes measure
/// nothing, and what they have is what the first one reads. `notes` gets what the user should hear. Error: a
/// damaged file, or one that cannot be written.
std::shared_ptr<ProductFile> open_products(const TrainConfig& config, Device device, Group& group,
                                           std::vector<std::string>& notes);

/// Files with the targets that the objective wants, or any where a teacher is in the loop; else UsageError.
data::Dataset open_training_data(const std::vector<std::string>& paths, const Config& config,
                                 const models::Objective& objective);

/// What this one of several processes loads.
data::LoaderOptions loader_options(const Config& config, const models::Objective& objective, Device device,
                                   bool training, const Group& group = alone());

}  // namespace vitral::train
