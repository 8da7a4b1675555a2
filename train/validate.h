// Validation: what an objective measures, over a whole dataset.
#pragma once
#include <functional>
#include <optional>

#include "data/loader.h"
#include "models/objective.h"
#include "train/teacher.h"

namespace vitral::train {

/// The objective's measures over the loader's epoch, from its beginning; activations are `dtype`. Targets are
/// the loader's, or `teacher`'s where one is given. Nothing when `stop` said so in between.
std::optional<std::vector<models::NamedValue>> validate(const models::Objective& objective,
                                                        data::Loader& loader, const Teacher* teacher,
                                                        Device device, DType dtype,
                                                        const std::function<bool()>& stop = {});

}  // namespace vitral::train
