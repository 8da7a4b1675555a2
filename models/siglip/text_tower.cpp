#include "models/siglip/text_tower.h"

#include "models/siglip/names.h"
#include "models/token_embedding.h"

namespace vitral::models {
namespace {
constexpr std::string_view tower_name = "SigLIP text";
}  // namespace

SiglipTextTower::SiglipTextTower(const SiglipTextConfig& config, std::uint64_t seed)
    : SiglipTextTower(config, Random(seed, 0x5AU)) {}

SiglipTextTower::SiglipTextTower(const SiglipTextConfig& c, Random random)
    : config_(c),
      positional_embedding_(
          parameter("positional_embedding", nn::normal({c.context, c.block.width}, 0.01, random))),
      token_embedding_(
          parameter("token_embedding.weight", nn::normal({c.vocabulary, c.block.width}, 0.02, random))),
      transformer_(child<nn::Transformer>("transformer", c.layers, c.block, random)),
      ln_final_(child<nn::LayerNorm>("ln_final", c.block.width, c.block.eps)),
      head_(child<nn::Linear>("head", c.block.width, c.embedding, random)) {}

Variable SiglipTextTower::forward(const Tensor& tokens) const {
  const std::int64_t l = config_.context;
  VITRAL_CHECK(
      tokens.rank() == 2 && tokens.dtype() == DType::int64 && tokens.dim(0) > 0 && tokens.dim(1) == l,
      "SigLIP text tower: tokens {} {} must be int64 [T, {}]", tokens.dtype(), tokens.shape(), l);
  const Variable x = transformer_(
      add(embedded_tokens(token_embedding_, tokens, "SigLIP text tower"), positional_embedding_));
  return head_(ln_final_(reshape(slice(x, 1, l - 1, l), {x.dim(0), x.dim(2)})));
}

std::unique_ptr<SiglipTextTower> load_siglip_text(const data::NamedTensors& tensors,
                                                  const std::map<std::string, std::string>& config,
                                                  const std::string& where) {
  const data::NamedTensors state = siglip_part(tensors, "text_model.", where);
  const auto need = [&](std::string_view name) {
    return required_weights(state, name, 2, tower_name, where).shape();
  };
  const Shape table = need("token_embedding.weight"), position = need("positional_embedding"),
              head = need("head.weight");
  SiglipTextConfig c;
  c.context = static_cast<int>(position[0]);
  c.vocabulary = static_cast<int>(table[0]);
  c.embedding = static_cast<int>(head[0]);
  c.layers = count_layers(state, tower_name, where);
  c.block = siglip_block(state, HuggingFaceConfig(config, "text_config", where), table[1], tower_name, where);
  const nn::NoInit no_init;
  auto tower = std::make_unique<SiglipTextTower>(c);
  tower->share_state(state, where);
  return tower;
}

}  // namespace vitral::models
