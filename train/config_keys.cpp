#include "train/config_keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace vitral::train {
namespace {

bool is_plain(const YAML::Node& node) { return node.IsScalar() && node.Tag() == "?"; }

/// A scalar without quotes as a number; false where it is none, or does not fit T.
template <class T>
bool parse_number(const YAML::Node& node, T& value) {
  if (!is_plain(node)) return false;
  const std::string& text = node.Scalar();
  const char* first = text.data();
  const char* last = first + text.size();
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') ++first;
  const auto [rest, problem] = std::from_chars(first, last, value);
  return problem == std::errc{} && rest == last;
}

std::string join_or(const std::vector<std::string>& names) {
  if (names.size() == 1) return names[0];
  return fmt::format("{} or {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

// The kinds of values. Each has value() (what is valid, for messages and docs), read (false: not valid)
// and write.

struct Integer {
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  bool odd = false;

  std::string value() const {
    const std::string what = odd ? "an odd integer" : "an integer";
    if (max == std::numeric_limits<std::int64_t>::max()) return fmt::format("{} >= {}", what, min);
    return fmt::format("{} from {} to {}", what, min, max);
  }
  template <class T>
  bool read(const YAML::Node& node, T& field) const {
    std::int64_t i = 0;
    if (!parse_number(node, i) || i < min || i > max || i > std::numeric_limits<T>::max()) return false;
    if (odd && i % 2 == 0) return false;
    field = static_cast<T>(i);
    return true;
  }
  template <class T>
  std::string write(T field) const {
    return fmt::format("{}", field);
  }
};

struct Number {
  std::string text;
  double min = 0, max = std::numeric_limits<double>::infinity();
  bool open_min = false, open_max = true;

  std::string value() const { return text; }
  template <class T>
  bool read(const YAML::Node& node, T& field) const {
    T x = 0;
    if (!parse_number(node, x) || !std::isfinite(x)) return false;
    const auto d = static_cast<double>(x);
    if (open_min ? d <= min : d < min) return false;
    if (open_max ? d >= max : d > max) return false;
    field = x;
    return true;
  }
  template <class T>
  std::string write(T field) const {
    return yaml_number(field);
  }
};

Number above_zero() { return {.text = "a number > 0", .open_min = true}; }
Number zero_or_more() { return {.text = "a number >= 0"}; }
Number one_or_more() { return {.text = "a number >= 1", .min = 1}; }
Number fraction() { return {.text = "a number in [0, 1]", .max = 1, .open_max = false}; }
Number inside_unit() { return {.text = "a number in (0, 1)", .max = 1, .open_min = true}; }
Number below_one() { return {.text = "a number in [0, 1)", .max = 1}; }

struct Truth {
  std::string value() const { return "true or false"; }
  bool read(const YAML::Node& node, bool& field) const {
    if (!is_plain(node)) return false;
    const std::string& text = node.Scalar();
    if (text == "true" || text == "True" || text == "TRUE") return field = true;
    field = false;
    return text == "false" || text == "False" || text == "FALSE";
  }
  std::string write(bool field) const { return field ? "true" : "false"; }
};

struct Choice {
  std::vector<std::string> names;

  std::string value() const { return join_or(names); }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsScalar() || std::find(names.begin(), names.end(), node.Scalar()) == names.end()) return false;
    field = node.Scalar();
    return true;
  }
  std::string write(const std::string& field) const { return field; }
};

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

struct Path {
  std::string value() const { return "a path"; }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsScalar() || node.Scalar().empty() || node.Scalar().find('\0') != std::string::npos)
      return false;
    field = node.Scalar();
    return true;
  }
  std::string write(const std::string& field) const { return yaml_text(field); }
};

struct PathOrNull {
  std::string value() const { return "null or a path"; }
  bool read(const YAML::Node& node, std::string& field) const {
    if (!node.IsNull()) return Path{}.read(node, field);
    field.clear();
    return true;
  }
  std::string write(const std::string& field) const { return field.empty() ? "null" : yaml_text(field); }
};

struct Paths {
  bool may_be_empty = false;

  std::string value() const {
    return may_be_empty ? "a path or a list of paths, may be empty" : "a path or a list of paths";
  }
  bool read(const YAML::Node& node, std::vector<std::string>& field) const {
    std::vector<std::string> paths;
    if (node.IsSequence()) {
      for (const auto& item : node) {
        if (!Path{}.read(item, paths.emplace_back())) return false;
      }
    } else if (!Path{}.read(node, paths.emplace_back())) {
      return false;
    }
    if (paths.empty() && !may_be_empty) return false;
    field = std::move(paths);
    return true;
  }
  std::string write(const std::vector<std::string>& field) const {
    std::vector<std::string> texts;
    texts.reserve(field.size());
    for (const auto& path : field) texts.push_back(yaml_text(path));
    return fmt::format("[{}]", fmt::join(texts, ", "));
  }
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

template <class Kind>
struct OrNull {
  Kind kind;

