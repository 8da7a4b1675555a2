#include "models/hugging_face.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <vector>

#include "autograd/ops.h"

namespace vitral::models {
namespace {

// Theirs and ours, in the order of replacement; of two with one of ours the first is written.
constexpr Renaming clip_like_names[] = {{"embeddings.class_embedding", "class_embedding"},
                                        {"embeddings.patch_embedding.", "conv1."},
                                        {"embeddings.position_embedding.weight", "positional_embedding"},
                                        {"embeddings.token_embedding.", "token_embedding."},
                                        {"encoder.layers.", "transformer.resblocks."},
                                        {"encoder.layer.", "transformer.resblocks."},  // AltCLIP's
                                        {"pre_layrnorm.", "ln_pre."},                  // their spelling
                                        {"post_layernorm.", "ln_post."},
                                        {"final_layer_norm.", "ln_final."},
                                        {"layer_norm1.", "ln_1."},
                                        {"layer_norm2.", "ln_2."},
                                        {"self_attn.out_proj.", "attn.out_proj."},
                                        {"self_attn.q_proj.", "attn.q."},
                                        {"self_attn.k_proj.", "attn.k."},
                                        {"self_attn.v_proj.", "attn.v."},
                                        {"mlp.fc1.", "mlp.c_fc."},
                                        {"mlp.fc2.", "mlp.c_proj."}};

constexpr char stacked_parts[] = {'q', 'k', 'v'};

void replace_first(std::string& name, std::string_view what, std::string_view by) {
  if (const auto at = name.find(what); at != std::string::npos) name.replace(at, what.size(), by);
}

}  // namespace

std::string HuggingFaceConfig::text(const std::string& name, const std::string& otherwise) const {
  for (const std::string& full : {group_ + "." + name, name})
    if (const auto found = values_.find(full); found != values_.end()) return found->second;
  return otherwise;
}

double HuggingFaceConfig::number(const std::string& name, double otherwise) const {
  const std::string given = text(name, "");
  if (given.empty()) return otherwise;
  double value = 0;
  const auto [end, problem] = std::from_chars(given.data(), given.data() + given.size(), value);
  VITRAL_CHECK(problem == std::errc{} && end == given.data() + given.size() && std::isfinite(value),
               "{}: config.json: {} must be a number", where_, name);
  return value;
}

int HuggingFaceConfig::positive(const std::string& name, int otherwise) const {
  const double value = number(name, otherwise);
  VITRAL_CHECK(value >= 1 && value < 1 << 30 && value == std::floor(value),
               "{}: config.json: {} must be a whole number > 0", where_, name);
  return static_cast<int>(value);
}

bool HuggingFaceConfig::complete() const { return !text("model_type", "").empty(); }

std::string HuggingFaceConfig::activation(const std::string& otherwise) const {
  const std::string name = text("hidden_act", otherwise);
  if (name == "gelu_new") return "gelu_pytorch_tanh";
  VITRAL_CHECK(name == "gelu_pytorch_tanh" || name == "gelu" || name == "quick_gelu",
               "{}: config.json: hidden_act is none of gelu_pytorch_tanh, gelu_new, gelu and quick_gelu",
               where_);
  return name;
}

data::NamedTensors renamed(const data::NamedTensors& tensors, std::span<const Renaming> names,
                           const std::string& where) {
  data::NamedTensors out;
  std::map<std::string, std::map<char, Tensor>> stacks;  // by the name of the whole: the parts q, k, v
  for (const auto& [theirs, tensor] : tensors) {
    std::string name = theirs;
    for (const auto& [from, to] : names) replace_first(name, from, to);
    const std::size_t at = name.find(".attn.");
    constexpr std::size_t prefix = 6;  // of ".attn."
    if (at != std::string::npos && name.size() > at + prefix + 1 && name[at + prefix + 1] == '.') {
      const char part = name[at + prefix];
      name.replace(at + prefix, 2, "in_proj_");
      stacks[name][part] = tensor;
    } else {
      out.emplace_back(std::move(name), tensor);
    }
  }
  for (const auto& [name, parts] : stacks) {
    std::vector<Variable> rows;
    for (const char part : stacked_parts) {
      const auto found = parts.find(part);
      VITRAL_CHECK(found != parts.end(), "{}: has no part {} of '{}'; the file is incomplete", where, part,
                   name);
      rows.emplace_back(found->second.cast(parts.begin()->second.dtype()));
      VITRAL_CHECK(rows.back().shape() == rows.front().shape(),
                   "{}: the parts of '{}' have the shapes {} and {}; they must have one", where, name,
                   rows.front().shape(), rows.back().shape());
    }
    out.emplace_back(name, concat(rows, 0).value());
  }
  return out;
}

data::NamedTensors clip_like_part(const data::NamedTensors& tensors, std::string_view prefix,
                                  const std::string& where) {
  data::NamedTensors own, alone;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with("position_ids")) continue;
    if (name.starts_with(prefix))
      own.emplace_back(name.substr(prefix.size()), tensor);
    else if (name.starts_with("embeddings.") || name.starts_with("encoder.") || name.starts_with("head.") ||
             name.starts_with("pre_layrnorm.") || name.starts_with("post_layernorm.") ||
             name.starts_with("final_layer_norm."))
      alone.emplace_back(name, tensor);
  }
  return renamed(own.empty() ? alone : own, clip_like_names, where);
}

