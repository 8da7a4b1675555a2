#include "models/clip/names.h"

#include <algorithm>

#include "models/hugging_face.h"

namespace vitral::models {
namespace {

bool any(const data::NamedTensors& tensors, auto&& of_name) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const auto& entry) { return of_name(entry.first); });
}

bool has_openai_names(const data::NamedTensors& tensors) {
  return any(tensors, [](const std::string& name) {
    return name.starts_with("visual.") || name == "token_embedding.weight" || name == "class_embedding";
  });
}

// Beside the towers a checkpoint holds other things: logit_scale, OpenAI's three numbers, terms of a loss.
bool of_text_tower(std::string_view name) {
  constexpr std::string_view parts[] = {"token_embedding.", "positional_embedding", "transformer.",
                                        "ln_final.", "text_projection"};
  return std::ranges::any_of(parts, [&](std::string_view part) { return name.starts_with(part); });
}

// Both a tower and its projection, which PyTorch's Linear stores transposed.
data::NamedTensors from_transformers(const data::NamedTensors& tensors, std::string_view prefix,
                                     std::string_view projection, const char* projection_name,
                                     const std::string& where) {
  data::NamedTensors out = clip_like_part(tensors, prefix, where);
  for (const auto& [name, tensor] : tensors) {
    if (name != projection) continue;
    VITRAL_CHECK(tensor.rank() == 2, "{}: weights '{}' {} must be a matrix", where, name, tensor.shape());
    out.emplace_back(projection_name, permute(Variable(tensor.cast(DType::float32)), {1, 0}).value());
  }
  return out;
}

}  // namespace

data::NamedTensors clip_image_part(const data::NamedTensors& tensors, const std::string& where) {
  if (!has_openai_names(tensors))
    return from_transformers(tensors, "vision_model.", "visual_projection.weight", "proj", where);
  constexpr std::string_view prefix = "visual.";
  const bool both = any(tensors, [&](const std::string& name) { return name.starts_with(prefix); });
  data::NamedTensors out;
  for (const auto& [name, tensor] : tensors) {
    if (!both && !name.starts_with("token_embedding."))
      out.emplace_back(name, tensor);
    else if (name.starts_with(prefix))
      out.emplace_back(name.substr(prefix.size()), tensor);
  }
  return out;
}

data::NamedTensors clip_text_part(const data::NamedTensors& tensors, const std::string& where) {
  if (!has_openai_names(tensors))
    return from_transformers(tensors, "text_model.", "text_projection.weight", "text_projection", where);
  data::NamedTensors out;
  if (!any(tensors, [](const std::string& name) { return name == "token_embedding.weight"; })) return out;
  for (const auto& [name, tensor] : tensors)
    if (of_text_tower(name)) out.emplace_back(name, tensor);
  return out;
}

bool has_clip_names(const data::NamedTensors& tensors) {
  return has_openai_names(tensors) || any(tensors, [](const std::string& name) {
           return name.starts_with("vision_model.") || name.starts_with("text_model.") ||
                  name.starts_with("embeddings.");
         });
}

}  // namespace vitral::models
