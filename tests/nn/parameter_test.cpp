// A parameter's value, copy and packing never disagree, whoever changes it.
#include "nn/parameter.h"

#include <gtest/gtest.h>

#include "nn/linear.h"
#include "tensor/ops/linear.h"
#include "tests/noise.h"
#include "tests/support.h"
#include "train/adamw.h"

namespace vitral::nn {
namespace {

using test::noise;

std::vector<double> bits_of_copy(const Parameter& p) {
  const Weight& w = p;
  return w.copy.to_vector();
}
std::vector<double> rounded(const Tensor& t) { return t.cast(DType::bfloat16).to_vector(); }

TEST(Parameter, ItsCopyFollowsTheValue) {
  Parameter p(noise({4, 3}, 1));
  p.keep_copy(DType::bfloat16);
  const Tensor copy = static_cast<const Weight&>(p).copy, value = p.value();
  EXPECT_EQ(bits_of_copy(p), rounded(p.value()));
  p.copy_from(noise({4, 3}, 2).cast(DType::float64));
  EXPECT_EQ(p.value().to_vector(), noise({4, 3}, 2).to_vector());
  EXPECT_EQ(bits_of_copy(p), rounded(p.value()));
  EXPECT_TRUE(p.value().shares_memory_with(value) &&
              static_cast<const Weight&>(p).copy.shares_memory_with(copy))
      << "a recorded graph would go on with the old memory";
  p.replace(Variable(noise({4, 3}, 3), true));
  EXPECT_EQ(bits_of_copy(p), rounded(noise({4, 3}, 3)));
  p.keep_copy(DType::float32);
  EXPECT_FALSE(static_cast<const Weight&>(p).copy.defined()) << "the value has that dtype";
  EXPECT_EQ(test::message_of([&] {
              p.replace(Variable(Tensor::zeros({3, 4})));
            }),
            "parameter: [4, 3] does not become [3, 4]");
}

TEST(Parameter, AViewAsAMatrixKeepsItsCopy) {
  Parameter p(noise({4, 3, 2, 2}, 1));
  p.keep_copy(DType::bfloat16);
  const Weight w = p.as_matrix();
  EXPECT_EQ(w.shape(), (Shape{4, 12}));
  EXPECT_EQ(w.copy.shape(), (Shape{4, 12}));
  EXPECT_TRUE(w.copy.shares_memory_with(static_cast<const Weight&>(p).copy));
}

TEST(Parameter, PackedWeightsGoWithTheValueTheyWereMadeOf) {
  if (!kernel::pack_weight.implemented(Device::Kind::cpu)) GTEST_SKIP() << "nothing is packed in this build";
  Random random(1);
  Linear layer(64, 48, random), same(64, 48, random);
  const Variable x(noise({128, 64}, 2));
  const auto agrees = [&](const char* what) {
    same.load_state(layer.state(), "layer");
    const NoGrad no_grad;
    EXPECT_EQ(layer(x).value().to_vector(), same(x).value().to_vector()) << what;
  };
  const auto packed = [&] { return static_cast<const Weight&>(layer.weight).packed.defined(); };
  layer.pack_weights();
  ASSERT_TRUE(packed());
  EXPECT_FALSE(static_cast<const Weight&>(layer.bias).packed.defined());
  agrees("packed");
  layer.load_state({{"weight", noise({48, 64}, 3)}, {"bias", noise({48}, 4)}}, "test");
  EXPECT_FALSE(packed());
  agrees("loaded");
  layer.pack_weights();
  agrees("packed again");
  layer.share_state({{"weight", noise({48, 64}, 5)}, {"bias", noise({48}, 6)}}, "test");
  agrees("shared");
  layer.pack_weights();
  train::AdamW optimizer(layer, {});
  sum(layer(x)).backward();
  optimizer.step(0.1);
  EXPECT_FALSE(packed());
  agrees("trained");
  layer.pack_weights();
  layer.to(DType::float64);
  EXPECT_FALSE(packed());
}

}  // namespace
}  // namespace vitral::nn
