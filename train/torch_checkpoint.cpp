#include "train/torch_checkpoint.h"

#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/torch_file.h"
#include "data/torch_training.h"

namespace vitral::train {
namespace {

using nlohmann::json;

// What the file has otherwise than the configuration.
class Differences {
 public:
  Differences(const std::string& path, std::vector<std::string>& warnings)
      : path_(path), warnings_(warnings) {}
  ~Differences() {
    if (!text_.empty())
      warnings_.push_back(
          fmt::format("{}: was trained with{}; this configuration says otherwise and counts", path_, text_));
  }
  Differences(const Differences&) = delete;
  Differences& operator=(const Differences&) = delete;

  template <class T>
  void add(const char* key, const T& then, const T& now) {
    if (!(then == now)) text_ += fmt::format("{} {}={}", text_.empty() ? "" : ",", key, then);
  }

 private:
  const std::string& path_;
  std::vector<std::string>& warnings_;
  std::string text_;
};

void compare(const data::TorchTraining& training, const Config& config, Differences& differences) {
  const data::TorchAdamW& then = *training.optimizer;
  const OptimizerConfig& now = config.train.optimizer;
  differences.add("train.optimizer.weight_decay", then.weight_decay, now.weight_decay);
  differences.add("train.optimizer.eps", then.eps, now.eps);
  differences.add("train.optimizer.betas[0]", then.betas[0], now.betas[0]);
  differences.add("train.optimizer.betas[1]", then.betas[1], now.betas[1]);
  if (!training.scheduler || config.train.scheduler.name != "reduce_on_plateau") return;
  const data::TorchPlateau& plateau = *training.scheduler;
  const SchedulerConfig& scheduler = config.train.scheduler;
  differences.add("train.scheduler.patience", plateau.patience, std::int64_t{scheduler.patience});
  differences.add("train.scheduler.factor", plateau.factor, scheduler.factor);
  differences.add("train.scheduler.threshold", plateau.threshold, scheduler.threshold);
  differences.add("train.scheduler.min_lr", plateau.min_lr, scheduler.min_lr);
  differences.add("a cooldown", plateau.cooldown, std::int64_t{0});
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

// What the tensors say of the architecture. The mask leaves no trace in them: the configuration says it.
std::map<std::string, std::string> model_metadata(const data::NamedTensors& model, const std::string& path,
                                                  const ModelConfig& config,
                                                  std::vector<std::string>& warnings) {
  nn::StudentConfig then = nn::infer_student_config(model, path);
  if (then.attention != config.attention)
    warnings.push_back(
        fmt::format("{}: {} `scale`, as the original's students with {} attention; training goes on with "
                    "model.attention={}",
                    path, then.same_norm ? "has" : "has no", then.attention, config.attention));
  then.attention = config.attention;
  then.window = config.window;
  return nn::to_metadata(then);
}

}  // namespace

bool is_torch_checkpoint(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && data::looks_like_torch_file(path);
}

Checkpoint load_torch_checkpoint(const std::string& path, const Config& config, const EpochOrder& order,
                                 std::vector<std::string>& warnings) {
  data::TorchTraining training = data::read_torch_training(path);
  if (!training.optimizer)
    throw_error(
        "{}: has no optimizer_state_dict to go on with; to begin a new run with its weights, set "
        "model.init_from",
        path);
  Checkpoint out;
  out.step = training.optimizer->steps;
  out.model_metadata = model_metadata(training.model.tensors, path, config.model, warnings);
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
  Differences differences(path, warnings);
  compare(training, config, differences);
  return out;
}

}  // namespace vitral::train
