#include "models/clip/measure.h"

#include <algorithm>

#include "models/measure/retrieval.h"
#include "models/measure/zero_shot.h"

namespace vitral::models {
namespace {

constexpr std::int64_t candidates = 1000;

// Columns [begin, end) of the first rows of x.
Tensor part_of(const Tensor& x, std::int64_t rows, std::int64_t begin, std::int64_t end) {
  Tensor out({rows, end - begin});
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(x.data<float>() + i * x.dim(1) + begin, end - begin, out.data<float>() + i * (end - begin));
  return out;
}

}  // namespace

std::vector<NamedValue> measure_pairs(const Tensor& features, std::span<const std::int64_t> indices,
                                      const data::Dataset& dataset, const EmbedTexts& embed) {
  const std::int64_t images = features.dim(0), width = features.dim(1) / 2;
  std::vector<NamedValue> out;
  {
    const std::int64_t n = std::min(images, candidates);
    const Tensor image = part_of(features, n, 0, width), text = part_of(features, n, width, 2 * width);
    const Answers answers = same_rows(text);
    out.push_back({"image_to_text", retrieval(image, text, answers).recall[0]});
    out.push_back({"text_to_image", retrieval(text, image, answers).recall[0]});
  }
  const auto concepts = dataset.concepts();
  if (!concepts || concepts->names.empty()) return out;
  const auto concept_of = data::only_concepts(*concepts, dataset.size());
  std::vector<std::int64_t> labels;
  std::vector<float> rows;
  for (std::int64_t i = 0; i < images; ++i) {
    const std::int64_t label = concept_of[static_cast<std::size_t>(indices[static_cast<std::size_t>(i)])];
    if (label < 0) continue;
    labels.push_back(label);
    const float* row = features.data<float>() + i * 2 * width;
    rows.insert(rows.end(), row, row + width);
  }
  if (labels.empty()) return out;
  std::vector<std::string> prompts;
  for (const auto& name : concepts->names) prompts.push_back("a photo of a " + name);
  ZeroShot zero_shot(embed(prompts));
  zero_shot.add(Tensor::from(rows, {static_cast<std::int64_t>(labels.size()), width}), labels);
  out.push_back({"zero_shot", zero_shot.result().top1});
  return out;
}

}  // namespace vitral::models
