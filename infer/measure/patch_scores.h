// What the patches of an image say about one concept: a score each.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace vitral::infer {

/// Cosine of each patch embedding, float32 [N,D], with one concept, float32 [D] -> float32 [N]. What the
/// pointing game plays on and what pictures show.
Tensor patch_cosines(const Tensor& patch_embeddings, const Tensor& concept_embedding);

/// exp(2 t . e_n) / sum_m exp(2 t . e_m), the original's picture: patches float32 [N,D], text float32 [D] ->
/// float32 [N].
Tensor patch_softmax(const Tensor& patch_embeddings, const Tensor& text);

/// The patch with the highest score, float32 [N]: the first of equals, -1 where none is finite.
std::int64_t pointed_patch(const Tensor& scores);

/// Scores at the pixels of a height x width image, float32 [height,width]: bilinear between the middles of
/// patches, constant beyond the outermost ones.
Tensor upsample_scores(const Tensor& scores, std::int64_t height, std::int64_t width);

}  // namespace vitral::infer
