#include "models/clip/state.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace vitral::models {
namespace {

using Given = std::unordered_map<std::string, Tensor>;

bool take_prefix(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  return true;
}

Tensor transposed(const Tensor& t, const std::string& where, const std::string& name) {
  VITRAL_CHECK(t.rank() == 2, "{}: weights '{}' {} must be a matrix", where, name, t.shape());
  return permute(Variable(t.cast(DType::float32)), {1, 0}).value();
}

// One under the other, as torch.nn.MultiheadAttention stacks them.
Tensor stacked(const std::vector<Tensor>& parts) {
  std::vector<Variable> all;
  all.reserve(parts.size());
  for (const auto& t : parts) all.emplace_back(t.cast(DType::float32));
  return concat(all, 0).value();
}

// What stands in a layer of Hugging Face's towers -> what the module calls it.
constexpr std::pair<std::string_view, std::string_view> layer_names[] = {
    {"self_attn.out_proj.", "attn.out_proj."},
    {"layer_norm1.", "ln_1."},
    {"layer_norm2.", "ln_2."},
    {"mlp.fc1.", "mlp.c_fc."},
    {"mlp.fc2.", "mlp.c_proj."}};

struct Tower {
  std::string_view prefix;      // "vision_model."
  std::string_view projection;  // of the whole file: "visual_projection.weight"
  std::string_view projection_name;
  std::vector<std::pair<std::string_view, std::string_view>> names;
};

const Tower vision{"vision_model.",
                   "visual_projection.weight",
                   "proj",
                   {{"embeddings.class_embedding", "class_embedding"},
                    {"embeddings.patch_embedding.weight", "conv1.weight"},
                    {"embeddings.position_embedding.weight", "positional_embedding"},
                    {"pre_layrnorm.weight", "ln_pre.weight"},  // their spelling
                    {"pre_layrnorm.bias", "ln_pre.bias"},
                    {"post_layernorm.weight", "ln_post.weight"},
                    {"post_layernorm.bias", "ln_post.bias"}}};
const Tower text{"text_model.",
                 "text_projection.weight",
                 "text_projection",
                 {{"embeddings.token_embedding.weight", "token_embedding.weight"},
                  {"embeddings.position_embedding.weight", "positional_embedding"},
                  {"final_layer_norm.weight", "ln_final.weight"},
                  {"final_layer_norm.bias", "ln_final.bias"}}};

// q, k and v of "…self_attn.q_proj.weight", where `name` is q's; nothing for the names of the other two.
std::optional<Tensor> stack_of(std::string_view name, const std::string& full, const Given& given,
                               const std::string& where) {
  if (name != "self_attn.q_proj.weight" && name != "self_attn.q_proj.bias") return {};
  std::vector<Tensor> parts;
  for (const char part : {'q', 'k', 'v'}) {
    std::string wanted = full;
    wanted[full.rfind("q_proj")] = part;
    const auto found = given.find(wanted);
    VITRAL_CHECK(found != given.end(), "{}: has no weights '{}'; the file is incomplete", where, wanted);
    VITRAL_CHECK(parts.empty() || found->second.shape() == parts[0].shape(),
                 "{}: weights '{}' {} must have the shape {} of q_proj", where, wanted, found->second.shape(),
                 parts.empty() ? Shape{} : parts[0].shape());
    parts.push_back(found->second);
  }
  return stacked(parts);
}

State from_hugging_face(const State& state, const Tower& tower, const Given& given,
                        const std::string& where) {
  State out;
  for (const auto& [full, tensor] : state) {
    std::string_view name = full;
    if (name == tower.projection) {
      out.emplace_back(tower.projection_name, transposed(tensor, where, full));
      continue;
    }
    if (!take_prefix(name, tower.prefix) || name.ends_with("position_ids")) continue;
    if (take_prefix(name, "encoder.layers.") || take_prefix(name, "encoder.layer.")) {
      const std::size_t dot = name.find('.');
      const std::string block = "transformer.resblocks." + std::string(name.substr(0, dot)) + ".";
      name.remove_prefix(dot == std::string_view::npos ? name.size() : dot + 1);
      if (name.starts_with("self_attn.k_proj.") || name.starts_with("self_attn.v_proj.")) continue;
      if (const auto stack = stack_of(name, full, given, where)) {
        out.emplace_back(block + (name.ends_with("bias") ? "attn.in_proj_bias" : "attn.in_proj_weight"),
                         *stack);
        continue;
      }
      std::string renamed(name);
      for (const auto& [theirs, ours] : layer_names)
        if (take_prefix(name, theirs)) renamed = std::string(ours) + std::string(name);
      out.emplace_back(block + renamed, tensor);
      continue;
    }
    std::string renamed(name);
    for (const auto& [theirs, ours] : tower.names)
      if (name == theirs) renamed = ours;
    out.emplace_back(renamed, tensor);
  }
  return out;
}

bool no_part_of_a_tower(std::string_view name) {
  return name == "logit_scale" || name == "logit_bias" || name == "input_resolution" ||
         name == "context_length" || name == "vocab_size" || name == "attn_mask";
}

const Tensor* find(const State& state, std::string_view name) {
  for (const auto& [n, tensor] : state)
    if (n == name) return &tensor;
  return nullptr;
}

const Tensor& required(const State& state, std::string_view name, int rank, const char* tower,
                       const std::string& where) {
  const Tensor* t = find(state, name);
  VITRAL_CHECK(t, "{}: holds no CLIP {} tower: it has no weights '{}'", where, tower, name);
  VITRAL_CHECK(t->rank() == rank && t->numel() > 0, "{}: weights '{}' {} are not those of a CLIP {} tower",
               where, name, t->shape(), tower);
  return *t;
}

int layers_of(const State& state) {
  int layers = 0;
  while (find(state, fmt::format("transformer.resblocks.{}.ln_1.weight", layers))) ++layers;
  return layers;
}

int heads_of(std::int64_t width, const Metadata& metadata, const std::string& group, int heads,
             const std::string& where) {
  if (const auto found = metadata.find(group + ".num_attention_heads");
      heads == 0 && found != metadata.end()) {
    const auto& text = found->second;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), heads);
    VITRAL_CHECK(problem == std::errc{} && end == text.data() + text.size() && heads > 0,
                 "{}: config.json: {}.num_attention_heads must be a whole number > 0", where, group);
  }
  if (const auto found = metadata.find(group + ".hidden_size"); found != metadata.end())
    VITRAL_CHECK(
        found->second == std::to_string(width),
        "{}: the configuration beside it says that {}.hidden_size is {}, the tensors are {} wide; it "
        "belongs to other weights, keep these in a folder of their own",
        where, group, found->second, width);
  if (heads == 0) {
    VITRAL_CHECK(width % 64 == 0,
                 "{}: a width of {} is no multiple of CLIP's head size 64; say how many heads there are",
                 where, width);
    heads = static_cast<int>(width / 64);
  }
  VITRAL_CHECK(width % heads == 0, "{}: {} heads do not divide the width {}", where, heads, width);
  return heads;
}

