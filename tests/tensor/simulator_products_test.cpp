// Which algorithm multiplies, on a simulated GPU whose library has several: the first, the fastest, the one
// that was chosen before, and what gives the gradient of a bias.
#include <algorithm>

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "simulator.h"
#include "tensor/backend.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/ops/linear.h"
#include "tensor/ops/products.h"
#include "tests/tensor/ops/kernels_support.h"
#include "tests/tensor/product_choices.h"

namespace vitral::test {
namespace {

constexpr Device ampere{Device::Kind::cuda, 2};
constexpr std::int64_t tile_64x64 = 15, tile_128x128 = 20, tile_256x128 = 24, tile_128x176 = 409;

/// Three GPUs, the third of compute capability 8.0; settings as before at the end.
class SimulatedProducts : public testing::Test {
 protected:
  void SetUp() override {
    simulator::settings().devices = 3;
    simulator::settings().capabilities = {90, 90, 80};
  }
  void TearDown() override {
    set_product_choices(nullptr);
    simulator::settings() = before_;
  }

  static std::size_t products() { return simulator::counts().products; }

  simulator::Settings before_ = simulator::settings();
};

/// y = x weight^T of fixed numbers, [rows, 48] x [48, 40].
struct Layer {
  explicit Layer(std::int64_t rows = 64, DType dtype = DType::bfloat16, Device device = gpu)
      : x(random_tensor({rows, 48}, dtype, 1), 0, device),
        weight(random_tensor({40, 48}, dtype, 2), 0, device),
        y({rows, 40}, dtype, 0, device) {}
  Placed& operator()() {
    kernel::linear(y, x, weight, {});
    return y;
  }
  Tensor wanted() const {
    Tensor out(y.shape(), DType::float64);
    kernel::linear(out, wide(x.to(cpu)), wide(weight.to(cpu)), {});
    return out;
  }
  Placed x, weight, y;
};

TEST_F(SimulatedProducts, TheMultiplierIsTheDeviceAndTheLibrary) {
  const auto& cuda = backend(Device::Kind::cuda);
  EXPECT_EQ(cuda.multiplier(0), "NVIDIA H200 (simulated) 9.0, cuBLASLt 13.1.0");
  EXPECT_EQ(cuda.multiplier(2), "GPU of compute capability 8.0 (simulated) 8.0, cuBLASLt 13.1.0");
  EXPECT_EQ(backend(Device::Kind::cpu).multiplier, nullptr);
}

// --- measuring ---

TEST_F(SimulatedProducts, TheFastestIsChosenOnceAndKept) {
  simulator::settings().fastest_tile = tile_128x176;
  const auto choices = use(std::make_shared<Choices>());
  Layer layer;
  EXPECT_TRUE(near(layer(), layer.wanted(), {1e-2}));
  ASSERT_EQ(choices->all.size(), 1U);
  const auto& [key, choice] = *choices->all.begin();
  EXPECT_EQ(describe(key), "[64, 48] x [48, 40] bfloat16");
  EXPECT_EQ(key.product.epilogue, Epilogue::none);
  EXPECT_EQ(choice.algorithm.tile, tile_128x176);
  EXPECT_EQ(choice.algorithm.id, 66);
  EXPECT_EQ(choice.algorithm.cluster_shape, 3) << "as the proposal that the tile was forced into";
  EXPECT_EQ(describe(choice.algorithm), "128x176, stages 64xAUTO, id 66");
  EXPECT_NEAR(choice.microseconds / 1e6, 1, 0.1);
  EXPECT_NEAR(choice.first_microseconds / 1e6, 2, 0.1);
  const std::size_t before = products();
  layer();
  EXPECT_EQ(products(), before + 1);
}

TEST_F(SimulatedProducts, AChoiceHoldsWhateverIsFastestLater) {
  simulator::settings().fastest_tile = tile_64x64;
  simulator::settings().fastest_split = 2;
  const auto choices = use(std::make_shared<Choices>());
  Layer layer(64, DType::float32);
  const Tensor first = layer().clone();
  ASSERT_EQ(choices->all.size(), 1U);
  EXPECT_EQ(describe(choices->all.begin()->second.algorithm),
            "64x64, stages 64x4, split K 2 (compute type), id 6");
  // Another process, which reads what the first one left.
  simulator::settings().fastest_tile = tile_128x128;
  const auto later = std::make_shared<Choices>(gpu, false);
  later->all = choices->all;
  use(later);
  const std::size_t before = products();
  EXPECT_TRUE(same_bits(layer(), first));
  EXPECT_EQ(products(), before + 1) << "nothing is measured";
  // Without, it is the library's first proposal, and that has other bits.
  set_product_choices(nullptr);
  EXPECT_FALSE(same_bits(layer(), first));
  EXPECT_TRUE(near(layer(), first, {1e-5}));
}

// An algorithm may hold more than its attributes say, and those are what is kept.
TEST_F(SimulatedProducts, TheRunThatMeasuresHasTheBitsOfThoseThatFollow) {
  simulator::settings().fastest_tile = tile_256x128;
  const auto choices = use(std::make_shared<Choices>());
  const Placed dy(random_tensor({64, 40}, DType::bfloat16, 1)),
      x(random_tensor({64, 48}, DType::bfloat16, 2));
  Placed measured({40, 48}, DType::float32), later({40, 48}, DType::float32);
  Tensor none;
  kernel::linear_backward(measured, none, dy, x, false);
  ASSERT_EQ(choices->all.size(), 1U);
  EXPECT_EQ(choices->all.begin()->second.algorithm.tile, tile_256x128);
  const auto again = std::make_shared<Choices>(gpu, false);
  again->all = choices->all;
  use(again);
  kernel::linear_backward(later, none, dy, x, false);
  EXPECT_TRUE(same_bits(later, measured));
}

TEST_F(SimulatedProducts, ALibrarysFirstProposalThatIsFastestIsKeptAsThat) {
  simulator::settings().fastest_tile = tile_128x128;
  Layer layer(64, DType::float32);
  const Tensor first = layer().clone();
  const auto choices = use(std::make_shared<Choices>());
  EXPECT_TRUE(same_bits(layer(), first));
  ASSERT_EQ(choices->all.size(), 1U);
  const ProductChoice& choice = choices->all.begin()->second;
  EXPECT_EQ(choice.algorithm, (ProductAlgorithm{.id = ProductAlgorithm::first_proposal}));
  EXPECT_EQ(describe(choice.algorithm), "the library's first proposal");
  EXPECT_EQ(choice.microseconds, choice.first_microseconds);
  const auto later = std::make_shared<Choices>(gpu, false);
  later->all = choices->all;
  use(later);
  EXPECT_TRUE(same_bits(layer(), first));
}

TEST_F(SimulatedProducts, WithoutMeasuringTheFirstProposalIsTaken) {
  simulator::settings().fastest_tile = tile_64x64;
  Layer layer(64, DType::float32);
  const Tensor first = layer().clone();
  const auto choices = use(std::make_shared<Choices>(gpu, false));
  EXPECT_TRUE(same_bits(layer(), first));
  EXPECT_TRUE(choices->all.empty());
}

TEST_F(SimulatedProducts, OnlyTheirMultiplierFollowsChoices) {
  simulator::settings().fastest_tile = tile_64x64;
  const auto choices = use(std::make_shared<Choices>(ampere));
  const std::size_t before = products();
  Layer layer;
  layer();
  EXPECT_EQ(products(), before + 1);
  EXPECT_TRUE(choices->all.empty());
  Layer there(64, DType::bfloat16, ampere);
  there();
  EXPECT_EQ(choices->all.size(), 1U);
}

TEST_F(SimulatedProducts, AnotherProcessThatWasFirstDecides) {
  class First : public Choices {
    ProductAlgorithm add(const ProductChoice&) override {
      return {.id = 6, .tile = tile_64x64, .stages = 16, .split_k = 3, .reduction = 4};
    }
  };
  simulator::settings().fastest_tile = tile_128x128;
  Layer layer(64, DType::float32);
  const Tensor plain = layer().clone();
  use(std::make_shared<First>());
  EXPECT_FALSE(same_bits(layer(), plain));
  EXPECT_TRUE(near(layer(), plain, {1e-5}));
}

TEST_F(SimulatedProducts, AProductThatAccumulatesAddsOnceWhileItIsMeasured) {
  use(std::make_shared<Choices>());
  const Placed dy(random_tensor({64, 40}, DType::bfloat16, 1)),
      x(random_tensor({64, 48}, DType::bfloat16, 2));
  Placed dweight(Tensor::full({40, 48}, 5));
  Tensor none, want({40, 48}, DType::float64);
  kernel::linear_backward(want, none, wide(dy.to(cpu)), wide(x.to(cpu)), false);
  for (std::int64_t i = 0; i < want.numel(); ++i) want.data<double>()[i] += 5;
  kernel::linear_backward(dweight, none, dy, x, true);
  EXPECT_TRUE(near(dweight, want, {1e-5}));
}

TEST_F(SimulatedProducts, AddressesAreAPartOfTheKey) {
  simulator::settings().fastest_tile = tile_128x176;  // which wants multiples of 16 bytes
  const auto choices = use(std::make_shared<Choices>());
  const Tensor x = random_tensor({64, 48}, DType::bfloat16, 1),
               weight = random_tensor({40, 48}, DType::bfloat16, 2);
  Placed y({64, 40}, DType::bfloat16), odd({64, 40}, DType::bfloat16);
  kernel::linear(y, Placed(x), Placed(weight), {});
  kernel::linear(odd, Placed(x, 1), Placed(weight), {});
  ASSERT_EQ(choices->all.size(), 2U);
  for (const auto& [key, choice] : choices->all)
    EXPECT_EQ(choice.algorithm.tile == tile_128x176, key.alignment[0] >= 16) << key.alignment[0];
  EXPECT_TRUE(near(odd, y, {1e-2}));
}

TEST_F(SimulatedProducts, WhileAGraphIsRecordedNothingIsMeasured) {
  simulator::settings().fastest_tile = tile_64x64;
  const auto choices = use(std::make_shared<Choices>());
  const MemoryPool pool(gpu);
  const MemoryPool::Use in_use(pool);
  Layer layer(64, DType::float32);
  const Graph graph(gpu, [&] { layer(); });
  graph.launch();
  ASSERT_EQ(choices->all.size(), 1U);
  const ProductChoice& choice = choices->all.begin()->second;
  EXPECT_EQ(choice.algorithm.id, ProductAlgorithm::first_proposal) << "for later runs, too";
  EXPECT_EQ(choice.microseconds, 0);
  EXPECT_TRUE(near(layer.y, layer.wanted(), {1e-5}));
}

TEST_F(SimulatedProducts, WhatTheLibraryRefusesIsNamed) {
  Layer layer;
  const auto choices = use(std::make_shared<Choices>());
  layer();
  ProductAlgorithm& chosen = choices->all.begin()->second.algorithm;
  const auto refused = [&](const ProductAlgorithm& algorithm) {
    chosen = algorithm;
    auto again = std::make_shared<Choices>(gpu, false);
    again->all = choices->all;
    use(again);
    return message_of([&] { layer(); });
  };
  EXPECT_EQ(refused({.id = 66, .tile = tile_64x64, .stages = 35}),
            "choices:7: cuBLASLt refuses 64x64, stages 64xAUTO, id 66 for [64, 48] x [48, 40] bfloat16 "
            "(CUBLAS_STATUS_NOT_SUPPORTED); remove the line, and the product is measured again");
  EXPECT_EQ(refused({.id = 5, .tile = 99, .stages = 99}),
            "choices:7: cuBLASLt refuses 48x512, stages 99, id 5 for [64, 48] x [48, 40] bfloat16 "
            "(CUBLAS_STATUS_INVALID_VALUE); remove the line, and the product is measured again");
  // What adds in no fixed order is not taken, whatever a file says; neither is what rounds parts to bfloat16.
  for (const std::int64_t reduction : {1, 4, 8})
    EXPECT_NE(refused({.id = 6, .tile = tile_64x64, .stages = 16, .split_k = 2, .reduction = reduction})
                  .find("split K 2"),
              std::string::npos)
        << reduction;
  EXPECT_NE(refused({.id = 6, .tile = tile_64x64, .stages = 16, .cluster_shape = 70000}), "no error");
  EXPECT_EQ(refused({.id = 6, .tile = tile_64x64, .stages = 16, .split_k = 2, .reduction = 2}), "no error");
}

TEST_F(SimulatedProducts, AMissingEpilogueIsNoChoice) {
  const auto choices = use(std::make_shared<Choices>());
  simulator::settings().no_epilogues = true;
  Placed y({31, 40}, DType::float32);
  const Placed x({31, 48}, DType::float32), weight({40, 48}, DType::float32), bias({40}, DType::float32);
  kernel::linear(y, x, weight, bias);
  ASSERT_EQ(choices->all.size(), 1U);
  EXPECT_EQ(choices->all.begin()->first.product.epilogue, Epilogue::none);
}

std::vector<MeasuredProduct> measured(DType inputs, DType output, Device device = gpu,
                                      Epilogue epilogue = Epilogue::none) {
  simulator::settings().fastest_tile = tile_128x128;  // few calls of each, then
  std::vector<MeasuredProduct> out;
  Placed c({40, 48}, output, 0, device), vector({40}, output, 0, device);
  Tensor none;
  const Placed a({2048, 40}, inputs, 0, device), b({2048, 48}, inputs, 0, device);
  kernel::measure_product(c, epilogue == Epilogue::none ? none : vector, a, b,
                          {.m = 40, .n = 48, .k = 2048, .transpose_a = true, .epilogue = epilogue},
                          [&](const MeasuredProduct& p) { out.push_back(p); });
  return out;
}

bool any(const std::vector<MeasuredProduct>& all, auto&& holds) {
  return std::any_of(all.begin(), all.end(), [&](const MeasuredProduct& p) { return holds(p.algorithm); });
}

TEST_F(SimulatedProducts, ProposalsAndForcedTilesAreMeasuredEachOnce) {
  const auto all = measured(DType::bfloat16, DType::float32);
  EXPECT_EQ(all.front().algorithm, (ProductAlgorithm{.id = 6, .tile = tile_128x128, .stages = 15}));
  for (const MeasuredProduct& p : all) {
    EXPECT_GE(p.seconds, 0);
    EXPECT_EQ(p.workspace, 1024);
    EXPECT_EQ(
        std::count_if(all.begin(), all.end(), [&](const auto& q) { return q.algorithm == p.algorithm; }), 1);
  }
  EXPECT_TRUE(any(all, [](const auto& a) { return a.tile == tile_256x128; }));
  // Tiles of 176 are not among the proposals; with K of 2,048 in up to four parts.
  for (const auto& [split_k, reduction] : {std::pair{1, 0}, {2, 2}, {2, 4}, {4, 2}, {4, 4}})
    EXPECT_TRUE(any(all,
                    [&](const auto& a) {
                      return a.tile == tile_128x176 && a.split_k == split_k && a.reduction == reduction;
                    }))
        << split_k << " " << reduction;
  EXPECT_FALSE(any(all, [](const auto& a) { return a.tile == tile_128x176 && a.split_k > 4; }));
  EXPECT_FALSE(any(all, [](const auto& a) { return a.reduction == 1; })) << "in place: no fixed order";
}

TEST_F(SimulatedProducts, PartsAreNeverRoundedToBfloat16) {
  const auto parts_of_output = [](const auto& a) { return a.reduction == 4; };
  EXPECT_TRUE(any(measured(DType::float32, DType::float32), parts_of_output));
  EXPECT_TRUE(any(measured(DType::float64, DType::float64), parts_of_output));
  EXPECT_FALSE(any(measured(DType::bfloat16, DType::bfloat16), parts_of_output));
}

TEST_F(SimulatedProducts, WhatADeviceLacksIsNotMeasured) {
  const auto of_hopper = [](const auto& a) { return a.id == 66; };
  EXPECT_TRUE(any(measured(DType::bfloat16, DType::float32), of_hopper));
  EXPECT_FALSE(any(measured(DType::bfloat16, DType::float32, ampere), of_hopper));
  EXPECT_FALSE(any(measured(DType::bfloat16, DType::float32, gpu, Epilogue::sum_of_a), of_hopper));
}

// --- gradients of biases ---

struct Gradients {
  Tensor weight;
  Placed bias;
  Tensor exact_bias;
  std::size_t by_products;  // gradients of biases that a product has summed
};

Gradients gradients(Device device, DType inputs, DType output) {
  const Tensor dy = random_tensor({96, 40}, inputs, 1), x = random_tensor({96, 48}, inputs, 2);
  Placed dweight({40, 48}, output, 0, device), dbias({40}, output, 0, device);
  const std::size_t before = simulator::counts().bias_gradients;
  kernel::linear_backward(dweight, dbias, Placed(dy, 0, device), Placed(x, 0, device), false);
  Tensor exact({40, 48}, DType::float64), exact_bias({40}, DType::float64);
  kernel::linear_backward(exact, exact_bias, wide(dy), wide(x), false);
  EXPECT_TRUE(near(dweight, exact, {output == DType::bfloat16 ? 1e-2 : 1e-5}));
  return {dweight.to(cpu), dbias, exact_bias, simulator::counts().bias_gradients - before};
}

TEST_F(SimulatedProducts, BiasGradientsAreOfTheProductOnlyWhereThatIsNotSlow) {
  EXPECT_FALSE(cuda::sums_in_product(9, DType::bfloat16));
  EXPECT_TRUE(cuda::sums_in_product(9, DType::float32));
  EXPECT_TRUE(cuda::sums_in_product(8, DType::bfloat16));
  EXPECT_EQ(gradients(gpu, DType::bfloat16, DType::float32).by_products, 0U);
  EXPECT_EQ(gradients(gpu, DType::float32, DType::float32).by_products, 1U);
  EXPECT_EQ(gradients(ampere, DType::bfloat16, DType::float32).by_products, 1U);
  EXPECT_EQ(gradients(ampere, DType::float32, DType::float32).by_products, 1U);
}

TEST_F(SimulatedProducts, BiasGradientsAgreeOnAllGpus) {
  for (const DType output : {DType::bfloat16, DType::float32}) {
    const Gradients here = gradients(gpu, DType::bfloat16, output),
                    there = gradients(ampere, DType::bfloat16, output);
    const Tolerance tolerance{output == DType::bfloat16 ? 1e-2 : 1e-5};
    EXPECT_TRUE(same_bits(here.weight, there.weight));
    EXPECT_TRUE(near(here.bias, here.exact_bias, tolerance));
    EXPECT_TRUE(near(there.bias, here.exact_bias, tolerance));
  }
}

}  // namespace
}  // namespace vitral::test
