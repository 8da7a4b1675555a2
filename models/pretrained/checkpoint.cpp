#include "models/pretrained/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/files/json_file.h"
#include "base/text.h"
#include "data/weights/checkpoint_files.h"
#include "data/weights/weights.h"
#include "models/clip/config.h"

namespace vitral::models {
namespace {

namespace fs = std::filesystem;

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

// What is trained here has QuickGELU.
void add_trained(const ClipConfig& config, Metadata& out) {
  const auto add = [&](const std::string& group, const ClipTowerShape& shape) {
    out[group + ".hidden_size"] = std::to_string(shape.width);
    out[group + ".num_attention_heads"] = std::to_string(shape.heads);
    out[group + ".hidden_act"] = "quick_gelu";
  };
  add("vision_config", config.vision);
  add("text_config", config.text);
}

// Each name on its own: beside a wrapped tower a file may hold others, such as the decoder of CLIPSeg.
void remove_prefixes(data::NamedTensors& tensors, const std::string& where) {
  std::unordered_map<std::string, std::string> before;
  for (auto& [name, tensor] : tensors) {
    const std::string whole = name;
    for (bool again = true; again;) {
      again = false;
      for (const std::string_view prefix : {"module.", "_orig_mod.", "model.", "clip.", "text."}) {
        if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
        name.erase(0, prefix.size());
        again = true;
      }
    }
    const auto [other, added] = before.emplace(name, whole);
    VITRAL_CHECK(added, "{}: '{}' and '{}' are the same weights of two models; save one of them alone", where,
                 shown(other->second), shown(whole));
  }
}

void read_preprocessor(const std::string& nested, const std::string& file, Checkpoint& out) {
  // Since transformers 5 a processor has its parts in one file, which goes first there, too.
  if (!nested.empty()) {
    const auto config = read_json_object(nested);
    if (const auto part = config.find("image_processor"); part != config.end() && part->is_object()) {
      out.preprocessing = parse_image_processor(*part, nested);
      return;
    }
  }
  if (!file.empty()) out.preprocessing = parse_image_processor(read_json_object(file), file);
}

}  // namespace

Checkpoint read_checkpoint(const std::string& path, data::TensorMemory memory) {
  data::WeightsFile weights = data::read_weights(path, memory, data::OtherTypes::leave_out);
  Checkpoint out;
  out.path = path;
  out.file = std::move(weights.file);
  out.folder = data::weights_folder(path);
  out.tensors = std::move(weights.tensors);
  out.config = std::move(weights.metadata);
  remove_prefixes(out.tensors, path);
  out.vocabulary = data::run_folder_of(out.folder).value_or(out.folder);
  if (const auto trained = clip_config_from_metadata(out.config, path)) {
    out.model_type = "clip";
    add_trained(*trained, out.config);
    return out;
  }

  const auto beside = [&](const char* name) {
    const std::string file = (fs::path(out.folder) / name).string();
    std::error_code ignored;
    return fs::is_regular_file(file, ignored) ? file : std::string();
  };
  const bool openai = std::any_of(out.tensors.begin(), out.tensors.end(), [](const auto& entry) {
    return entry.first.starts_with("visual.") || entry.first == "class_embedding";
  });
  // Folders of the hub may hold both forms of the weights, each with a configuration of its own.
  if (const std::string file = openai ? beside("open_clip_config.json") : ""; !file.empty()) {
    const auto config = read_json_object(file);
    out.model_type = "open_clip";
    add_open_clip(config, file, out.config);
    if (const auto pixels = config.find("preprocess_cfg"); pixels != config.end() && pixels->is_object())
      out.preprocessing = parse_preprocess_cfg(*pixels, file);
    return out;
  }
  if (const std::string file = beside("config.json"); !file.empty()) {
    const auto config = read_json_object(file);
    add_hugging_face(config, out.config);
    if (const auto type = config.find("model_type"); type != config.end() && type->is_string())
      out.model_type = *type;
  }
  read_preprocessor(beside("processor_config.json"), beside("preprocessor_config.json"), out);
  return out;
}

}  // namespace vitral::models