nn::Activation activation_of(const Metadata& metadata, const std::string& group, const std::string& where) {
  const auto found = metadata.find(group + ".hidden_act");
  if (found == metadata.end() || found->second == "quick_gelu") return nn::Activation::quick_gelu;
  VITRAL_CHECK(found->second == "gelu", "{}: config.json: {}.hidden_act is none of quick_gelu and gelu",
               where, group);
  return nn::Activation::gelu_erf;
}

}  // namespace

ClipState split_clip_state(const State& state, const std::string& where) {
  Given given;
  bool hugging_face = false, openai = false, image_alone = false;
  for (const auto& [name, tensor] : state) {
    given.emplace(name, tensor);
    hugging_face = hugging_face || name.starts_with("vision_model.") || name.starts_with("text_model.");
    openai = openai || name.starts_with("visual.") || name == "token_embedding.weight";
    image_alone = image_alone || name == "class_embedding";
  }
  if (hugging_face)
    return {from_hugging_face(state, vision, given, where), from_hugging_face(state, text, given, where)};
  if (image_alone && !openai) return {state, {}};
  VITRAL_CHECK(
      openai,
      "{}: these are not CLIP's weights; give a Hugging Face folder, or a .safetensors or .pt file with "
      "CLIP's tensors",
      where);
  ClipState out;
  for (const auto& [full, tensor] : state) {
    std::string_view name = full;
    if (take_prefix(name, "visual."))
      out.image.emplace_back(name, tensor);
    else if (!no_part_of_a_tower(name))
      out.text.emplace_back(name, tensor);
  }
  return out;
}

