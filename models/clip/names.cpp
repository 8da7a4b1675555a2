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

// A tower of transformers, and its projection beside it, which PyTorch's Linear stores transposed.
struct Place {
  std::string_view prefix, projection;
  const char* our_projection;
};
constexpr Place image_place{"vision_model.", "visual_projection.weight", "proj"},
    text_place{"text_model.", "text_projection.weight", "text_projection"};

Tensor transposed(const Tensor& matrix) { return permute(Variable(matrix), {1, 0}).value(); }

data::NamedTensors from_transformers(const data::NamedTensors& tensors, const Place& place,
                                     const std::string& where) {
  data::NamedTensors out = clip_like_part(tensors, place.prefix, where);
  for (const auto& [name, tensor] : tensors) {
    if (name != place.projection) continue;
    VITRAL_CHECK(tensor.rank() == 2, "{}: weights '{}' {} must be a matrix", where, name, tensor.shape());
    out.emplace_back(place.our_projection, transposed(tensor));
  }
  return out;
}

void add_to_transformers(data::NamedTensors state, const Place& place, data::NamedTensors& out) {
  const auto proj = std::ranges::find(state, place.our_projection, &data::NamedTensors::value_type::first);
  out.emplace_back(place.projection, transposed(proj->second));
  state.erase(proj);
  for (auto& entry : as_clip_like_part(state, place.prefix)) out.push_back(std::move(entry));
}

}  // namespace

data::NamedTensors clip_image_part(const data::NamedTensors& tensors, const std::string& where) {
  if (!has_openai_names(tensors)) return from_transformers(tensors, image_place, where);
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
  if (!has_openai_names(tensors)) return from_transformers(tensors, text_place, where);
  data::NamedTensors out;
  if (!any(tensors, [](const std::string& name) { return name == "token_embedding.weight"; })) return out;
  for (const auto& [name, tensor] : tensors)
    if (of_text_tower(name)) out.emplace_back(name, tensor);
  return out;
}

data::NamedTensors clip_in_transformers(const data::NamedTensors& image, const data::NamedTensors& text) {
  data::NamedTensors out;
  add_to_transformers(text, text_place, out);
  add_to_transformers(image, image_place, out);
  return out;
}

bool has_clip_names(const data::NamedTensors& tensors) {
  return has_openai_names(tensors) || any(tensors, [](const std::string& name) {
           return name.starts_with("vision_model.") || name.starts_with("text_model.") ||
                  name.starts_with("embeddings.");
         });
}

}  // namespace vitral::models
