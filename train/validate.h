// Validation: what an objective measures, over a whole dataset.
#pragma once
#include <functional>

#include "data/loader.h"
#include "models/objective.h"
#include "processes/group.h"
#include "train/teacher.h"

namespace vitral::train {

struct Validation {
  std::vector<models::NamedValue> values;
  int signal = 0;
};

/// The objective's measures over the loader's epoch, from its beginning; activations are `dtype`. Targets are
/// the loader's, or `teacher`'s where one is given. Each process of the group measures every size()-th batch
/// (LoaderOptions::stride); all get the same bits, whatever their number. `stop`: the signal that asks this
/// process to stop, or 0; when it came to any of them, all stop with it, and no values.
Validation validate(const models::Objective& objective, data::Loader& loader, const Teacher* teacher,
                    Device device, DType dtype, const std::function<int()>& stop = {},
                    Group& group = alone());

}  // namespace vitral::train