ClipImageConfig infer_clip_image_config(const State& image, const Metadata& metadata,
                                        const std::string& where, int heads) {
  const Shape conv = required(image, "conv1.weight", 4, "image", where).shape(),
              position = required(image, "positional_embedding", 2, "image", where).shape(),
              proj = required(image, "proj", 2, "image", where).shape();
  const auto grid = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(position[0] - 1))));
  VITRAL_CHECK(grid > 0 && grid * grid + 1 == position[0] && conv[1] == 3 && conv[2] == conv[3] &&
                   position[1] == conv[0] && proj[0] == conv[0],
               "{}: conv1.weight {}, positional_embedding {} and proj {} do not fit each other", where, conv,
               position, proj);
  VITRAL_CHECK(conv[0] < 1 << 20 && conv[2] <= 1 << 14 && grid * conv[2] <= 1 << 14 && proj[1] < 1 << 20,
               "{}: a CLIP image tower for images of {} pixels is too large", where, grid * conv[2]);
  ClipImageConfig c;
  c.patch_size = static_cast<int>(conv[2]);
  c.image_size = static_cast<int>(grid * conv[2]);
  c.width = static_cast<int>(conv[0]);
  c.layers = layers_of(image);
  c.heads = heads_of(conv[0], metadata, "vision_config", heads, where);
  c.embedding = static_cast<int>(proj[1]);
  c.activation = activation_of(metadata, "vision_config", where);
  VITRAL_CHECK(c.layers > 0, "{}: holds no CLIP image tower: it has no layers", where);
  return c;
}

ClipTextConfig infer_clip_text_config(const State& text_state, const Metadata& metadata,
                                      const std::string& where, int heads) {
  const Shape table = required(text_state, "token_embedding.weight", 2, "text", where).shape(),
              position = required(text_state, "positional_embedding", 2, "text", where).shape(),
              proj = required(text_state, "text_projection", 2, "text", where).shape();
  VITRAL_CHECK(
      position[1] == table[1] && proj[0] == table[1],
      "{}: token_embedding.weight {}, positional_embedding {} and text_projection {} do not fit each other",
      where, table, position, proj);
  VITRAL_CHECK(table[0] < 1 << 30 && table[1] < 1 << 20 && position[0] < 1 << 20 && proj[1] < 1 << 20,
               "{}: a CLIP text tower with a token embedding of {} is too large", where, table);
  ClipTextConfig c;
  c.context = static_cast<int>(position[0]);
  c.vocabulary = static_cast<int>(table[0]);
  c.width = static_cast<int>(table[1]);
  c.layers = layers_of(text_state);
  c.heads = heads_of(table[1], metadata, "text_config", heads, where);
  c.embedding = static_cast<int>(proj[1]);
  c.activation = activation_of(metadata, "text_config", where);
  VITRAL_CHECK(c.layers > 0, "{}: holds no CLIP text tower: it has no layers", where);
  return c;
}

std::unique_ptr<ClipImageTower> load_clip_image(const State& state, const Metadata& metadata,
                                                const std::string& where, int heads) {
  const State image = split_clip_state(state, where).image;
  const nn::NoInit no_init;
  auto tower = std::make_unique<ClipImageTower>(infer_clip_image_config(image, metadata, where, heads));
  tower->share_state(image, where);
  return tower;
}

std::unique_ptr<ClipTextTower> load_clip_text(const State& state, const Metadata& metadata,
                                              const std::string& where, int heads) {
  const State text_state = split_clip_state(state, where).text;
  const nn::NoInit no_init;
  auto tower = std::make_unique<ClipTextTower>(infer_clip_text_config(text_state, metadata, where, heads));
  tower->share_state(text_state, where);
  return tower;
}

}  // namespace vitral::models
