#include "train/config_keys.h"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/field_kinds.h"
#include "models/clip/config.h"
#include "models/pretrained/tower_choices.h"
#include "models/student/config.h"
#include "models/student/distillation_loss.h"

namespace vitral::train {
namespace {

using namespace fields;

struct DeviceName {
  std::string value() const { return "cpu, cuda, cuda:N or auto"; }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsScalar()) return false;
    const std::string& text = node.Scalar();
    bool valid = text == "cpu" || text == "cuda" || text == "auto";
    if (text.starts_with("cuda:"))
      valid = text.size() > 5 && text.size() < 10 &&
              std::all_of(text.begin() + 5, text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (valid) field = text;
    return valid;
  }
  std::string write(const std::string& field) const { return yaml_text(field); }
};

struct Betas {
  std::string value() const { return "a list of two numbers in [0, 1)"; }
  bool read(const YAML::Node& node, std::array<double, 2>& field) const {
    if (!node.IsSequence() || node.size() != field.size()) return false;
    std::array<double, 2> betas{};
    for (std::size_t i = 0; i < betas.size(); ++i) {
      if (!below_one().read(node[i], betas[i])) return false;
    }
    field = betas;
    return true;
  }
  std::string write(const std::array<double, 2>& field) const {
    return fmt::format("[{}, {}]", yaml_number(field[0]), yaml_number(field[1]));
  }
};

struct PowerOfTwo {
  std::string value() const { return "a power of two from 1 to 65536"; }
  bool read(const YAML::Node& node, std::int64_t& field) const {
    std::int64_t i = 0;
    if (!Integer{1, 1 << 16}.read(node, i) || (i & (i - 1)) != 0) return false;
    field = i;
    return true;
  }
  std::string write(std::int64_t field) const { return fmt::format("{}", field); }
};

struct EpochOrSteps {
  std::string value() const { return "epoch or an integer >= 1"; }
  bool read(const YAML::Node& node, std::int64_t& field) const {
    if (!node.IsScalar() || node.Scalar() != "epoch") return Integer{1}.read(node, field);
    field = 0;
    return true;
  }
  std::string write(std::int64_t field) const { return field == 0 ? "epoch" : fmt::format("{}", field); }
};

/// The named recipes; a map of operations is read key by key (data.augment.*).
struct Recipe {
  std::string value() const { return "none, clip or a map of operations"; }
  bool read(const YAML::Node& node, data::AugmentConfig& field) const {
    if (!node.IsScalar() || (node.Scalar() != "none" && node.Scalar() != "clip")) return false;
    field = node.Scalar() == "clip" ? data::AugmentConfig::clip() : data::AugmentConfig{};
    return true;
  }
  std::string write(const data::AugmentConfig& field) const {
    if (field.none()) return "none";
    return field == data::AugmentConfig::clip() ? "clip" : "";
  }
};

/// The weight of one term of the loss; 0: it is no part of it, as if it were not given.
struct TermWeight {
  std::string term;

