#include "models/clip/clip.h"

#include <algorithm>
#include <cmath>

#include "models/pretrained/checkpoint.h"
#include "models/pretrained/tower_choices.h"

namespace vitral::models {
namespace {

const double first_logit_scale = std::log(1 / 0.07);

// Of the text tower's blocks, which openai/CLIP draws otherwise than PyTorch's layers do; its image tower has
// the layers' own.
void draw_blocks(const ClipTextTower& text, Random random) {
  const auto width = static_cast<double>(text.config().block.width);
  const double attention = 1 / std::sqrt(width),
               projection = attention / std::sqrt(2.0 * text.config().layers),
               hidden = 1 / std::sqrt(2 * width);
  const std::pair<std::string_view, double> stds[] = {{".attn.in_proj_weight", attention},
                                                      {".attn.out_proj.weight", projection},
                                                      {".mlp.c_fc.weight", hidden},
                                                      {".mlp.c_proj.weight", projection}};
  for (const auto& p : text.parameters())
    for (const auto& [name, std] : stds)
      if (p.name.ends_with(name)) p.value->copy_from(nn::normal(p.value->shape(), std, random));
}

template <class TowerConfig>
void require_usual_blocks(const TowerConfig& c, const char* tower, const std::string& where) {
  VITRAL_CHECK(c.block.mlp == "quick_gelu" && c.block.hidden() == 4 * c.block.width && c.block.eps == 1e-5,
               "{}: the blocks of its {} tower have an MLP of {} with {} and eps {}; a CLIP that is trained "
               "here has {} with quick_gelu and 1e-05",
               where, tower, c.block.hidden(), c.block.mlp, c.block.eps, 4 * c.block.width);
}

ClipTowerShape shape_of(const nn::BlockConfig& block, int layers) {
  return {.width = static_cast<int>(block.width), .layers = layers, .heads = static_cast<int>(block.heads)};
}

ClipConfig config_of(const ImageTowerConfig& image, const TextTowerConfig& text, const std::string& where) {
  require_usual_blocks(image, "image", where);
  require_usual_blocks(text, "text", where);
  VITRAL_CHECK(image.embedding == text.embedding,
               "{}: its image embeddings are {} wide, those of texts {}; they are not of one model", where,
               image.embedding, text.embedding);
  ClipConfig c;
  c.image_size = image.image_size;
  c.patch_size = image.patch_size;
  c.width = image.embedding;
  c.vision = shape_of(image.block, image.layers);
  static_cast<ClipTowerShape&>(c.text) = shape_of(text.block, text.layers);
  c.text.context = text.context;
  c.text.vocabulary_size = text.vocabulary;
  return c;
}

}  // namespace

ImageTowerConfig clip_image_config(const ClipConfig& c) {
  ImageTowerConfig out = clip_image_config();
  out.image_size = c.image_size;
  out.patch_size = c.patch_size;
  out.block.width = c.vision.width;
  out.block.heads = c.vision.heads;
  out.layers = c.vision.layers;
  out.embedding = c.width;
  return out;
}

TextTowerConfig clip_text_config(const ClipConfig& c) {
  TextTowerConfig out = clip_text_config();
  out.context = c.text.context;
  out.vocabulary = c.text.vocabulary_size;
  out.block.width = c.text.width;
  out.block.heads = c.text.heads;
  out.layers = c.text.layers;
  out.embedding = c.width;
  return out;
}

Clip::Clip(const ClipConfig& config, std::uint64_t seed)
    : config_((check(config), config)),
      text_(part<ClipTextTower>(clip_text_config(config), seed)),
      logit_scale_(parameter("logit_scale", Tensor::full({1}, first_logit_scale))),
      visual_(child<ClipImageTower>("visual", clip_image_config(config), seed)) {
  draw_blocks(text_, Random(seed, 0x5CU));
}

ClipConfig infer_clip_config(const data::NamedTensors& tensors, const Metadata& config,
                             const std::string& where) {
  return config_of(load_clip_image(tensors, config, where)->config(),
                   load_clip_text(tensors, config, where)->config(), where);
}

data::NamedTensors pretrained_clip(const std::string& path, const ClipConfig& config,
                                   std::vector<std::string>& warnings) {
  const Checkpoint checkpoint = read_checkpoint(path);
  if (!checkpoint.text_problem.empty()) throw UsageError(checkpoint.text_problem);
  const auto image = load_clip_image(checkpoint.tensors, checkpoint.config, path);
  const auto text = load_clip_text(checkpoint.tensors, checkpoint.config, path);
  const auto theirs = to_metadata(config_of(image->config(), text->config(), path)),
             ours = to_metadata(config);
  std::string differences;
  for (const auto& [key, value] : theirs)
    if (ours.at(key) != value)
      differences += fmt::format("{}{} {}, not {}", differences.empty() ? "" : "; ",
                                 key.substr(std::string_view("clip.").size()), value, ours.at(key));
  VITRAL_CHECK(differences.empty(), "{}: is another CLIP than the one that is trained: {}", path,
               differences);
  for (const auto& [tower, group, block] : {std::tuple("image", "vision_config", &image->config().block),
                                            {"text", "text_config", &text->config().block}})
    if (const auto guess =
            guessed_of(checkpoint.tensors, checkpoint.config, group, "OpenAI's models", *block);
        !guess.empty())
      warnings.push_back(fmt::format(
          "model.init_from: {}: neither it nor a configuration beside it says all of its {} tower; taken {}; "
          "put the config.json or open_clip_config.json of these weights beside them",
          path, tower, guess));
  const auto trained = clip_config_from_metadata(checkpoint.config, path);
  const std::string then = trained ? trained->text.vocabulary_digest : "",
                    &now = config.text.vocabulary_digest;
  VITRAL_CHECK(then.empty() || now.empty() || then == now,
               "{}: was trained with another vocabulary than model.text.vocabulary; name that of its run",
               path);
  data::NamedTensors out = text->state();
  for (const auto& [name, tensor] : image->state()) out.emplace_back("visual." + name, tensor);
  const auto scale = std::find_if(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                                  [](const auto& entry) { return entry.first == "logit_scale"; });
  const bool has_scale = scale != checkpoint.tensors.end() && scale->second.numel() == 1;
  out.emplace_back("logit_scale",
                   has_scale ? scale->second.reshape({1}) : Tensor::full({1}, first_logit_scale));
  return out;
}

}  // namespace vitral::models
