// Another pooling head for the student: docs/extending.md explains it.
#include <cstdio>

#include "models/student/student.h"

using namespace vitral;

// The weights of the convex sum come from attention (Ilse et al. 2018, arXiv 1802.04712):
// p = softmax_n(q . tanh(K x_n)).
class AttentivePooling : public models::Head {
 public:
  AttentivePooling(std::int64_t width, Random random)
      : width_(width),
        keys_(parameter("keys", nn::fan_in_uniform({width, width}, random))),
        query_(parameter("query", nn::normal({width}, 1, random))) {}

  models::StudentOutput operator()(const Variable& x, const Variable& scale,
                                   double temperature) const override {
    const std::int64_t b = x.dim(0), n = x.dim(1);
    Variable e = cast(slice(x, 2, 0, width_), DType::float32);           // [B,N,W], of bfloat16 too
    const Variable keys = tanh(linear(e, keys_, {}));                    // [B,N,W]
    const Variable logits = matmul(keys, reshape(query_, {width_, 1}));  // [B,N,1]
    const Variable p = softmax(affine(reshape(logits, {b, 1, n}), 1 / temperature));
    if (scale.defined()) e = mul(l2_normalize(e), scale);
    return {.embedding = reshape(matmul(p, e), {b, width_}), .probs = p, .patches = e};
  }

 private:
  std::int64_t width_;
  nn::Parameter& keys_;
  nn::Parameter& query_;
};

int main() {
  const models::StudentConfig config{.image_size = 16, .patch_size = 4, .width = 8, .layers = 1, .heads = 2};
  const models::Student student(config, std::make_unique<AttentivePooling>(config.width, Random(1)));

  Random random(2);
  const Variable images(nn::uniform({3, 3, 16, 16}, 1, random)), target(nn::uniform({3, 8}, 1, random));
  const models::StudentOutput y = student.forward(images);
  distillation_loss(y.embedding, target).backward();

  double steepest = 0;
  for (const auto& p : student.parameters())
    if (p.name == "head.query")
      for (const double g : p.value->grad().to_vector()) steepest = std::max(steepest, std::abs(g));
  std::printf("head.query has gradients up to %.3g\n", steepest);
  return steepest > 0 ? 0 : 1;
}
