#include "models/siglip/names.h"

#include <algorithm>

namespace vitral::models {
namespace {

constexpr Renaming names[] = {{"embeddings.patch_embedding.", "conv1."},
                              {"embeddings.position_embedding.weight", "positional_embedding"},
                              {"embeddings.token_embedding.", "token_embedding."},
                              {"encoder.layers.", "transformer.resblocks."},
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

}  // namespace

data::NamedTensors siglip_part(const data::NamedTensors& tensors, std::string_view prefix,
                               const std::string& where) {
  data::NamedTensors own, alone;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with("position_ids")) continue;
    if (name.starts_with(prefix))
      own.emplace_back(name.substr(prefix.size()), tensor);
    else if (!name.starts_with("vision_model.") && !name.starts_with("text_model.") &&
             name != "logit_scale" && name != "logit_bias")
      alone.emplace_back(name, tensor);
  }
  return renamed(own.empty() ? alone : own, names, where);
}

nn::BlockConfig siglip_block(const data::NamedTensors& state, const HuggingFaceConfig& config,
                             std::int64_t width, std::string_view tower, const std::string& where) {
  const std::int64_t hidden =
      required_weights(state, "transformer.resblocks.0.mlp.c_fc.weight", 2, tower, where).dim(0);
  nn::BlockConfig c;
  c.width = width;
  c.heads = config.positive("num_attention_heads", static_cast<int>(std::max<std::int64_t>(1, width / 64)));
  VITRAL_CHECK(width % c.heads == 0, "{}: {} heads do not divide the width {}", where, c.heads, width);
  c.activation = config.activation("gelu_pytorch_tanh");
  c.mlp_ratio = static_cast<double>(hidden) / static_cast<double>(width);
  c.eps = config.number("layer_norm_eps", 1e-6);
  return c;
}

}  // namespace vitral::models
