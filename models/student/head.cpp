#include "models/student/head.h"

#include "autograd/composed.h"

namespace vitral::models {
namespace {

// Each of the H attention heads carries one number more: with x as [B,N,H,D+1], their mean over the heads is
// the logit of a patch, p = softmax_N(logits / temperature), and e are the others, joined.
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

}  // namespace

std::unique_ptr<Head> make_head(const StudentConfig& config, Random /*random*/) {
  return std::make_unique<ConvexHead>(config.heads);
}

}  // namespace vitral::models
