// What vitral train --profile prints: a table of operations, or the same as JSON.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "tensor/profile.h"
#include "train/trainer.h"

namespace vitral::cli {

/// Of the training steps of a run: the profile's whole time is that of the operations, of waiting for data,
/// and what lies outside of both. Operations by time; below each, indented, the kernels that it called, whose
/// time it contains.
void print_table(const Profile& profile, const train::RunSummary& run);
nlohmann::ordered_json to_json(const Profile& profile, const train::RunSummary& run);

}  // namespace vitral::cli
