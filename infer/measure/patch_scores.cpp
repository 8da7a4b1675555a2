#include "infer/measure/patch_scores.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/vectors.h"

namespace vitral::infer {

Tensor patch_cosines(const Tensor& patch_embeddings, const Tensor& concept_embedding) {
  VITRAL_CHECK(patch_embeddings.rank() == 2 && concept_embedding.rank() == 1 &&
                   patch_embeddings.dim(1) == concept_embedding.dim(0),
               "patch_cosines: concept {} must match last dim of patches {}", concept_embedding.shape(),
               patch_embeddings.shape());
  const std::int64_t patches = patch_embeddings.dim(0), width = patch_embeddings.dim(1);
  Tensor cosines({patches});
  for (std::int64_t n = 0; n < patches; ++n)
    cosines.data<float>()[n] = static_cast<float>(
        cosine(patch_embeddings.data<float>() + n * width, concept_embedding.data<float>(), width));
  return cosines;
}

Tensor patch_softmax(const Tensor& patch_embeddings, const Tensor& text) {
  VITRAL_CHECK(patch_embeddings.rank() == 2 && text.rank() == 1 && patch_embeddings.dim(1) == text.dim(0),
               "patch_softmax: text {} must match last dim of patches {}", text.shape(),
               patch_embeddings.shape());
  const std::int64_t patches = patch_embeddings.dim(0), width = patch_embeddings.dim(1);
  std::vector<double> scores;
  for (std::int64_t n = 0; n < patches; ++n)
    scores.push_back(2 * dot(patch_embeddings.data<float>() + n * width, text.data<float>(), width));
  const double highest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - highest);
  Tensor out({patches});
  for (std::int64_t n = 0; n < patches; ++n)
    out.data<float>()[n] = static_cast<float>(scores[static_cast<std::size_t>(n)] / sum);
  return out;
}

std::int64_t pointed_patch(const Tensor& scores) {
  const float* s = scores.data<float>();
  std::int64_t best = -1;
  for (std::int64_t n = 0; n < scores.numel(); ++n)
    if (std::isfinite(s[n]) && (best < 0 || s[n] > s[best])) best = n;
  return best;
}

Tensor upsample_scores(const Tensor& scores, std::int64_t height, std::int64_t width) {
  VITRAL_CHECK(scores.rank() == 2 && scores.numel() > 0 && height > 0 && width > 0,
               "upsample_scores: scores {} cannot be brought to {}x{}", scores.shape(), height, width);
  const std::int64_t rows = scores.dim(0), columns = scores.dim(1);
  const float* in = scores.data<float>();
  // The two patches whose middles are on both sides of a pixel's middle, and how far it is from the first.
  struct Between {
    std::int64_t first, second;
    float amount;
  };
  const auto between = [](std::int64_t pixel, std::int64_t pixels, std::int64_t patches) -> Between {
    const double at =
        (static_cast<double>(pixel) + 0.5) / static_cast<double>(pixels) * static_cast<double>(patches) - 0.5;
    const double inside = std::clamp(at, 0.0, static_cast<double>(patches - 1));
    const auto first = static_cast<std::int64_t>(inside);
    return {first, std::min(first + 1, patches - 1), static_cast<float>(inside - static_cast<double>(first))};
  };
  Tensor fine({height, width});
  float* out = fine.data<float>();
  for (std::int64_t y = 0; y < height; ++y) {
    const auto [top, bottom, down] = between(y, height, rows);
    for (std::int64_t x = 0; x < width; ++x) {
      const auto [left, right, along] = between(x, width, columns);
      const float above = std::lerp(in[top * columns + left], in[top * columns + right], along);
      const float below = std::lerp(in[bottom * columns + left], in[bottom * columns + right], along);
      *out++ = std::lerp(above, below, down);
    }
  }
  return fine;
}

}  // namespace vitral::infer