  std::string value() const { return zero_or_more().value(); }
  bool read(const YAML::Node& node, std::map<std::string, double>& field) const {
    double weight = 0;
    if (!zero_or_more().read(node, weight)) return false;
    if (weight > 0)
      field[term] = weight;
    else
      field.erase(term);
    return true;
  }
  std::string write(const std::map<std::string, double>& field) const {
    const auto it = field.find(term);
    return yaml_number(it == field.end() ? 0.0 : it->second);
  }
};

struct DatasetNameOrNull {
  std::string value() const { return "null or the name of a dataset"; }
  bool read(const YAML::Node& node, std::string& field) const {
    const bool is_name =
        node.IsScalar() && !node.Scalar().empty() && node.Scalar().find('\0') == std::string::npos;
    if (!is_name && !node.IsNull()) return false;
    field = is_name ? node.Scalar() : "";
    return true;
  }
  std::string write(const std::string& field) const { return field.empty() ? "null" : yaml_text(field); }
};

bool is_shared(const std::string& field) {
  return field == "image_size" || field == "patch_size" || field == "width";
}

// The name of a key is the path of its member.
#define KEY(...)                          \
  Key {                                   \
    VITRAL_FIELD(Config, __VA_ARGS__), {} \
  }

Key only_of(Owner owner, Key key) {
  key.owner = std::move(owner);
  return key;
}

Owner schedulers(std::vector<std::string> names) { return {"train.scheduler.name", std::move(names)}; }
const Owner with_adamw{"train.optimizer.name", {"adamw", "muon"}},
    plateau = schedulers({"reduce_on_plateau"}), one_cycle = schedulers({"one_cycle"}),
    student{"model.kind", {"student"}}, clip{"model.kind", {"clip"}};

std::vector<Key> make_table() {
  std::vector<Key> table;
  const auto add = [&](std::vector<Key> keys) {
    std::move(keys.begin(), keys.end(), std::back_inserter(table));
  };
  const auto add_part = [&](const std::string& section, const auto& fields, const auto& part, auto owner) {
    for (const auto& field : fields)
      table.push_back({field_of_part<Config>(section + ".", field, part), owner(field.name)});
  };
  const auto of_all = [](const std::string&) { return Owner{}; };
  add({KEY(model.kind, Choice{{"student", "clip"}})});
  // What both kinds have is the student's here, and the CLIP takes it over (clip_config()).
  add_part(
      "model", models::student_fields(), [](auto& c) -> auto& { return c.model; },
      [](const std::string& name) { return is_shared(name) ? Owner{} : student; });
  for (const auto& field : models::clip_fields())
    if (!is_shared(field.name))
      table.push_back({field_of_part<Config>(
                           "model.", field, [](auto& c) -> auto& { return c.model.clip; }),
                       clip});
  add({
      KEY(model.init_from, PathOrNull{}),

      KEY(data.train, Paths{}),
      KEY(data.val, Paths{.may_be_empty = true}),
      KEY(data.augment, Recipe{}),
  });
  add_part(
      "data.augment", data::augment_fields(), [](auto& c) -> auto& { return c.data.augment; }, of_all);
  add({
      KEY(data.shuffle, Truth{}),
      KEY(data.workers, Integer{1, 256}),
      KEY(data.exif, Choice{{"apply", "ignore"}}),
      KEY(data.images, DatasetNameOrNull{}),
      only_of(student, KEY(data.embeddings, DatasetNameOrNull{})),

      only_of(student, KEY(teacher.weights, PathOrNull{})),
      only_of(student, KEY(teacher.regions, OrNull{Integer{1, 64}})),
      only_of(student, KEY(teacher.heads, OrNull{Integer{1, 65536}})),
      only_of(student, KEY(teacher.activation, OrNull{Choice{models::TowerChoices::activations()}})),

      KEY(train.batch_size, Integer{1, 1 << 20}),
      KEY(train.accumulate, Integer{1, 1 << 20}),
      KEY(train.slices, OrNull{PowerOfTwo{}}),
      KEY(train.epochs, Integer{1, 1 << 30}),
      KEY(train.max_steps, OrNull{Integer{1}}),
  });
  for (const auto& term : models::distillation_terms())
    table.push_back({make_field<Config>(
                         std::string("train.objective.") + term.name,
                         [](auto& c) -> auto& { return c.train.objective; }, TermWeight{term.name}),
                     student});
  add({
      only_of(student, KEY(train.loss_norm, above_zero())),
      only_of(student, KEY(train.temperature, above_zero())),
      only_of(student, KEY(train.texts, PathOrNull{})),
      only_of(clip, KEY(train.freeze, Choices{{"image", "text"}})),
      KEY(train.seed, Integer{0}),
      KEY(train.device, DeviceName{}),
      KEY(train.precision, Choice{{"fp32", "tf32", "bf16"}}),
      KEY(train.products, PathOrNull{}),
      KEY(train.recompute, Choice{{"auto", "always", "never"}}),
      KEY(train.clip_norm, OrNull{above_zero()}),
      KEY(train.ema, OrNull{inside_unit()}),
      KEY(train.optimizer.name, Choice{{"adamw", "sgd", "lion", "muon"}}),
      KEY(train.optimizer.lr, above_zero()),
      KEY(train.optimizer.weight_decay, zero_or_more()),
      only_of(with_adamw, KEY(train.optimizer.betas, Betas{})),
      only_of(with_adamw, KEY(train.optimizer.eps, above_zero())),
      KEY(train.optimizer.decay_matrices_only, Truth{}),
      KEY(train.scheduler.name, Choice{{"reduce_on_plateau", "cosine", "one_cycle", "constant"}}),
      only_of(plateau, KEY(train.scheduler.patience, Integer{0, 1 << 30})),
      only_of(plateau, KEY(train.scheduler.factor, inside_unit())),
      only_of(plateau, KEY(train.scheduler.threshold, zero_or_more())),
      only_of(schedulers({"reduce_on_plateau", "cosine"}), KEY(train.scheduler.min_lr, zero_or_more())),
      only_of(schedulers({"cosine", "constant"}), KEY(train.scheduler.warmup_steps, Integer{0})),
      only_of(one_cycle, KEY(train.scheduler.warmup_fraction, fraction())),
      only_of(one_cycle, KEY(train.scheduler.start_factor, one_or_more())),
      only_of(one_cycle, KEY(train.scheduler.end_factor, one_or_more())),
      KEY(train.log_every, Integer{1, 1 << 30}),
      KEY(train.checkpoint_every, EpochOrSteps{}),
      KEY(train.keep, Integer{1, 1 << 30}),
      KEY(train.output, Path{}),
  });
  return table;
}

}  // namespace

