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

const std::vector<Foreign>& foreign() {
  static const std::vector<Foreign> table{
      {"vision_cfg", "timm_model_name", {nullptr, ""}},
      {"vision_cfg", "attentional_pool", {nullptr, false}},
      {"vision_cfg", "pool_type", {"tok"}},
      {"vision_cfg", "no_ln_pre", {false}},
      {"vision_cfg", "final_ln_after_pool", {false}},
      {"vision_cfg", "ls_init_value", {nullptr}},
      {"text_cfg", "hf_model_name", {nullptr, ""}},
      {"text_cfg", "hf_tokenizer_name", {nullptr, ""}},
      {"text_cfg", "tokenizer_kwargs", {nullptr, nlohmann::json::object()}},
      {"text_cfg", "embed_cls", {false}},
      {"text_cfg", "no_causal_mask", {false}},
      {"text_cfg", "pool_type", {"argmax"}},
      {"text_cfg", "final_ln_after_pool", {false}}};
  return table;
}

// model_cfg of open_clip_config.json, after open_clip 3.3, src/open_clip/model.py: CLIPVisionCfg, CLIPTextCfg
// and their defaults.
class OpenClipModel {
 public:
  OpenClipModel(const nlohmann::json& model, const std::string& path, Checkpoint& out)
      : model_(model), path_(path), out_(out) {}

  void add() {
    for (const auto& [section, key, harmless] : foreign())
      if (const auto* value = find(section, key);
          value && std::find(harmless.begin(), harmless.end(), *value) == harmless.end())
        refuse(section, key, *value);
    if (const auto* layers = find("vision_cfg", "layers"); layers && layers->is_array())  // a ResNet's
      refuse("vision_cfg", "layers", *layers);
    const std::int64_t width = number("vision_cfg", "width", 768);
    add_tower("vision_config", "vision_cfg", width, width / number("vision_cfg", "head_width", 64));
    add_tower("text_config", "text_cfg", number("text_cfg", "width", 512), number("text_cfg", "heads", 8));
  }

 private:
  // Null where the configuration says nothing of it.
  const nlohmann::json* find(const char* section, const char* key) const {
    const auto part = model_.find(section);
    if (part == model_.end() || !part->is_object()) return nullptr;
    const auto value = part->find(key);
    return value == part->end() ? nullptr : &*value;
  }

  std::int64_t number(const char* section, const char* key, std::int64_t otherwise) const {
    const auto* value = find(section, key);
    VITRAL_CHECK(!value || (value->is_number_integer() && value->get<std::int64_t>() > 0),
                 "{}: model_cfg.{}.{} must be a whole number > 0", path_, section, key);
    return value ? value->get<std::int64_t>() : otherwise;
  }

  // An image tower of another kind is nothing to embed images with, whatever its texts are.
  void refuse(const std::string& section, const std::string& key, const nlohmann::json& value) {
    const std::string what =
        fmt::format("{}: {}.{} is {}, which is not supported; ", path_, section, key, value.dump());
    if (section == "vision_cfg")
      throw UsageError(what +
                       "of open_clip's models the plain vision transformers of CLIP are (ViT-B-32, ViT-L-14, "
                       "ViT-H-14, ...)");
    if (out_.text_problem.empty()) out_.text_problem = what + "its images can be embedded, its texts cannot";
  }

  std::string activation(const char* section) {
    const bool quick = model_.value("quick_gelu", nlohmann::json()) == true;
    const auto* more = find(section, "act_kwargs");
    if (!more || more->is_null() || more->empty()) return quick ? "quick_gelu" : "gelu";
    if (!quick && *more == nlohmann::json{{"approximate", "tanh"}}) return "gelu_pytorch_tanh";
    refuse(section, "act_kwargs", *more);
    return "gelu";
  }

  void add_tower(const std::string& group, const char* section, std::int64_t width, std::int64_t heads) {
    out_.config[group + ".hidden_size"] = std::to_string(width);
    out_.config[group + ".num_attention_heads"] = std::to_string(heads);
    out_.config[group + ".hidden_act"] = activation(section);
    const auto* norm = find(section, "norm_kwargs");
    if (!norm || norm->is_null() || norm->empty()) return;
    if (norm->is_object() && norm->size() == 1 && norm->contains("eps") && norm->at("eps").is_number())
      out_.config[group + ".layer_norm_eps"] = norm->at("eps").dump();
    else
      refuse(section, "norm_kwargs", *norm);
  }

  const nlohmann::json& model_;
  const std::string& path_;
  Checkpoint& out_;
};

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
    if (const auto model = config.find("model_cfg"); model != config.end() && model->is_object())
      OpenClipModel(*model, file, out).add();
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
