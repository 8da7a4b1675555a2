#include "data/weights/torch_training.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/text.h"
#include "data/weights/torch_tensors.h"

namespace vitral::data {
namespace {

using Kind = PickleValue::Kind;

constexpr const char* way_out = "to begin a new run with its weights, set model.init_from";

class TrainingReader {
 public:
  explicit TrainingReader(const std::string& path) : path_(path), file_(path), tensors_(file_.archive) {}

  TorchTraining read() {
    TorchTraining out;
    out.model = file_.model(tensors_);
    if (const auto* state = entry({"optimizer_state_dict", "optimizer"}))
      out.optimizer = adamw(*state, out.model.tensors);
    if (const auto* state = entry({"scheduler_state_dict", "scheduler", "lr_scheduler"}))
      out.scheduler = plateau(*state);
    if (const auto* epoch = file_.pickle.root().find("epoch")) {
      out.epoch = whole(*epoch);
      if (!out.epoch) throw_error("{}: its epoch is not a whole number >= 0; {}", path_, way_out);
    }
    return out;
  }

 private:
  // A dict under one of these keys of the top-level dict.
  const PickleValue* entry(std::initializer_list<const char*> keys) const {
    for (const char* key : keys)
      if (const auto* value = file_.pickle.root().find(key); value && value->is(Kind::dict)) return value;
    return nullptr;
  }

  // A number, also as a tensor of one element.
  std::optional<double> real(const PickleValue& value) {
    if (value.is(Kind::real)) return value.real;
    if (value.is(Kind::integer) || value.is(Kind::boolean)) return static_cast<double>(value.integer);
    const auto* call = torch_tensor(&value);
    if (!call) return {};
    const Tensor tensor = tensors_.read("a number", *call);
    if (tensor.numel() != 1) return {};
    return tensor.item();
  }
  // A whole number from 0 that float64 holds exactly.
  std::optional<std::int64_t> whole(const PickleValue& value) {
    constexpr double limit = 9007199254740992;  // 2^53
    const auto number = real(value);
    if (!number || !(*number >= 0) || *number > limit || *number != std::floor(*number)) return {};
    return static_cast<std::int64_t>(*number);
  }
  double real_at(const PickleValue& dict, const char* key, const char* where) {
    const auto* value = dict.find(key);
    const auto number = value ? real(*value) : std::nullopt;
    if (!number) throw_error("{}: {} has no number '{}'; {}", path_, where, key, way_out);
    return *number;
  }
  std::int64_t whole_at(const PickleValue& dict, const char* key, const char* where) {
    const auto* value = dict.find(key);
    const auto number = value ? whole(*value) : std::nullopt;
    if (!number) throw_error("{}: {} has no whole number '{}'; {}", path_, where, key, way_out);
    return *number;
  }
  bool is_set(const PickleValue& dict, const char* key) {
    const auto* value = dict.find(key);
    return value && real(*value).value_or(0) != 0;
  }

  TorchAdamW adamw(const PickleValue& dict, const NamedTensors& model) {
    constexpr const char* where = "its optimizer";
    const auto *groups = dict.find("param_groups"), *states = dict.find("state");
    if (!groups || !groups->is(Kind::list) || !states || !states->is(Kind::dict))
      throw_error("{}: {} has no state and param_groups as torch.optim writes them; {}", path_, where,
                  way_out);
    if (groups->items.size() != 1)
      throw_error("{}: {} has {} parameter groups, only one is supported; {}", path_, where,
                  groups->items.size(), way_out);
    const PickleValue& group = *groups->items[0];
    const auto* betas = group.find("betas");
    if (!betas) throw_error("{}: {} is not AdamW (param_groups has no betas); {}", path_, where, way_out);
    TorchAdamW out;
    out.lr = real_at(group, "lr", where);
    out.weight_decay = real_at(group, "weight_decay", where);
    out.eps = real_at(group, "eps", where);
    const bool pair = (betas->is(Kind::tuple) || betas->is(Kind::list)) && betas->items.size() == 2;
    for (std::size_t i = 0; i < 2; ++i) {
      const auto beta = pair ? real(*betas->items[i]) : std::nullopt;
      if (!beta) throw_error("{}: {} has no pair of betas; {}", path_, where, way_out);
      out.betas[i] = *beta;
    }
    for (const char* key : {"amsgrad", "maximize"})
      if (is_set(group, key))
        throw_error("{}: {} has {}, which AdamW here has not; {}", path_, where, key, way_out);
    // PyTorch says since 2.7 which of the two it is; before, both wrote the same.
    if (group.find("decoupled_weight_decay") && !is_set(group, "decoupled_weight_decay") &&
        out.weight_decay != 0)
      throw_error("{}: {} is Adam, whose weight decay is not AdamW's; {}", path_, where, way_out);
    read_states(*states, numbers(group, model), model, out);
    return out;
  }

