// Parts of tensor/cuda/ that only CUDA sources can call, and what needs a GPU that lacks something.
#include "simulator.h"
#include "tensor/cuda/attention/repad.h"
#include "tensor/cuda/divider.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/ops/linear.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

void expect_divided(std::uint32_t n, std::uint32_t divisor) {
  const auto [quotient, remainder] = cuda::Divider<std::uint32_t>(divisor).split(n);
  ASSERT_EQ(quotient, n / divisor) << n << " / " << divisor;
  ASSERT_EQ(remainder, n % divisor) << n << " / " << divisor;
}

TEST(Divider, IsExactBelowTwoToThe31) {
  constexpr std::uint32_t limit = 0x7FFFFFFF;
  // Multiples and their neighbours: there a wrong quotient shows first.
  const auto around = [&](std::uint32_t n, std::uint32_t divisor) {
    for (const std::uint32_t neighbour : {n - 1, n, n + 1})
      if (neighbour <= limit) expect_divided(neighbour, divisor);
  };
  for (std::uint32_t divisor = 1; divisor < 3000; ++divisor)
    for (const std::uint32_t factor : {0U, 1U, 7U, 1000U, limit / divisor}) around(factor * divisor, divisor);
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    const auto divisor = static_cast<std::uint32_t>(random.below(limit >> random.below(31))) + 1;
    const auto n = static_cast<std::uint32_t>(random.below(std::uint64_t{limit} + 1));
    around(n / divisor * divisor, divisor);
    expect_divided(n, divisor);
  }
  expect_divided(limit, limit);
}

TEST(Repad, PadsWithZerosAndCutsThemOff) {
  for (const std::int64_t rows : {1, 2, 7, 1000, 3072})
    for (const auto& [from_width, to_width] : std::vector<std::pair<int, int>>{
             {33, 40}, {40, 33}, {9, 16}, {16, 9}, {1, 8}, {8, 1}, {8, 8}, {47, 48}, {48, 47}})
      for (const std::int64_t offset : {0, 1}) {
        const Tensor from = random_bits({rows, from_width}, DType::bfloat16);
        Tensor want = Tensor::zeros({rows, to_width}, DType::bfloat16);
        for (std::int64_t r = 0; r < rows; ++r)
          std::memcpy(static_cast<std::uint16_t*>(want.raw()) + r * to_width,
                      static_cast<const std::uint16_t*>(from.raw()) + r * from_width,
                      2 * static_cast<std::size_t>(std::min(from_width, to_width)));
        Placed to({rows, to_width}, DType::bfloat16, offset);
        cuda::repad<cuda::bfloat16>("test", to, to_width, Placed(from, offset), from_width);
        EXPECT_TRUE(same_bits(to, want)) << from_width << " to " << to_width << ", offset " << offset;
      }
}

class NoEpilogues {
 public:
  NoEpilogues() { simulator::settings().no_epilogues = true; }
  ~NoEpilogues() { simulator::settings().no_epilogues = false; }
  NoEpilogues(const NoEpilogues&) = delete;
  NoEpilogues& operator=(const NoEpilogues&) = delete;
};

// What cuBLASLt can do is asked once for each size: no other test may have the sizes of this one.
TEST(LinearBackward, SumsBiasGradientsItselfWhereCublasDoesNot) {
  const Tensor dy = random_tensor({37, 13}, DType::bfloat16, 1),
               x = random_tensor({37, 21}, DType::bfloat16, 2);
  const Placed dy_there(dy), x_there(x);
  Tensor dweight({13, 21}, DType::float64), dbias({13}, DType::float64);
  kernel::linear_backward(dweight, dbias, wide(dy), wide(x), false);
  const NoEpilogues missing;
  Placed got({13, 21}, DType::float32), got_bias({13}, DType::float32);
  EXPECT_FALSE(
      cuda::multiply("test", {.m = 13, .n = 21, .k = 37, .transpose_a = true, .epilogue = Epilogue::sum_of_a},
                     got, dy_there, x_there, got_bias));
  kernel::linear_backward(got, got_bias, dy_there, x_there, false);
  EXPECT_TRUE(near(got, dweight, {1e-5}));
  EXPECT_TRUE(near(got_bias, dbias, {1e-5}));
}

TEST(Linear, AddsTheBiasItselfWhereCublasDoesNot) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    const Tensor x = random_tensor({39, 23}, dtype, 1), weight = random_tensor({15, 23}, dtype, 2),
                 bias = random_tensor({15}, dtype, 3);
    const Placed x_there(x), weight_there(weight), bias_there(bias);
    Tensor want({39, 15}, DType::float64);
    kernel::linear(want, wide(x), wide(weight), wide(bias));
    const NoEpilogues missing;
    Placed got({39, 15}, dtype);
    EXPECT_FALSE(cuda::multiply("test",
                                {.m = 39, .n = 15, .k = 23, .transpose_b = true, .epilogue = Epilogue::bias},
                                got, x_there, weight_there, bias_there));
    kernel::linear(got, x_there, weight_there, bias_there);
    EXPECT_TRUE(near(got, want, {dtype == DType::bfloat16 ? 1e-2 : 1e-5}));
  }
}

TEST(Multiply, NamesOperationAndSizesThatCublasRefuses) {
  Placed c({4, 5}, DType::float32);
  const Placed a({4, 0}, DType::bfloat16), b({0, 5}, DType::bfloat16);
  EXPECT_TRUE(message_of([&] {
                cuda::multiply("gemm", {.m = 4, .n = 5, .k = 0}, c, a, b);
              }).starts_with("gemm: CUBLAS_STATUS_INVALID_VALUE for [4, 0] x [0, 5] bfloat16 to float32"));
}

}  // namespace
}  // namespace vitral::test
