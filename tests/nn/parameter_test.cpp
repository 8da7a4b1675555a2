// A parameter's value, copy and packing never disagree, whoever changes it.
#include "nn/parameter.h"

#include <limits>

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

// A linear layer of 4 numbers to 3, int8, as it lies in a file.
std::vector<std::pair<std::string, Tensor>> quantized_state() {
  Random random(1);
  Linear layer(4, 3, random);
  layer.quantize_weights();
  return layer.state();
}

TEST(Int8Parameter, ComesWithItsScales) {
  const auto refused = [](const std::string& name, const Tensor& value) {
    auto state = quantized_state();
    const auto at = std::find_if(state.begin(), state.end(), [&](const auto& s) { return s.first == name; });
    if (value.defined())
      at->second = value;
    else
      state.erase(at);
    Random random(2);
    Linear layer(4, 3, random);
    const auto before = layer.weight.value().to_vector();
    const std::string message = test::message_of([&] { layer.share_state(state, "w"); });
    EXPECT_EQ(test::message_of([&] { layer.load_state(state, "w"); }), message);
    EXPECT_EQ(layer.weight.value().to_vector(), before) << "nothing is changed";
    return message;
  };
  const auto with = [](float strange) { return Tensor::from(std::vector<float>{1, strange, 1}, {3}); };
  const std::string weight = "w: weights 'weight' are int8, but ",
                    again = "; convert the float32 weights again";
  EXPECT_EQ(refused("weight.scale", {}), weight + "their scales 'weight.scale' are missing" + again);
  EXPECT_EQ(refused("weight.scale", Tensor::full({4}, 1)),
            weight + "'weight.scale' is float32 [4] instead of float32 [3]" + again);
  EXPECT_EQ(refused("weight.scale", Tensor::full({3}, 1, DType::float16)),
            weight + "'weight.scale' is float16 [3] instead of float32 [3]" + again);
  const std::string row = " in row 1, where a scale is positive and finite" + again;
  EXPECT_EQ(refused("weight.scale", with(0)), weight + "'weight.scale' holds 0" + row);
  EXPECT_EQ(refused("weight.scale", with(-0.5F)), weight + "'weight.scale' holds -0.5" + row);
  EXPECT_EQ(refused("weight.scale", with(std::numeric_limits<float>::infinity())),
            weight + "'weight.scale' holds inf" + row);
  EXPECT_EQ(refused("weight.scale", with(std::numeric_limits<float>::quiet_NaN())),
            weight + "'weight.scale' holds nan" + row);
  EXPECT_EQ(refused("bias", Tensor::zeros({3}, DType::int8)),
            "w: weights 'bias' are int8, but only those that linear layers multiply with can be" + again);
  EXPECT_EQ(
      refused("weight", Tensor::zeros({3, 4})),
      "w: has weights 'weight.scale' that this model does not know; it belongs to another architecture");
}

TEST(Int8Parameter, HasNoGradients) {
  Random random(1);
  Linear layer(4, 3, random);
  layer.quantize_weights();
  const Variable y = sum(layer(Variable(noise({2, 4}, 1), true)));
  EXPECT_EQ(test::message_of([&] { y.backward(); }),
            "linear: int8 weights have no gradients; train from the float32 ones");
  EXPECT_EQ(test::message_of([&] {
              layer(Variable(noise({2, 4}, 1).cast(DType::float64)));
            }),
            "linear: float64 [2, 4] and float32 [3] differ in dtype, cast one of them");
  Projection alone(4, 3, random);
  alone.quantize_weights();
  EXPECT_EQ(test::message_of([&] {
              alone(Variable(noise({2, 4}, 1).cast(DType::float64)));
            }),
            "linear: int8 weights need a float32 or bfloat16 x and rows of at most 132104; x is float64, "
            "weight [3, 4]");
  EXPECT_EQ(test::message_of(
                [&] { layer.bias.replace(Variable(Tensor::zeros({3}, DType::int8)), Tensor::full({3}, 1)); }),
            "parameter: only a weight of a linear layer becomes int8, and with scales");
  EXPECT_EQ(test::message_of([&] {
              layer.weight.replace(Variable(Tensor::zeros({3, 4}, DType::int8)));
            }),
            "parameter: only a weight of a linear layer becomes int8, and with scales");
}

}  // namespace
}  // namespace vitral::nn