  // The optimiser's number of each of the model's tensors.
  std::vector<std::int64_t> numbers(const PickleValue& group, const NamedTensors& model) {
    const auto* params = group.find("params");
    const std::size_t count = params && params->is(Kind::list) ? params->items.size() : 0;
    if (!params || count != model.size())
      throw_error(
          "{}: its optimizer has {} parameters, its model {} tensors; only an optimizer of all of "
          "model.parameters() can go on, {}",
          path_, count, model.size(), way_out);
    std::vector<std::int64_t> out;
    for (const auto* number : params->items) {
      if (!number->is(Kind::integer))
        throw_error("{}: its optimizer does not number its parameters; {}", path_, way_out);
      out.push_back(number->integer);
    }
    return out;
  }

  void read_states(const PickleValue& states, const std::vector<std::int64_t>& numbers,
                   const NamedTensors& model, TorchAdamW& out) {
    std::map<std::int64_t, const PickleValue*> given;
    for (std::size_t i = 0; i + 1 < states.items.size(); i += 2) {
      const bool good = states.items[i]->is(Kind::integer) && states.items[i + 1]->is(Kind::dict);
      if (!good || !given.emplace(states.items[i]->integer, states.items[i + 1]).second)
        throw_error("{}: the state of its optimizer is not one dict a parameter; {}", path_, way_out);
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto found = given.find(numbers[i]);
      if (found == given.end()) continue;  // it never got a gradient
      read_state(*found->second, model[i].first, model[i].second, out);
      given.erase(found);
    }
    if (!given.empty())
      throw_error("{}: its optimizer has state of a parameter {} that is in no group; {}", path_,
                  given.begin()->first, way_out);
  }

  void read_state(const PickleValue& state, const std::string& name, const Tensor& weights, TorchAdamW& out) {
    for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
      const auto* value = state.find(moment);
      const auto* call = value ? torch_tensor(value) : nullptr;
      if (!call)
        throw_error("{}: its optimizer has no {} of '{}', so it is not AdamW; {}", path_, moment, shown(name),
                    way_out);
      const Tensor tensor = tensors_.read(name + "." + moment, *call);
      if (tensor.shape() != weights.shape())
        throw_error("{}: its optimizer has {} {} of '{}' {}: their order is not that of the state dict; {}",
                    path_, moment, tensor.shape(), shown(name), weights.shape(), way_out);
      out.state.emplace_back(name + "." + moment, tensor);
    }
    const std::int64_t step = whole_at(state, "step", "its optimizer");
    out.state.emplace_back(name + ".step", Tensor::from(std::vector<std::int64_t>{step}, {1}));
    out.steps = std::max(out.steps, step);
  }

  TorchPlateau plateau(const PickleValue& dict) {
    constexpr const char* where = "its scheduler";
    const auto text_at = [&](const char* key) {
      const auto* value = dict.find(key);
      return value && value->is(Kind::text) ? value->text : std::string();
    };
    if (!dict.find("num_bad_epochs") || !dict.find("patience"))
      throw_error("{}: {} is not ReduceLROnPlateau (no num_bad_epochs); {}", path_, where, way_out);
    if (text_at("mode") != "min" || text_at("threshold_mode") != "rel")
      throw_error("{}: {} has mode '{}' and threshold_mode '{}', supported are min and rel; {}", path_, where,
                  shown(text_at("mode")), shown(text_at("threshold_mode")), way_out);
    TorchPlateau out;
    out.factor = real_at(dict, "factor", where);
    out.threshold = real_at(dict, "threshold", where);
    out.best = real_at(dict, "best", where);
    out.patience = whole_at(dict, "patience", where);
    out.cooldown = whole_at(dict, "cooldown", where);
    out.bad_epochs = whole_at(dict, "num_bad_epochs", where);
    out.epochs = whole_at(dict, "last_epoch", where);
    const auto* least = dict.find("min_lrs");
    const bool one = least && least->is(Kind::list) && least->items.size() == 1;
    const auto min_lr = one ? real(*least->items[0]) : std::nullopt;
    if (!min_lr) throw_error("{}: {} has no list min_lrs of one number; {}", path_, where, way_out);
    out.min_lr = *min_lr;
    return out;
  }

  std::string path_;
  TorchFile file_;
  TorchTensorReader tensors_;
};

}  // namespace

TorchTraining read_torch_training(const std::string& path) { return TrainingReader(path).read(); }

}  // namespace vitral::data
