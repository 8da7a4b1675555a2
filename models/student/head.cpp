#include "models/student/head.h"

#include <cmath>

#include "autograd/composed.h"
#include "nn/init.h"

namespace vitral::models {
namespace {

class ConvexHead : public Head {
 public:
  explicit ConvexHead(std::int64_t heads) : heads_(heads) {}

  StudentOutput operator()(const Variable& x, const Variable& scale, double temperature) const override {
    const composed::PooledPatches out = composed::patch_pooling(x, scale, heads_, temperature);
    return {out.embedding, reshape(out.probs, {x.dim(0), 1, x.dim(1)}), out.patches};
  }
  Variable embed(const Variable& x, const Variable& scale) const override {
    return patch_pooling(x, scale, heads_);
  }

 private:
  std::int64_t heads_;
};

// Activations of bfloat16 are pooled in float32, as by the kernel of the convex head.
Variable wide(const Variable& x) { return x.dtype() == DType::bfloat16 ? cast(x, DType::float32) : x; }

class QueryHead : public Head {
 public:
  QueryHead(std::int64_t width, Random random)
      : query_(parameter("query", nn::normal({width}, 1 / std::sqrt(static_cast<double>(width)), random))) {}

  StudentOutput operator()(const Variable& given, const Variable& scale, double temperature) const override {
    VITRAL_CHECK(temperature >= 1e-30, "head: temperature {} must be positive and at least 1e-30",
                 temperature);
    const Variable x = wide(given);
    const std::int64_t b = x.dim(0), n = x.dim(1), w = x.dim(2);
    const Variable logits = reshape(matmul(x, reshape(query_, {w, 1})), {b, 1, n});
    const Variable p = softmax(affine(logits, 1 / (std::sqrt(static_cast<double>(w)) * temperature)));
    const Variable e = composed::same_norm(x, scale);
    return {composed::convex_sum(p, e), p, e};
  }

 private:
  nn::Parameter& query_;  // [W]
};

class MeanHead : public Head {
 public:
  StudentOutput operator()(const Variable& given, const Variable& scale, double) const override {
    const Variable e = composed::same_norm(wide(given), scale);
    // Made from e, so that an export knows it as a function of the batch.
    const Variable logits = affine(reshape(mean(e, 2), {e.dim(0), 1, e.dim(1)}), 0);
    return {mean(e, 1), softmax(logits), e};
  }
  Variable embed(const Variable& x, const Variable& scale) const override {
    return mean(composed::same_norm(wide(x), scale), 1);
  }
};

}  // namespace

std::unique_ptr<Head> make_head(const StudentConfig& config, Random random) {
  if (config.head == "query") return std::make_unique<QueryHead>(config.width, random);
  if (config.head == "mean") return std::make_unique<MeanHead>();
  return std::make_unique<ConvexHead>(config.heads);
}

}  // namespace vitral::models
