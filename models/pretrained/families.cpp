#include "models/pretrained/families.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "data/text/clip_tokenizer.h"
#include "data/text/sentence_piece.h"
#include "models/clip/image_tower.h"
#include "models/clip/names.h"
#include "models/clip/text_tower.h"
#include "models/dinov2/image_tower.h"
#include "models/siglip/image_tower.h"
#include "models/siglip/text_tower.h"

namespace vitral::models {
namespace {

// Towers whose positions are not resized; another size of the preprocessor is refused where it is used.
template <auto load>
std::unique_ptr<ImageTower> at_its_only_size(const data::NamedTensors& tensors, const Metadata& config,
                                             const std::string& where, int /*size*/) {
  return load(tensors, config, where);
}

template <class Tokenizer>
std::unique_ptr<data::TextTokenizer> tokenizer_at(const std::string& place) {
  return std::make_unique<Tokenizer>(Tokenizer::load(place));
}

bool has(const data::NamedTensors& tensors, std::string_view ending) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& entry) { return entry.first.ends_with(ending); });
}

constexpr std::string_view siglip_types[] = {"siglip",  "siglip_vision_model",  "siglip_text_model",
                                             "siglip2", "siglip2_vision_model", "siglip2_text_model"};
constexpr std::string_view dinov2_types[] = {"dinov2", "dinov2_with_registers"};
constexpr std::string_view clip_types[] = {"clip", "clip_vision_model", "clip_text_model", "clipseg"};
constexpr std::string_view clip_image_types[] = {"chinese_clip",
                                                 "chinese_clip_vision_model",
                                                 "altclip",
                                                 "altclip_vision_model",
                                                 "metaclip_2",
                                                 "metaclip_2_vision_model",
                                                 "vision-text-dual-encoder"};

Preprocessing preprocessing_of(const ChannelStatistics& statistics, const data::ResizeCrop& resize_crop) {
  Preprocessing out;
  out.statistics = statistics;
  out.resize_crop = resize_crop;
  return out;
}

// CLIP comes last: parts of its names stand in many models.
const std::vector<Family>& families() {
  // As google/siglip-base-patch16-224 and facebook/dinov2-base say it.
  static const Preprocessing siglip_images = preprocessing_of({{0.5F, 0.5F, 0.5F}, {0.5F, 0.5F, 0.5F}},
                                                              {.mode = data::ResizeCrop::Mode::stretch}),
                             dinov2_images = preprocessing_of(
                                 {{0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}}, {.resize = 256});
  static const std::vector<Family> table{
      {"SigLIP", siglip_types,
       [](const data::NamedTensors& t) { return has(t, "head.probe") || has(t, "text_model.head.weight"); },
       at_its_only_size<load_siglip_image>, load_siglip_text, tokenizer_at<data::SentencePieceTokenizer>,
       siglip_images, "SigLIP base"},
      {"DINOv2", dinov2_types, [](const data::NamedTensors& t) { return has(t, "embeddings.cls_token"); },
       load_dinov2, nullptr, nullptr, dinov2_images, "DINOv2 base"},
      {"CLIP with a text tower of its own",
       clip_image_types,
       [](const data::NamedTensors&) { return false; },
       at_its_only_size<load_clip_image>,
       nullptr,
       nullptr,
       {},
       "OpenAI's models"},
      {"CLIP",
       clip_types,
       has_clip_names,
       at_its_only_size<load_clip_image>,
       load_clip_text,
       tokenizer_at<data::ClipTokenizer>,
       {},
       "OpenAI's models"}};
  return table;
}

}  // namespace

const Family& family_of(const Checkpoint& checkpoint) {
  // open_clip's configuration names no family.
  const std::string type = checkpoint.model_type == "open_clip" ? "" : checkpoint.model_type;
  for (const Family& family : families())
    if (type.empty() ? family.has_names(checkpoint.tensors)
                     : std::ranges::find(family.model_types, type) != family.model_types.end())
      return family;
  // timm's config.json; its names of weights are those of facebookresearch/dinov2, too.
  const auto timm = checkpoint.config.find("architecture");
  if (type.empty() &&
      (timm != checkpoint.config.end() || has(checkpoint.tensors, "blocks.0.attn.qkv.weight")))
    throw_error<UsageError>(
        "{}: {} under the names of timm and facebookresearch/dinov2, which are not read; give the same model "
        "as transformers has it, as with: hf download facebook/dinov2-base --local-dir dinov2-base",
        checkpoint.path,
        timm != checkpoint.config.end() ? fmt::format("holds {}", shown(timm->second))
                                        : "holds a vision transformer");
  if (type.empty())
    throw_error<UsageError>(
        "{}: these are the weights of no teacher that vitral knows; give a folder of transformers or "
        "open_clip, or a .safetensors or .pt file, of CLIP, SigLIP or DINOv2",
        checkpoint.path);
  std::vector<std::string_view> known;
  for (const Family& family : families())
    known.insert(known.end(), family.model_types.begin(), family.model_types.end());
  std::sort(known.begin(), known.end());
  throw_error<UsageError>("{}: config.json says model_type '{}', which is not supported; these are: {}",
                          checkpoint.path, shown(type), fmt::join(known, ", "));
}

std::unique_ptr<TextTower> text_tower_of(const Family& family, const Checkpoint& checkpoint,
                                         const Metadata& config) {
  VITRAL_CHECK(family.text, "{}: {} has no texts that vitral can embed; give the weights of a CLIP or SigLIP",
               checkpoint.path, family.name);
  if (!checkpoint.text_problem.empty()) throw UsageError(checkpoint.text_problem);
  return family.text(checkpoint.tensors, config, checkpoint.path);
}

}  // namespace vitral::models