data::NamedTensors as_clip_like_part(const data::NamedTensors& state, std::string_view prefix) {
  constexpr std::string_view stack = ".attn.in_proj_";
  data::NamedTensors out;
  const auto add = [&](std::string name, const Tensor& tensor) {
    for (const auto& [theirs, ours] : clip_like_names) replace_first(name, ours, theirs);
    out.emplace_back(name.insert(0, prefix), tensor);
  };
  for (const auto& [name, tensor] : state) {
    const std::size_t at = name.find(stack);
    if (at == std::string::npos) {
      add(name, tensor);
      continue;
    }
    std::int64_t row = 0;
    for (const char part : stacked_parts) {
      const std::int64_t end = row + tensor.dim(0) / 3;
      add(fmt::format("{}.attn.{}.{}", name.substr(0, at), part, name.substr(at + stack.size())),
          tensor.rows(row, end));
      row = end;
    }
  }
  return out;
}

const Tensor& required_weights(const data::NamedTensors& tensors, std::string_view name, int rank,
                               std::string_view tower, const std::string& where) {
  for (const auto& [n, tensor] : tensors) {
    if (n != name) continue;
    VITRAL_CHECK(tensor.rank() == rank && tensor.numel() > 0,
                 "{}: weights '{}' {} are not those of a {} tower", where, name, tensor.shape(), tower);
    return tensor;
  }
  throw_error<UsageError>("{}: holds no {} tower: it has no weights '{}'", where, tower, name);
}

nn::BlockConfig block_config(const data::NamedTensors& tensors, const HuggingFaceConfig& config,
                             std::int64_t width, const nn::BlockConfig& usual, std::string_view tower,
                             const std::string& where) {
  const std::string said = config.text("hidden_size", "");
  VITRAL_CHECK(said.empty() || said == std::to_string(width),
               "{}: the configuration beside it says that hidden_size of the {} tower is {}, the tensors are "
               "{} wide; it belongs to other weights, keep these in a folder of their own",
               where, tower, said, width);
  const bool usual_heads = config.complete() && usual.heads > 0 && width % usual.heads == 0;
  const std::int64_t otherwise = usual_heads ? usual.heads : std::max<std::int64_t>(1, width / 64);
  const int heads = config.positive("num_attention_heads", static_cast<int>(otherwise));
  VITRAL_CHECK(usual_heads || width % 64 == 0 || !config.text("num_attention_heads", "").empty(),
               "{}: a width of {} is no multiple of the usual head size 64; say how many heads there are",
               where, width);
  VITRAL_CHECK(width % heads == 0, "{}: {} heads do not divide the width {}", where, heads, width);
  const std::int64_t hidden =
      required_weights(tensors, "transformer.resblocks.0.mlp.c_fc.weight", 2, tower, where).dim(0);
  nn::BlockConfig c = usual;
  c.width = width;
  c.heads = heads;
  c.mlp = config.activation(usual.mlp);
  c.mlp_ratio = static_cast<double>(hidden) / static_cast<double>(width);
  c.eps = config.number("layer_norm_eps", usual.eps);
  return c;
}

int count_layers(const data::NamedTensors& tensors, std::string_view tower, const std::string& where) {
  int layers = 0;
  const auto there = [&](int layer) {
    const std::string name = fmt::format("transformer.resblocks.{}.ln_1.weight", layer);
    for (const auto& entry : tensors)
      if (entry.first == name) return true;
    return false;
  };
  while (there(layers)) ++layers;
  VITRAL_CHECK(layers > 0, "{}: holds no {} tower: it has no layers", where, tower);
  return layers;
}

int square_side(std::int64_t count, std::string_view tower, const std::string& where) {
  const std::int64_t side = std::llround(std::sqrt(static_cast<double>(count)));
  VITRAL_CHECK(side > 0 && side < 1 << 14 && side * side == count,
               "{}: the {} tower has {} positions, which make no square", where, tower, count);
  return static_cast<int>(side);
}

}  // namespace vitral::models
