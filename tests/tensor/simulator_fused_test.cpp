// Products with QuickGELU in one kernel, by a cuDNN of the simulator's: taken where choices say so, with the
// results of two steps.
#include <gtest/gtest.h>

#include "simulator.h"
#include "tensor/ops/linear.h"
#include "tensor/stream.h"
#include "tests/tensor/ops/kernels_support.h"
#include "tests/tensor/product_choices.h"

namespace vitral::test {
namespace {

/// With cuDNN 9.19; settings as before at the end.
class FusedProducts : public testing::Test {
 protected:
  void SetUp() override { simulator::settings().cudnn = 91900; }
  void TearDown() override {
    set_product_choices(nullptr);
    simulator::settings() = before_;
  }
  /// Products take cuBLASLt's fastest algorithm a second, and cuDNN's kernels as long.
  static void set_seconds(double fused) {
    simulator::settings().fastest_tile = 20;  // 128x128
    simulator::settings().fused_seconds = fused;
  }
  std::size_t fused() const { return simulator::counts().fused - fused_before_; }

 private:
  simulator::Settings before_ = simulator::settings();
  std::size_t fused_before_ = simulator::counts().fused;
};

constexpr std::int64_t rows = 21, in = 24, out = 40;

/// Both halves of an MLP's front, forward and backward, of fixed numbers.
struct Layer {
  explicit Layer(DType dtype = DType::bfloat16, std::int64_t offset = 0)
      : x(random_tensor({rows, in}, dtype, 1), offset),
        weight(random_tensor({out, in}, dtype, 2, -1, 1)),
        bias(random_tensor({out}, dtype, 3)),
        y({rows, out}, dtype),
        activation({rows, out}, dtype),
        dy(random_tensor({rows, in}, dtype, 4)),
        back(random_tensor({in, out}, dtype, 5, -1, 1)),
        dh({rows, out}, dtype),
        dweight({in, out}, DType::float32) {}

