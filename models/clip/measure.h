// What validation reports of a CLIP over a whole dataset: whether images and texts find each other.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "models/objective.h"

namespace vitral::models {

/// Texts -> float32 [T,E] on the CPU.
using EmbedTexts = std::function<Tensor(const std::vector<std::string>& texts)>;

/// features: float32 [M,2 E] on the CPU, image embeddings and beside them those of their captions, of images
/// `indices` of the dataset.
///   image_to_text, text_to_image   recall@1 among the first 1,000 (models/measure/retrieval.h); equal
///                                  captions are one
///   zero_shot   top-1 over the dataset's concepts as "a photo of a NAME", of the images that show one object
///               alone (models/measure/zero_shot.h); left out where there are none
std::vector<NamedValue> measure_pairs(const Tensor& features, std::span<const std::int64_t> indices,
                                      const data::Dataset& dataset, const EmbedTexts& embed);

}  // namespace vitral::models
