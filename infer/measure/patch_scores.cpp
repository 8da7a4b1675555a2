#include "infer/measure/patch_scores.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/clones.h"
#include "base/vectors.h"

namespace vitral::infer {
namespace {

// sums[t] = sum over i of patch[i] texts[i][t]: each as dot() adds it, many at once.
VITRAL_CLONES void add_products(const float* patch, const float* texts, std::int64_t width,
                                std::int64_t count, double* __restrict sums) {
  for (std::int64_t t = 0; t < count; ++t) sums[t] = 0;
  for (std::int64_t i = 0; i < width; ++i, texts += count) {
    const double p = patch[i];
    for (std::int64_t t = 0; t < count; ++t) sums[t] += p * texts[t];
  }
}

}  // namespace

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

TextScorer::TextScorer(const Tensor& texts) {
  VITRAL_CHECK(texts.rank() == 2 && texts.dtype() == DType::float32 && texts.numel() > 0,
               "texts {} {} must be float32 [T, D]", texts.dtype(), texts.shape());
  const std::int64_t count = texts.dim(0), width = texts.dim(1);
  transposed_ = Tensor({width, count});
  for (std::int64_t t = 0; t < count; ++t) {
    const float* row = texts.data<float>() + t * width;
    for (std::int64_t i = 0; i < width; ++i) transposed_.data<float>()[i * count + t] = row[i];
    lengths_.push_back(length(row, width));
  }
}

void TextScorer::score(const float* patches, std::int64_t count, float* cosines) const {
  const std::int64_t all = texts(), wide = width();
  std::vector<double> products(static_cast<std::size_t>(all));
  for (std::int64_t n = 0; n < count; ++n) {
    const float* patch = patches + n * wide;
    add_products(patch, transposed_.data<float>(), wide, all, products.data());
    const double own = length(patch, wide);
    for (std::int64_t t = 0; t < all; ++t) {
      const double lengths = own * lengths_[static_cast<std::size_t>(t)];
      cosines[t * count + n] =
          lengths == 0 ? 0 : static_cast<float>(products[static_cast<std::size_t>(t)] / lengths);
    }
  }
}

std::vector<Upsampling::Between> Upsampling::betweens(std::int64_t pixels, std::int64_t cells) {
  std::vector<Between> out;
  for (std::int64_t p = 0; p < pixels; ++p) {
    const double at =
        (static_cast<double>(p) + 0.5) / static_cast<double>(pixels) * static_cast<double>(cells) - 0.5;
    const double inside = std::clamp(at, 0.0, static_cast<double>(cells - 1));
    const auto first = static_cast<std::int64_t>(inside);
    out.push_back(
        {first, std::min(first + 1, cells - 1), static_cast<float>(inside - static_cast<double>(first))});
  }
  return out;
}

Upsampling::Upsampling(std::int64_t rows, std::int64_t columns, std::int64_t height, std::int64_t width)
    : rows_(rows), columns_(columns), down_(betweens(height, rows)), along_(betweens(width, columns)) {}

void Upsampling::widen(const float* map, float* wide) const {
  for (std::int64_t r = 0; r < rows_; ++r, map += columns_)
    for (const auto& [left, right, amount] : along_) *wide++ = map[left] + amount * (map[right] - map[left]);
}

Tensor upsample_scores(const Tensor& scores, std::int64_t height, std::int64_t width) {
  VITRAL_CHECK(scores.rank() == 2 && scores.numel() > 0 && height > 0 && width > 0,
               "upsample_scores: scores {} cannot be brought to {}x{}", scores.shape(), height, width);
  const Upsampling up(scores.dim(0), scores.dim(1), height, width);
  Tensor wide({scores.dim(0), width}), fine({height, width});
  up.widen(scores.data<float>(), wide.data<float>());
  float* out = fine.data<float>();
  for (std::int64_t y = 0; y < height; ++y) {
    const auto [above, below, amount] = up.row(wide.data<float>(), y);
    for (std::int64_t x = 0; x < width; ++x) *out++ = above[x] + amount * (below[x] - above[x]);
  }
  return fine;
}

}  // namespace vitral::infer
