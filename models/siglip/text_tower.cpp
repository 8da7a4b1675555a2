#include "models/siglip/text_tower.h"

#include "models/hugging_face.h"

namespace vitral::models {
namespace {
constexpr std::string_view tower_name = "SigLIP text";
}  // namespace

TextTowerConfig siglip_text_config() {
  return {.context = 64,
          .vocabulary = 32000,
          .block = {.width = 768, .heads = 12, .mlp = "gelu_pytorch_tanh", .eps = 1e-6},
          .layers = 12,
          .embedding = 768};
}

SiglipTextTower::SiglipTextTower(const TextTowerConfig& config, std::uint64_t seed)
    : SiglipTextTower(config, Random(seed, 0x5AU)) {}

SiglipTextTower::SiglipTextTower(const TextTowerConfig& c, Random random)
    : TextTower(c, tower_name),
      positional_embedding_(
          parameter("positional_embedding", nn::normal({c.context, c.block.width}, 0.01, random))),
      token_embedding_(
          parameter("token_embedding.weight", nn::normal({c.vocabulary, c.block.width}, 0.02, random))),
      transformer_(child<nn::Transformer>("transformer", c.layers, c.block, random)),
      ln_final_(child<nn::LayerNorm>("ln_final", c.block.width, c.block.eps)),
      head_(child<nn::Linear>("head", c.block.width, c.embedding, random)) {}

Variable SiglipTextTower::forward(const Tensor& tokens) const {
  const std::int64_t l = config().context;
  VITRAL_CHECK(
      tokens.rank() == 2 && tokens.dtype() == DType::int64 && tokens.dim(0) > 0 && tokens.dim(1) == l,
      "SigLIP text tower: tokens {} {} must be int64 [T, {}]", tokens.dtype(), tokens.shape(), l);
  const Variable x = transformer_(add(embedding(token_embedding_, tokens), positional_embedding_));
  return head_(ln_final_(reshape(slice(x, 1, l - 1, l), {x.dim(0), x.dim(2)})));
}

std::unique_ptr<TextTower> load_siglip_text(const data::NamedTensors& tensors, const Metadata& config,
                                            const std::string& where) {
  const data::NamedTensors state = clip_like_part(tensors, "text_model.", where);
  const auto need = [&](std::string_view name) {
    return required_weights(state, name, 2, tower_name, where).shape();
  };
  const Shape table = need("token_embedding.weight"), position = need("positional_embedding"),
              head = need("head.weight");
  TextTowerConfig c = siglip_text_config();
  c.context = static_cast<int>(position[0]);
  c.vocabulary = static_cast<int>(table[0]);
  c.embedding = static_cast<int>(head[0]);
  c.layers = count_layers(state, tower_name, where);
  c.block = block_config(state, HuggingFaceConfig(config, "text_config", where), table[1], c.block,
                         tower_name, where);
  return tower_of<SiglipTextTower>(c, state, where);
}

}  // namespace vitral::models
