#include "train/run/position.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace vitral::train {
namespace {

using nlohmann::json;

std::string describe(const EpochOrder& order) {
  return fmt::format("{} images in batches of {}, {} with train.seed={}", order.images, order.batch_size,
                     order.shuffle ? "shuffled" : "in order", order.seed);
}

}  // namespace

json to_json(const Position& at, const EpochOrder& order) {
  json out{{"epoch", at.epoch},
           {"batch", at.batch},
           {"epoch_loss", at.epoch_loss},
           {"epoch_steps", at.epoch_steps},
           {"best", std::isfinite(at.best) ? json(at.best) : json()},
           {"best_step", at.best_step},
           {"skips", at.skips},
           {"skipped_samples", at.skipped_samples},
           {"images", order.images},
           {"batch_size", order.batch_size},
           {"seed", order.seed},
           {"shuffle", order.shuffle},
           {"threads", order.threads},
           {"device", order.device}};
  if (order.slices != 1) out["slices"] = order.slices;
  return out;
}

Position position_from(const json& s, const EpochOrder& now, const std::string& where, std::string& warning) {
  Position at;
  EpochOrder then;
  try {
    at.epoch = s.at("epoch");
    at.batch = s.at("batch");
    at.epoch_loss = s.at("epoch_loss");
    at.epoch_steps = s.at("epoch_steps");
    if (!s.at("best").is_null()) at.best = s.at("best");
    at.best_step = s.at("best_step");
    at.skips = s.at("skips");
    at.skipped_samples = s.at("skipped_samples");
    then = {.images = s.at("images"),
            .batch_size = s.at("batch_size"),
            .seed = s.at("seed"),
            .shuffle = s.at("shuffle"),
            .threads = s.at("threads"),
            .slices = s.value("slices", std::int64_t{1}),
            .device = s.value("device", "cpu")};
  } catch (const json::exception&) {
    throw_error("{}: state.json is not of a training run", where);
  }
  VITRAL_CHECK(
      at.batch == 0 || describe(then) == describe(now),
      "{}: stands in the middle of an epoch of {}; this configuration has {}; resume with the same data, "
      "train.batch_size, train.seed and data.shuffle",
      where, describe(then), describe(now));
  if (then.device != now.device)
    warning = fmt::format("{}: was trained on {}, this is {}: the last bits will differ", where, then.device,
                          now.device);
  else if (then.threads != now.threads && now.device == "cpu")
    warning = fmt::format(
        "{}: was trained with {} compute threads, there are {} now: the last bits will differ; for the same "
        "bits set OMP_NUM_THREADS={}",
        where, then.threads, now.threads, then.threads);
  else if (then.slices != now.slices)
    warning = fmt::format(
        "{}: was trained with batches in {} slices, there are {} now: the last bits will differ; for the "
        "same "
        "bits set train.slices={}",
        where, then.slices, now.slices, then.slices);
  return at;
}

}  // namespace vitral::train