  std::string value() const { return "null or " + kind.value(); }
  template <class T>
  bool read(const YAML::Node& node, std::optional<T>& field) const {
    if (node.IsNull()) {
      field.reset();
      return true;
    }
    T value{};
    if (!kind.read(node, value)) return false;
    field = value;
    return true;
  }
  template <class T>
  std::string write(const std::optional<T>& field) const {
    return field ? kind.write(*field) : "null";
  }
};
template <class Kind>
OrNull(Kind) -> OrNull<Kind>;

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

template <class Field, class Kind>
Key make_key(std::string name, Field field, Kind kind, std::vector<std::string> schedulers = {}) {
  const auto read = [field, kind](const YAML::Node& node, Config& config) {
    if (!kind.read(node, field(config)))
      throw BadValue{fmt::format("must be {}, not {}", kind.value(), describe(node))};
  };
  const auto write = [field, kind](const Config& config) { return kind.write(field(config)); };
  return {std::move(name), kind.value(), read, write, std::move(schedulers)};
}

// The name of a key is the path of its member.
#define KEY(member, ...) \
  make_key(              \
      #member, [](auto& c) -> auto& { return c.member; }, __VA_ARGS__)

const std::vector<std::string> plateau{"reduce_on_plateau"}, one_cycle{"one_cycle"};

}  // namespace

const std::vector<Key>& key_table() {
  static const std::vector<Key> table{
      KEY(model.image_size, Integer{1, 8192}),
      KEY(model.patch_size, Integer{1, 8192}),
      KEY(model.width, Integer{1, 65536}),
      KEY(model.layers, Integer{1, 1024}),
      KEY(model.heads, Integer{1, 65536}),
      KEY(model.attention, Choice{{"neighbourhood", "full"}}),
      KEY(model.window, Integer{.min = 1, .max = 8191, .odd = true}),
      KEY(model.same_norm, Truth{}),
      KEY(model.init_from, PathOrNull{}),

      KEY(data.train, Paths{}),
      KEY(data.val, Paths{.may_be_empty = true}),
      KEY(data.augment, Recipe{}),
      KEY(data.augment.resize, Integer{0, 16384}),
      KEY(data.augment.brightness, zero_or_more()),
      KEY(data.augment.contrast, zero_or_more()),
      KEY(data.augment.saturation, zero_or_more()),
      KEY(data.augment.grayscale, fraction()),
      KEY(data.augment.flip, fraction()),
      KEY(data.augment.blur, fraction()),
      KEY(data.augment.blur_kernel, Integer{.min = 1, .max = 255, .odd = true}),
      KEY(data.augment.blur_sigma_min, above_zero()),
      KEY(data.augment.blur_sigma_max, above_zero()),
      KEY(data.augment.posterize, fraction()),
      KEY(data.augment.posterize_bits, Integer{1, 8}),
      KEY(data.augment.autocontrast, fraction()),
      KEY(data.augment.random_crop, Truth{}),
      KEY(data.augment.scaled_decode, Truth{}),
      KEY(data.shuffle, Truth{}),
      KEY(data.workers, Integer{1, 256}),

      KEY(teacher.weights, PathOrNull{}),
      KEY(teacher.heads, OrNull{Integer{1, 65536}}),

      KEY(train.batch_size, Integer{1, 1 << 20}),
      KEY(train.accumulate, Integer{1, 1 << 20}),
      KEY(train.epochs, Integer{1, 1 << 30}),
      KEY(train.max_steps, OrNull{Integer{1}}),
      KEY(train.loss_norm, above_zero()),
      KEY(train.seed, Integer{0}),
      KEY(train.device, DeviceName{}),
      KEY(train.precision, Choice{{"fp32", "tf32", "bf16"}}),
      KEY(train.clip_norm, OrNull{above_zero()}),
      KEY(train.ema, OrNull{inside_unit()}),
      KEY(train.optimizer.name, Choice{{"adamw"}}),
      KEY(train.optimizer.lr, above_zero()),
      KEY(train.optimizer.weight_decay, zero_or_more()),
      KEY(train.optimizer.betas, Betas{}),
      KEY(train.optimizer.eps, above_zero()),
      KEY(train.scheduler.name, Choice{{"reduce_on_plateau", "cosine", "one_cycle", "constant"}}),
      KEY(train.scheduler.patience, Integer{0, 1 << 30}, plateau),
      KEY(train.scheduler.factor, inside_unit(), plateau),
      KEY(train.scheduler.threshold, zero_or_more(), plateau),
      KEY(train.scheduler.min_lr, zero_or_more(), {"reduce_on_plateau", "cosine"}),
      KEY(train.scheduler.warmup_steps, Integer{0}, {"cosine", "constant"}),
      KEY(train.scheduler.warmup_fraction, fraction(), one_cycle),
      KEY(train.scheduler.start_factor, one_or_more(), one_cycle),
      KEY(train.scheduler.end_factor, one_or_more(), one_cycle),
      KEY(train.log_every, Integer{1, 1 << 30}),
      KEY(train.checkpoint_every, EpochOrSteps{}),
      KEY(train.keep, Integer{1, 1 << 30}),
      KEY(train.output, Path{}),
  };
  return table;
}

std::optional<Conflict> find_conflict(const Config& config) {
  const auto& [model, data, teacher, train] = config;
  const auto divides = [](const char* key, int part, const char* other_key, int whole) {
    const auto last = [](std::string_view name) { return name.substr(name.rfind('.') + 1); };
    return Conflict{key, fmt::format("{} must divide {} {}", part, last(other_key), whole), other_key,
                    fmt::format("{} must be divisible by {} {}", whole, last(key), part)};
  };
  if (model.image_size % model.patch_size != 0)
    return divides("model.patch_size", model.patch_size, "model.image_size", model.image_size);
  if (model.width % model.heads != 0) return divides("model.heads", model.heads, "model.width", model.width);
  if (train.batch_size % train.accumulate != 0)
    return divides("train.accumulate", train.accumulate, "train.batch_size", train.batch_size);

  if (teacher.heads && teacher.weights.empty())
    return Conflict{"teacher.heads", "needs teacher.weights", "teacher.weights",
                    "is null, but teacher.heads is set"};

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
