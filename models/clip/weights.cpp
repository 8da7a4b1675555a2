#include "models/clip/weights.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/input_file.h"
#include "data/weights/weights.h"

namespace vitral::models {
namespace {

using Metadata = std::map<std::string, std::string>;

constexpr std::uint64_t max_config_bytes = 1 << 20;

// {"a": {"b": 1}} -> "a.b" = "1". Lists and nulls are left out.
void flatten(const nlohmann::json& value, const std::string& name, int depth, Metadata& out) {
  if (value.is_object() && depth < 8) {
    for (const auto& [key, inner] : value.items())
      flatten(inner, name.empty() ? key : fmt::format("{}.{}", name, key), depth + 1, out);
  } else if (value.is_string()) {
    out[name] = value.get<std::string>();
  } else if (value.is_number() || value.is_boolean()) {
    out[name] = value.dump();
  }
}

nlohmann::json read_config(const std::string& path) {
  const InputFile file(path);
  VITRAL_CHECK(file.size() <= max_config_bytes, "{}: has {} bytes, which no configuration of a model has",
               path, file.size());
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  auto config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object()) throw_error("{}: is no JSON object; copy it again", path);
  return config;
}

// A tower that was saved alone has its keys at the top.
void add_hugging_face(const nlohmann::json& config, Metadata& out) {
  const std::string type =
      config.value("model_type", nlohmann::json()).is_string() ? config["model_type"] : "";
  const bool image = type == "clip_vision_model", text = type == "clip_text_model";
  flatten(config, image ? "vision_config" : text ? "text_config" : "", 0, out);
}

// What open_clip can build and the towers here cannot, in vision_cfg or text_cfg: a key, and the values that
// change nothing.
struct Foreign {
  const char *section, *key;
  std::vector<nlohmann::json> harmless;
};

void refuse_foreign(const nlohmann::json& model, const std::string& path) {
  static const std::vector<Foreign> table{{"vision_cfg", "timm_model_name", {nullptr, ""}},
                                          {"vision_cfg", "attentional_pool", {nullptr, false}},
                                          {"vision_cfg", "pool_type", {"tok"}},
                                          {"vision_cfg", "no_ln_pre", {false}},
                                          {"vision_cfg", "final_ln_after_pool", {false}},
                                          {"vision_cfg", "ls_init_value", {nullptr}},
                                          {"text_cfg", "embed_cls", {false}},
                                          {"text_cfg", "no_causal_mask", {false}},
                                          {"text_cfg", "pool_type", {"argmax"}},
                                          {"text_cfg", "final_ln_after_pool", {false}}};
  const auto refuse = [&](const std::string& key, const nlohmann::json& value) {
    throw_error<UsageError>(
        "{}: {} is {}, which is not supported; of open_clip's models the plain vision transformers of CLIP "
        "are (ViT-B-32, ViT-L-14, ViT-H-14, ...)",
        path, key, value.dump());
  };
  for (const auto& [section, key, harmless] : table) {
    const auto part = model.find(section);
    if (part == model.end() || !part->is_object() || !part->contains(key)) continue;
    const auto& value = (*part)[key];
    if (std::find(harmless.begin(), harmless.end(), value) == harmless.end())
      refuse(fmt::format("{}.{}", section, key), value);
  }
  const auto vision = model.find("vision_cfg");
  if (vision != model.end() && vision->is_object() && vision->value("layers", nlohmann::json(12)).is_array())
    refuse("vision_cfg.layers", (*vision)["layers"]);
}

// After open_clip 3.3, src/open_clip/model.py: CLIPVisionCfg, CLIPTextCfg and their defaults.
void add_open_clip(const nlohmann::json& config, const std::string& path, Metadata& out) {
  const auto model = config.find("model_cfg");
  if (model == config.end() || !model->is_object()) return;
  refuse_foreign(*model, path);
  const auto number = [&](const char* section, const char* key, std::int64_t otherwise) {
    const auto part = model->find(section);
    if (part == model->end() || !part->is_object()) return otherwise;
    const auto value = part->find(key);
    if (value == part->end()) return otherwise;
    VITRAL_CHECK(value->is_number_integer() && value->get<std::int64_t>() > 0,
                 "{}: model_cfg.{}.{} must be a whole number > 0", path, section, key);
    return value->get<std::int64_t>();
  };
  const std::int64_t width = number("vision_cfg", "width", 768);
  const char* activation = model->value("quick_gelu", nlohmann::json()) == true ? "quick_gelu" : "gelu";
  out["vision_config.hidden_size"] = std::to_string(width);
  out["vision_config.num_attention_heads"] = std::to_string(width / number("vision_cfg", "head_width", 64));
  out["vision_config.hidden_act"] = activation;
  out["text_config.hidden_size"] = std::to_string(number("text_cfg", "width", 512));
  out["text_config.num_attention_heads"] = std::to_string(number("text_cfg", "heads", 8));
  out["text_config.hidden_act"] = activation;
}

void add_statistics(const nlohmann::json& config, const char* mean, const char* std, const std::string& path,
                    Metadata& out) {
  for (const auto& [key, name] : {std::pair{mean, "image_mean"}, {std, "image_std"}}) {
    const auto list = config.find(key);
    if (list == config.end() || list->is_null()) continue;
    const bool any_sign = key == mean;
    const auto good = [any_sign](const nlohmann::json& v) {
      return v.is_number() && (any_sign || v.get<double>() > 0);
    };
    VITRAL_CHECK(list->is_array() && list->size() == 3 && std::all_of(list->begin(), list->end(), good),
                 "{}: {} must be three numbers, one a colour{}", path, key, any_sign ? "" : ", above 0");
    for (std::size_t i = 0; i < 3; ++i) out[fmt::format("{}.{}", name, i)] = (*list)[i].dump();
  }
}

// Weights, and what the files beside them say.
data::WeightsFile read_with_configuration(const std::string& path, data::TensorMemory memory) {
  data::WeightsFile weights = data::read_weights(path, memory);
  data::remove_shared_prefixes(weights.tensors, {"module.", "_orig_mod.", "model."});  // Lightning's
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path folder = fs::is_directory(path, ignored) ? fs::path(path) : fs::path(path).parent_path();
  const auto beside = [&](const char* name) {
    const std::string file = (folder / name).string();
    return fs::is_regular_file(file, ignored) ? file : std::string();
  };
  const bool openai = std::any_of(weights.tensors.begin(), weights.tensors.end(), [](const auto& entry) {
    return entry.first.starts_with("visual.") || entry.first == "class_embedding";
  });
  // Folders of the hub may hold both forms of the weights, each with a configuration of its own.
  const std::string open_clip = openai ? beside("open_clip_config.json") : "";
  if (!open_clip.empty()) {
    const auto config = read_config(open_clip);
    add_open_clip(config, open_clip, weights.metadata);
    if (const auto pixels = config.find("preprocess_cfg"); pixels != config.end() && pixels->is_object())
      add_statistics(*pixels, "mean", "std", open_clip, weights.metadata);
    return weights;
  }
  if (const std::string file = beside("config.json"); !file.empty())
    add_hugging_face(read_config(file), weights.metadata);
  if (const std::string file = beside("preprocessor_config.json"); !file.empty())
    add_statistics(read_config(file), "image_mean", "image_std", file, weights.metadata);
  return weights;
}

}  // namespace

data::WeightsFile read_clip_weights(const std::string& path, data::TensorMemory memory,
                                    const std::string& activation) {
  data::WeightsFile weights = read_with_configuration(path, memory);
  if (!activation.empty())
    for (const char* group : {"vision_config", "text_config"})
      weights.metadata[fmt::format("{}.hidden_act", group)] = activation;
  return weights;
}

}  // namespace vitral::models