const std::vector<Key>& key_table() {
  static const std::vector<Key> table = make_table();
  return table;
}

std::string parent(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos ? "" : name.substr(0, dot);
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

const Key* find_key(const std::string& name) {
  const auto& table = key_table();
  const auto it = std::find_if(table.begin(), table.end(), [&](const Key& key) { return key.name == name; });
  return it == table.end() ? nullptr : &*it;
}

bool belongs(const Key& key, const Config& config) {
  const auto& [owner, values] = key.owner;
  if (values.empty()) return true;
  return std::find(values.begin(), values.end(), find_key(owner)->write(config)) != values.end();
}

std::string coupling_term(const TrainConfig& config) {
  for (const auto& term : models::distillation_terms())
    if (term.couples_images && config.objective.contains(term.name)) return term.name;
  return "";
}

std::optional<Conflict> find_conflict(const Config& config) {
  const auto& [model, data, teacher, train] = config;
  const bool is_clip = model.kind == "clip";
  if (auto conflict = is_clip ? models::find_conflict(clip_config(model)) : models::find_conflict(model))
    return Conflict{"model." + conflict->key, conflict->text, "model." + conflict->other_key,
                    conflict->other_text};
  if (is_clip) {
    if (model.clip.text.vocabulary.empty())
      return Conflict{"model.text.vocabulary", "must name a vocabulary; vitral vocabulary makes one",
                      "model.kind", "clip needs model.text.vocabulary; vitral vocabulary makes one"};
    if (train.batch_size < 2)
      return Conflict{"train.batch_size", "1 leaves a CLIP nothing to compare; take 2 or more", "model.kind",
                      "clip compares the images of a batch, and train.batch_size is 1"};
    if (train.freeze.size() > 1)
      return Conflict{"train.freeze", "leaves nothing to train; freeze one of the towers", "train.freeze",
                      "leaves nothing to train; freeze one of the towers"};
  }
  if (auto conflict =
          not_dividing("train.accumulate", train.accumulate, "train.batch_size", train.batch_size))
    return conflict;
  if (train.slices)
    if (auto conflict = not_dividing("train.slices", *train.slices, "train.batch_size", train.batch_size))
      return conflict;

  if (!is_clip && train.objective.empty()) {
    std::vector<std::string> names;
    for (const auto& term : models::distillation_terms()) names.emplace_back(term.name);
    const std::string text = fmt::format("has no term; give one of {} a weight > 0", fmt::join(names, ", "));
    return Conflict{"train.objective", text, "train.objective", text};
  }
  if (const std::string term = coupling_term(train); !term.empty())
    for (const auto& [key, pieces] : {std::pair{"train.accumulate", std::int64_t{train.accumulate}},
                                      {"train.slices", train.slices.value_or(1)}})
      if (pieces == train.batch_size)
        return Conflict{
            "train.objective." + term,
            fmt::format("compares images, and train.batch_size {} in {} pieces ({}) leaves 1 in each",
                        train.batch_size, pieces, key),
            key,
            fmt::format("{} pieces of train.batch_size {} have 1 image each, and "
                        "train.objective.{} compares images",
                        pieces, train.batch_size, term)};
  if (!train.texts.empty() && !train.objective.contains("texts"))
    return Conflict{"train.texts", "needs train.objective.texts", "train.objective",
                    "has no term texts, but train.texts is set"};

  for (const auto& [key, given] : {std::pair{"teacher.heads", teacher.heads.has_value()},
                                   {"teacher.regions", teacher.regions.has_value()},
                                   {"teacher.activation", teacher.activation.has_value()}})
    if (given && teacher.weights.empty())
      return Conflict{key, "needs teacher.weights", "teacher.weights",
                      fmt::format("is null, but {} is set", key)};

  const bool wants_regions = train.objective.contains("regions");
  if (teacher.regions && !wants_regions)
    return Conflict{"teacher.regions", "needs train.objective.regions", "train.objective",
                    "has no term regions, but teacher.regions is set"};
  if (!teacher.regions && wants_regions && !teacher.weights.empty())
    return Conflict{"train.objective.regions", "needs teacher.regions, the cells a side of their grid",
                    "teacher.weights", "needs teacher.regions for train.objective.regions"};

  const auto& augment = data.augment;
  if (augment.random_crop && augment.resize > 0 && augment.resize < model.image_size)
    return Conflict{"data.augment.resize",
                    fmt::format("{} must be at least model.image_size {}, which random_crop cuts from it",
                                augment.resize, model.image_size),
                    "model.image_size",
                    fmt::format("{} must be at most data.augment.resize {}, from which random_crop cuts it",
                                model.image_size, augment.resize)};
  if (augment.scaled_decode && augment.random_crop && augment.resize == 0)
    return Conflict{"data.augment.scaled_decode", "needs data.augment.resize, or no random_crop",
                    "data.augment.random_crop",
                    "cuts from the whole image, but data.augment.scaled_decode is set; set resize, too"};
  if (augment.blur_sigma_min > augment.blur_sigma_max)
    return Conflict{"data.augment.blur_sigma_min",
                    fmt::format("{} must not exceed blur_sigma_max {}", yaml_number(augment.blur_sigma_min),
                                yaml_number(augment.blur_sigma_max)),
                    "data.augment.blur_sigma_max",
                    fmt::format("{} must not be below blur_sigma_min {}", yaml_number(augment.blur_sigma_max),
                                yaml_number(augment.blur_sigma_min))};

  const auto& scheduler = train.scheduler;
  const bool has_min_lr = scheduler.name == "reduce_on_plateau" || scheduler.name == "cosine";
  const double lr = train.optimizer.lr;
  if (has_min_lr && scheduler.min_lr > lr)
    return Conflict{"train.scheduler.min_lr",
                    fmt::format("{} must not exceed train.optimizer.lr {}", yaml_number(scheduler.min_lr),
                                yaml_number(lr)),
                    "train.optimizer.lr",
                    fmt::format("{} must not be below train.scheduler.min_lr {}", yaml_number(lr),
                                yaml_number(scheduler.min_lr))};
  return std::nullopt;
}

}  // namespace vitral::train
