#include "ablate/results.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/weights/weights.h"
#include "infer/show/run_record.h"

namespace vitral::ablate {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// NaN where the checkpoints were removed to make room.
double parameters_of(const Run& run) try {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : data::read_weights(run.folder(), data::TensorMemory::mapped).tensors)
    count += tensor.numel();
  return static_cast<double>(count);
} catch (const UsageError&) {
  return nan;
}

}  // namespace

Trained trained(const Run& run, const std::string& folder) {
  Trained out;
  if (!infer::is_run(folder)) return out;
  const auto train = infer::read_run(folder, std::numeric_limits<std::size_t>::max()).train;
  for (std::size_t i = 0; i < train.step.size(); ++i) {
    out.steps = static_cast<std::int64_t>(train.step[i]);
    const std::int64_t images = run.images_of(out.steps);
    out.seconds += static_cast<double>(images - out.images) / train.images_per_second[i];
    out.images = images;
  }
  return out;
}

const std::vector<Measure>& all_measures() {
  static const std::vector<Measure> measures{
      {.key = "pointing_game", .title = "pointing game", .where = "/pointing_game"},
      {.key = "mean_iou", .title = "mIoU", .where = "/segmentation/mean_iou"},
      {.key = "background_iou", .title = "mIoU with background", .where = ""},
      {.key = "cosine", .title = "cosine", .where = "/cosine", .decimals = 4},
      {.key = "loss", .title = "loss", .where = "/loss", .more_is_better = false},
      {.key = "seconds", .title = "seconds", .where = "", .more_is_better = false, .decimals = 1},
      {.key = "parameters",
       .title = "parameters",
       .where = "",
       .more_is_better = false,
       .decimals = 0,
       .varies = false},
  };
  return measures;
}

Outcome outcome_of_done(const Run& run) {
  const nlohmann::json evaluation = read_evaluation(run);
  Outcome out{.state = State::done, .error = {}, .values = {}};
  for (const Measure& m : all_measures()) {
    double value = nan;
    if (m.key == "seconds") {
      value = trained(run, run.folder()).seconds;
    } else if (m.key == "background_iou") {
      for (const std::string& b : run.backgrounds)
        if (const double iou = evaluation["backgrounds"].value(b, nan); !(value >= iou)) value = iou;
    } else if (m.key == "parameters") {
      value = parameters_of(run);
    } else {
      const nlohmann::json::json_pointer where(m.where);
      if (evaluation.contains(where) && evaluation[where].is_number()) value = evaluation[where];
    }
    out.values.push_back(value);
  }
  return out;
}

std::vector<std::size_t> Results::measures() const {
  std::vector<std::size_t> out;
  for (std::size_t m = 0; m < all_measures().size(); ++m)
    if (std::any_of(outcomes.begin(), outcomes.end(),
                    [m](const Outcome& o) { return !o.values.empty() && std::isfinite(o.values[m]); }))
      out.push_back(m);
  return out;
}

Summary Results::summary(std::size_t variant, std::size_t measure) const {
  const auto value = [&](std::size_t v, std::size_t seed) {
    const Outcome& o = outcomes[first_run(v) + seed];
    return o.values.empty() ? nan : o.values[measure];
  };
  std::vector<double> values, paired, reference;
  for (std::size_t s = 0; s < grid->seeds.size(); ++s) {
    const double own = value(variant, s), other = value(0, s);
    if (std::isfinite(own)) values.push_back(own);
    if (!std::isfinite(own) || !std::isfinite(other)) continue;
    paired.push_back(own);
    reference.push_back(other);
  }
  Summary out{.mean = infer::estimate_mean(values), .difference = {}};
  if (variant > 0) out.difference = infer::estimate_difference(paired, reference);
  return out;
}

std::size_t Results::count(State state) const {
  return static_cast<std::size_t>(
      std::count_if(outcomes.begin(), outcomes.end(), [&](const Outcome& o) { return o.state == state; }));
}

std::size_t Results::failed() const {
  return static_cast<std::size_t>(
      std::count_if(outcomes.begin(), outcomes.end(), [](const Outcome& o) { return !o.error.empty(); }));
}

}  // namespace vitral::ablate
