#include "models/pretrained/to_transformers.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "models/clip/names.h"
#include "models/pretrained/families.h"
#include "nn/mlp.h"

namespace vitral::models {
namespace {

using json = nlohmann::ordered_json;

template <class Config>
json tower_config(const char* type, const Config& c) {
  return {{"model_type", type},
          {"hidden_size", c.block.width},
          {"intermediate_size", nn::hidden_width(c.block.width, c.block.mlp_ratio, c.block.mlp)},
          {"num_hidden_layers", c.layers},
          {"num_attention_heads", c.block.heads},
          {"hidden_act", c.block.mlp},
          {"layer_norm_eps", c.block.eps},
          {"projection_dim", c.embedding}};
}

// The text's embedding is taken at the first eos_token_id; one of 2 would mean the greatest token instead.
json model_config(const ImageTowerConfig& image, const TextTowerConfig& text, DType dtype) {
  json vision_config = tower_config("clip_vision_model", image),
       text_config = tower_config("clip_text_model", text);
  vision_config.update({{"image_size", image.image_size}, {"patch_size", image.patch_size}});
  text_config.update({{"vocab_size", text.vocabulary},
                      {"max_position_embeddings", text.context},
                      {"bos_token_id", text.vocabulary - 2},
                      {"eos_token_id", text.vocabulary - 1},
                      {"pad_token_id", text.vocabulary - 1}});
  return {{"architectures", {"CLIPModel"}},    {"model_type", "clip"},
          {"projection_dim", image.embedding}, {"logit_scale_init_value", 2.6592},
          {"torch_dtype", name(dtype)},        {"text_config", text_config},
          {"vision_config", vision_config}};
}

const Tensor* find(const data::NamedTensors& tensors, std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &data::NamedTensors::value_type::first);
  return found == tensors.end() ? nullptr : &found->second;
}

// That of all of them; float32 where they differ, as in OpenAI's archives.
DType dtype_of_all(const data::NamedTensors& tensors) {
  const DType first = tensors.front().second.dtype();
  const bool same =
      std::ranges::all_of(tensors, [&](const auto& entry) { return entry.second.dtype() == first; });
  return same ? first : DType::float32;
}

}  // namespace

TransformersClip to_transformers(const Checkpoint& checkpoint, const TowerChoices& image_choices,
                                 const TowerChoices& text_choices) {
  const std::string& where = checkpoint.path;
  const Family& family = family_of(checkpoint);
  VITRAL_CHECK(family.name == "CLIP", "{}: is {}; a folder for transformers is made of a CLIP", where,
               family.name);
  const data::NamedTensors image_part = clip_image_part(checkpoint.tensors, where),
                           text_part = clip_text_part(checkpoint.tensors, where);
  for (const auto& [tower, there] : {std::pair("image", find(image_part, "conv1.weight")),
                                     std::pair("text", find(text_part, "token_embedding.weight"))})
    VITRAL_CHECK(there, "{}: has no {} tower; a folder for transformers is made of both towers of a CLIP",
                 where, tower);
  const Metadata image_config = with_choices(checkpoint.config, "vision_config", image_choices),
                 text_config = with_choices(checkpoint.config, "text_config", text_choices);
  const ImageTowerConfig image = family.image(checkpoint.tensors, image_config, where, 0)->config();
  const TextTowerConfig text = text_tower_of(family, checkpoint, text_config)->config();
  VITRAL_CHECK(image.embedding == text.embedding,
               "{}: the embeddings of its images are {} wide, those of its texts {}; they must share a space",
               where, image.embedding, text.embedding);
  const Tensor* scale = find(checkpoint.tensors, "logit_scale");
  VITRAL_CHECK(scale && scale->numel() == 1,
               "{}: has no 'logit_scale' of one number, the temperature that a CLIP learns", where);

  TransformersClip out;
  out.tensors = clip_in_transformers(image_part, text_part);
  out.tensors.emplace_back("logit_scale", scale->reshape(Shape()));            // some have [1]
  std::ranges::sort(out.tensors, {}, &data::NamedTensors::value_type::first);  // whatever the source's order
  out.config = model_config(image, text, dtype_of_all(out.tensors)).dump(2) + '\n';
  out.preprocessor = format_image_processor(checkpoint.preprocessing, image.image_size);
  out.text = text;
  out.image_guessed =
      guessed_of(checkpoint.tensors, image_config, "vision_config", family.usual, image.block);
  out.text_guessed = guessed_of(checkpoint.tensors, text_config, "text_config", family.usual, text.block);
  return out;
}

}  // namespace vitral::models