  void forward(const ActivationKernels& f = activations::quick_gelu) {
    kernel::linear_activation(y, activation, x, weight, bias, f);
  }
  void backward(bool keeps, const ActivationKernels& f = activations::quick_gelu) {
    kernel::activation_linear_backward(dh, dweight, none, dy, y, keeps ? activation : none, back, f, false);
  }
  Placed x, weight, bias, y, activation, dy, back, dh, dweight;
  Tensor none;
};

/// The same in double, from what the layer has.
void expect_right(Layer& layer) {
  Tensor y({rows, out}, DType::float64), a({rows, out}, DType::float64), dh({rows, out}, DType::float64),
      dweight({in, out}, DType::float64), none;
  kernel::linear(y, wide(layer.x.to(cpu)), wide(layer.weight.to(cpu)), wide(layer.bias.to(cpu)));
  kernel::quick_gelu(a, y);
  EXPECT_TRUE(near(layer.y, y, {1e-2}));
  EXPECT_TRUE(near(layer.activation, a, {1e-2}));
  const Tensor h = wide(layer.y.to(cpu));
  kernel::activation_linear_backward(dh, dweight, none, wide(layer.dy.to(cpu)), h, none,
                                     wide(layer.back.to(cpu)), activations::quick_gelu, false);
  EXPECT_TRUE(near(layer.dh, dh, {1e-2}));
  EXPECT_TRUE(near(layer.dweight, dweight, {1e-2}));
}

const ProductChoice& choice_of(const Choices& choices, Epilogue epilogue) {
  for (const auto& [key, choice] : choices.all)
    if (key.product.epilogue == epilogue) return choice;
  throw_error("there is none");
}

/// What a later run has of a file.
std::shared_ptr<Choices> kept(const Choices& choices) {
  const auto later = std::make_shared<Choices>(gpu, false);
  later->all = choices.all;
  return use(later);
}

TEST_F(FusedProducts, WithoutChoicesThereAreTwoSteps) {
  Layer layer;
  layer.forward();
  layer.backward(true);
  expect_right(layer);
  layer.backward(false);
  expect_right(layer);
  EXPECT_EQ(fused(), 0U);
}

TEST_F(FusedProducts, TheFasterWayIsMeasuredAndKept) {
  set_seconds(0.5);
  const auto choices = use(std::make_shared<Choices>());
  Layer layer;
  layer.forward();
  layer.backward(true);
  expect_right(layer);
  for (const Epilogue epilogue : {Epilogue::quick_gelu, Epilogue::quick_gelu_gradient}) {
    const ProductChoice& choice = choice_of(*choices, epilogue);
    EXPECT_EQ(choice.algorithm, (ProductAlgorithm{.id = ProductAlgorithm::cudnn, .custom = 91900}));
    EXPECT_EQ(describe(choice.algorithm), "both in one kernel of cuDNN 9.19.0");
    EXPECT_NEAR(choice.microseconds / 1e6, 0.5, 0.1);
    EXPECT_NEAR(choice.first_microseconds / 1e6, 1, 0.1);
  }
  EXPECT_EQ(describe(choice_of(*choices, Epilogue::quick_gelu).key), "[21, 24] x [24, 40] bfloat16");
  kept(*choices);
  Layer later;
  const std::size_t before = fused();
  later.forward();
  later.backward(true);
  EXPECT_EQ(fused(), before + 2) << "nothing is measured";
  for (const auto& [one, other] : {std::pair<Placed&, Placed&>{later.y, layer.y},
                                   {later.activation, layer.activation},
                                   {later.dh, layer.dh},
                                   {later.dweight, layer.dweight}})
    EXPECT_TRUE(same_bits(one, other));
}

// As train.recompute promises: an activation that backward computes again changes no gradient.
TEST_F(FusedProducts, WhetherTheActivationIsKeptChangesNoBit) {
  set_seconds(0.5);
  const auto choices = use(std::make_shared<Choices>());
  Layer layer;
  kernel::linear(layer.y, layer.x, layer.weight, layer.bias);
  kernel::quick_gelu(layer.activation, layer.y);
  layer.backward(false);
  EXPECT_EQ(choice_of(*choices, Epilogue::quick_gelu_gradient).algorithm.id, ProductAlgorithm::cudnn);
  const Tensor dh = layer.dh.clone(), dweight = layer.dweight.clone();
  layer.backward(true);
  EXPECT_TRUE(same_bits(layer.dh, dh));
  EXPECT_TRUE(same_bits(layer.dweight, dweight));
  expect_right(layer);
}

TEST_F(FusedProducts, ASlowerKernelIsNotTaken) {
  set_seconds(5);
  const auto choices = use(std::make_shared<Choices>());
  Layer layer;
  layer.forward();
  layer.backward(true);
  expect_right(layer);
  for (const Epilogue epilogue : {Epilogue::quick_gelu, Epilogue::quick_gelu_gradient}) {
    const ProductChoice& choice = choice_of(*choices, epilogue);
    EXPECT_EQ(choice.algorithm, (ProductAlgorithm{.id = ProductAlgorithm::apart}));
    EXPECT_EQ(describe(choice.algorithm), "the product, then the activation");
    EXPECT_EQ(choice.microseconds, choice.first_microseconds);
  }
  kept(*choices);
  const std::size_t before = fused();
  layer.forward();
  EXPECT_EQ(fused(), before);
}

TEST_F(FusedProducts, OnlyQuickGeluInBfloat16WithABias) {
  set_seconds(0.5);
  const auto choices = use(std::make_shared<Choices>());
  Layer wide_layer(DType::float32), layer, odd(DType::bfloat16, 1);
  wide_layer.forward();
  wide_layer.backward(true);
  layer.forward(activations::gelu);
  layer.backward(true, activations::gelu);
  kernel::linear_activation(layer.y, layer.activation, layer.x, layer.weight, {}, activations::quick_gelu);
  EXPECT_EQ(fused(), 0U);
  for (const auto& [key, choice] : choices->all) EXPECT_LT(key.product.epilogue, Epilogue::quick_gelu);
  odd.forward();  // an address that its kernels do not take
  EXPECT_EQ(fused(), 0U);
  EXPECT_EQ(choice_of(*choices, Epilogue::quick_gelu).algorithm.id, ProductAlgorithm::apart);
}

// Which holds when it is there later.
TEST_F(FusedProducts, WithoutCudnnThereAreTwoSteps) {
  set_seconds(0.5);
  simulator::settings().cudnn = 0;
  const auto choices = use(std::make_shared<Choices>());
  Layer layer;
  layer.forward();
  layer.backward(true);
  expect_right(layer);
  EXPECT_EQ(choice_of(*choices, Epilogue::quick_gelu).algorithm.id, ProductAlgorithm::apart);
  EXPECT_NEAR(choice_of(*choices, Epilogue::quick_gelu_gradient).microseconds / 1e6, 1, 0.1);
  simulator::settings().cudnn = 91900;
  kept(*choices);
  layer.forward();
  EXPECT_EQ(fused(), 0U);
}

TEST_F(FusedProducts, WhileAGraphIsRecordedNothingIsMeasured) {
  set_seconds(0.5);
  const auto choices = use(std::make_shared<Choices>());
  const MemoryPool pool(gpu);
  const MemoryPool::Use in_use(pool);
  Layer layer;
  const Graph graph(gpu, [&] {
    layer.forward();
    layer.backward(true);
  });
  graph.launch();
  expect_right(layer);
  EXPECT_EQ(choice_of(*choices, Epilogue::quick_gelu).algorithm.id, ProductAlgorithm::apart);
  EXPECT_EQ(fused(), 0U);
}

TEST_F(FusedProducts, WhatIsNotThereAnyMoreIsNamed) {
  set_seconds(0.5);
  const auto choices = use(std::make_shared<Choices>());
  Layer layer;
  layer.forward();
  simulator::settings().cudnn = 92000;
  kept(*choices);
  EXPECT_EQ(message_of([&] { layer.forward(); }),
            "choices:7: [21, 24] x [24, 40] bfloat16 with QuickGELU cannot be both in one kernel of cuDNN "
            "9.19.0, there is another one here; remove the line, and the product is measured again");
  simulator::settings().cudnn = 0;
  kept(*choices);
  EXPECT_EQ(message_of([&] { layer.forward(); }),
            "choices:7: [21, 24] x [24, 40] bfloat16 with QuickGELU cannot be both in one kernel of cuDNN "
            "9.19.0, which is missing; remove the line, and the product is measured again");
  simulator::settings().cudnn = 91900;
  for (auto& [key, choice] : choices->all) choice.algorithm = {.id = 6, .tile = 15, .stages = 16};
  kept(*choices);
  EXPECT_EQ(
      message_of([&] { layer.forward(); }),
      "choices:7: [21, 24] x [24, 40] bfloat16 with QuickGELU cannot be 64x64, stages 64x4, id 6; remove "
      "the line, and the product is measured again");
}

}  // namespace
}  // namespace vitral::test
