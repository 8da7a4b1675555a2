#include "train/run/torch_checkpoint.h"

#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/weights/torch_file.h"
#include "data/weights/torch_training.h"

namespace vitral::train {
namespace {

using nlohmann::json;

// What the file has otherwise than the configuration: "a=1, b=2", or nothing.
std::string differences(const data::TorchTraining& training, const TrainConfig& config) {
  std::string out;
  const auto compare = [&]<class T>(const char* key, const T& then, const T& now) {
    if (then != now) out += fmt::format("{}{}={}", out.empty() ? "" : ", ", key, then);
  };
  const data::TorchAdamW& optimizer = *training.optimizer;
  compare("train.optimizer.weight_decay", optimizer.weight_decay, config.optimizer.weight_decay);
  compare("train.optimizer.eps", optimizer.eps, config.optimizer.eps);
  compare("train.optimizer.betas[0]", optimizer.betas[0], config.optimizer.betas[0]);
  compare("train.optimizer.betas[1]", optimizer.betas[1], config.optimizer.betas[1]);
  if (!training.scheduler || config.scheduler.name != "reduce_on_plateau") return out;
  const data::TorchPlateau& plateau = *training.scheduler;
  compare("train.scheduler.patience", plateau.patience, std::int64_t{config.scheduler.patience});
  compare("train.scheduler.factor", plateau.factor, config.scheduler.factor);
  compare("train.scheduler.threshold", plateau.threshold, config.scheduler.threshold);
  compare("train.scheduler.min_lr", plateau.min_lr, config.scheduler.min_lr);
  compare("a cooldown", plateau.cooldown, std::int64_t{0});
  return out;
}

json schedule_state(const data::TorchTraining& training, const Config& config) {
  const std::string& configured = config.train.scheduler.name;
  if (!training.scheduler && configured != "reduce_on_plateau") return {{"name", configured}};
  // base_lr is what the schedule compares with the configuration: as long as that stays, the file's lr
  // counts.
  json state = {{"name", "reduce_on_plateau"},
                {"base_lr", config.train.optimizer.lr},
                {"lr", training.optimizer->lr},
                {"best", nullptr},
                {"bad_epochs", 0}};
  if (!training.scheduler) return state;
  if (std::isfinite(training.scheduler->best)) state["best"] = training.scheduler->best;
  state["bad_epochs"] = training.scheduler->bad_epochs;
  return state;
}

}  // namespace

bool is_torch_checkpoint(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && data::looks_like_torch_file(path);
}

Checkpoint load_torch_checkpoint(const std::string& path, const Config& config,
                                 const models::Objective& objective, const EpochOrder& order,
                                 std::vector<std::string>& warnings) {
  data::TorchTraining training = data::read_torch_training(path);
  if (!training.optimizer)
    throw_error(
        "{}: has no optimizer_state_dict to go on with; to begin a new run with its weights, set "
        "model.init_from",
        path);
  Checkpoint out;
  out.step = training.optimizer->steps;
  out.model_metadata = objective.metadata_of(training.model.tensors, path, warnings);
  for (const auto& [name, tensor] : training.model.tensors)
    out.model.emplace_back(name, tensor.cast(DType::float32));
  for (const auto& [name, tensor] : training.optimizer->state)
    out.optimizer.emplace_back(name, name.ends_with(".step") ? tensor : tensor.cast(DType::float32));
  if (config.train.ema)  // the average begins with the weights
    for (const auto& [name, tensor] : out.model) out.optimizer.emplace_back("raw." + name, tensor);
  Position at;
  at.step = out.step;
  if (training.epoch)
    at.epoch = *training.epoch + 1;
  else if (training.scheduler)
    at.epoch = training.scheduler->epochs;
  out.state = {{"trainer", to_json(at, order)}, {"schedule", schedule_state(training, config)}};
  if (const std::string other = differences(training, config.train); !other.empty())
    warnings.push_back(
        fmt::format("{}: was trained with {}; this configuration says otherwise and counts", path, other));
  return out;
}

}  // namespace vitral::train
