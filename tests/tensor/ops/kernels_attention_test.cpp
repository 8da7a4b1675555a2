// Attention, full, causal and of neighbourhoods, against the CPU's in float64. Which of several kernels
// computes it follows from dtype, head size and number of tokens.
#include <array>

#include "tensor/ops/attention.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

struct Case {
  std::int64_t batch;
  TokenGrid grid;
  std::int64_t heads, size;
  std::int64_t window = 0;  // 0: full or causal attention
  double spread = 1;        // of q, k and v
  std::int64_t dilation = 1, registers = 0;
  bool causal = false;

  Neighbourhood neighbourhood() const {
    return {.grid = grid, .window = window, .dilation = dilation, .registers = registers};
  }
  std::int64_t tokens() const { return grid.size() + registers; }
  std::int64_t width() const { return heads * size; }
  Shape shape(std::int64_t parts) const { return {batch, tokens(), parts * width()}; }
  std::string text(DType dtype) const {
    return fmt::format(
        "{} images, {} x {} tokens, {} heads of {} {}, window {}, spread {}, dilation {}, {} registers{}",
        batch, grid.rows, grid.columns, heads, size, dtype, window, spread, dilation, registers,
        causal ? ", causal" : "");
  }
};

// The simulator is not: under sanitizers all cases would take it half an hour. It goes without some that
// differ in numbers alone.
bool is_quick() { return device_under_test.is_cpu() || !gpu_is_simulated(); }

Tensor random_qkv(const Case& c, DType dtype) {
  return random_tensor(c.shape(3), dtype, 1, -1.7 * c.spread, 1.7 * c.spread);
}

// Weights and their slopes are rounded to bfloat16 on the way. Differences of large logarithms lose digits.
double limit(const Case& c, DType dtype) {
  return dtype == DType::bfloat16 ? 0.008 : dtype == DType::float64 ? 1e-12 : c.spread > 1 ? 3e-5 : 3e-6;
}

double limit_of_lse(DType dtype) {
  return dtype == DType::bfloat16 ? 2e-5 : dtype == DType::float64 ? 1e-12 : 3e-6;
}
DType type_of_lse(DType dtype) { return dtype == DType::float64 ? dtype : DType::float32; }

Values reference_lse(const Tensor& qkv, const Case& c) {
  const Values numbers = qkv.to_vector();
  Values lse;
  for (std::int64_t i = 0; i < c.batch * c.heads * c.tokens(); ++i) {
    const std::int64_t query = i % c.tokens(), head = i / c.tokens() % c.heads,
                       image = i / c.tokens() / c.heads;
    const auto row = [&](int part, std::int64_t token) {
      return numbers.data() + ((image * c.tokens() + token) * 3 + part) * c.width() + head * c.size;
    };
    double sum = 0;
    for (std::int64_t key = 0; key < (c.causal ? query + 1 : c.tokens()); ++key) {
      double score = 0;
      for (std::int64_t d = 0; d < c.size; ++d) score += row(0, query)[d] * row(1, key)[d];
      sum += std::exp(score / std::sqrt(static_cast<double>(c.size)));
    }
    lse.push_back(std::log(sum));
  }
  return lse;
}

struct Results {
  Tensor out, dqkv;
};
Results reference(const Case& c, const Tensor& qkv, const Tensor& dout) {
  Results r{Tensor(c.shape(1), DType::float64), Tensor(c.shape(3), DType::float64)};
  Tensor none;
  if (c.window > 0) {
    kernel::neighbourhood_attention(r.out, wide(qkv), c.heads, c.neighbourhood());
    kernel::neighbourhood_attention_backward(r.dqkv, wide(dout), wide(qkv), c.heads, c.neighbourhood());
  } else {
    kernel::attention(r.out, none, wide(qkv), c.heads, c.causal);
    kernel::attention_backward(r.dqkv, wide(dout), wide(qkv), r.out, none, c.heads, c.causal);
  }
  return r;
}

void check_full(const Case& c, DType dtype, const Placed& qkv, const Placed& dout, const Results& want,
                std::int64_t offset) {
  Placed out(c.shape(1), dtype, offset), alone(c.shape(1), dtype), dqkv(c.shape(3), dtype, offset),
      without_lse(c.shape(3), dtype), lse({c.batch, c.heads, c.tokens()}, type_of_lse(dtype));
  Tensor none;
  kernel::attention(out, lse, qkv, c.heads, c.causal);
  EXPECT_TRUE(near(out, want.out, {limit(c, dtype)}));
  if (!device_under_test.is_cpu()) {  // which leaves it alone
    EXPECT_TRUE(near(lse, reference_lse(qkv.to(cpu), c), {limit_of_lse(dtype)}));
  }
  kernel::attention_backward(dqkv, dout, qkv, out, lse, c.heads, c.causal);
  EXPECT_TRUE(near(dqkv, want.dqkv, {1.5 * limit(c, dtype)}));
  kernel::attention(alone, none, qkv, c.heads, c.causal);
  EXPECT_TRUE(near(alone, out, {limit(c, dtype)})) << "without lse";
  kernel::attention_backward(without_lse, dout, qkv, out, none, c.heads, c.causal);
  EXPECT_TRUE(near(without_lse, dqkv, {limit(c, dtype)})) << "without lse";
}

void check(const Case& c, DType dtype, std::int64_t offset = 0) {
  SCOPED_TRACE(c.text(dtype) + ", offset " + std::to_string(offset));
  const Tensor qkv_host = random_qkv(c, dtype), dout_host = random_tensor(c.shape(1), dtype, 2, -1.7, 1.7);
  const Results want = reference(c, qkv_host, dout_host);
  const Placed qkv(qkv_host, offset), dout(dout_host, offset);
  if (c.window == 0) return check_full(c, dtype, qkv, dout, want, offset);
  Placed out(c.shape(1), dtype, offset), dqkv(c.shape(3), dtype, offset), again(c.shape(3), dtype, offset);
  kernel::neighbourhood_attention(out, qkv, c.heads, c.neighbourhood());
  EXPECT_TRUE(near(out, want.out, {limit(c, dtype)}));
  kernel::neighbourhood_attention_backward(dqkv, dout, qkv, c.heads, c.neighbourhood());
  EXPECT_TRUE(near(dqkv, want.dqkv, {1.5 * limit(c, dtype)}));
  kernel::neighbourhood_attention_backward(again, dout, qkv, c.heads, c.neighbourhood());
  EXPECT_TRUE(same_bits(again, dqkv)) << "the second time";
}

VITRAL_KERNEL_TEST(NeighbourhoodAttention, AnyGridAndWindow) {
  for (const DType dtype : float_types)
    for (const auto& [heads, size] : std::vector<std::array<std::int64_t, 2>>{{3, 3}, {2, 17}}) {
      for (const TokenGrid grid : std::vector<TokenGrid>{{3, 4}, {5, 2}, {1, 1}, {1, 7}, {6, 1}})
        for (const std::int64_t window : {1, 3, 99}) check({2, grid, heads, size, window}, dtype);
      for (const std::int64_t window : {3, 5}) check({1, {4, 17}, heads, size, window}, dtype);
    }
}

VITRAL_KERNEL_TEST(NeighbourhoodAttention, AnyDilation) {
  for (const DType dtype : float_types)
    for (const std::int64_t dilation : {2, 3, 7, 8191}) {
      for (const TokenGrid grid : std::vector<TokenGrid>{{8, 8}, {5, 11}, {1, 9}, {1, 1}})
        for (const std::int64_t window : {1, 3, 5, 8191})
          if (is_quick() || window == 3 || dilation == 2)
            check({.batch = 2, .grid = grid, .heads = 2, .size = 9, .window = window, .dilation = dilation},
                  dtype);
      check({.batch = 1, .grid = {8, 8}, .heads = 4, .size = 33, .window = 3, .dilation = dilation}, dtype);
    }
}

VITRAL_KERNEL_TEST(NeighbourhoodAttention, AnyRegisters) {
  for (const DType dtype : float_types)
    for (const std::int64_t registers : {1, 4, 7, 33, 64}) {
      for (const TokenGrid grid : std::vector<TokenGrid>{{8, 8}, {5, 11}, {1, 1}})
        for (const std::int64_t window : {1, 3, 5})
          if (is_quick() || (registers < 33 && grid.rows != 8) || window == 3)
            check({.batch = is_quick() ? 2 : 1,
                   .grid = grid,
                   .heads = 3,
                   .size = 5,
                   .window = window,
                   .registers = registers},
                  dtype);
      check({.batch = 1, .grid = {8, 8}, .heads = 4, .size = 33, .window = 3, .registers = registers}, dtype);
    }
  check({.batch = 1, .grid = {16, 16}, .heads = 2, .size = 33, .window = 3, .dilation = 2, .registers = 4},
        DType::bfloat16);
  check({.batch = 1,
         .grid = {8, 8},
         .heads = 2,
         .size = 33,
         .window = 3,
         .spread = 6,
         .dilation = 3,
         .registers = 4},
        DType::float32);
}

VITRAL_KERNEL_TEST(NeighbourhoodAttention, AnyHeadSize) {
  for (const DType dtype : float_types) {
    for (const std::int64_t size : {1,  4,  5,  7,  8,  10, 15, 16, 18, 23, 24, 25,  26,  31,  32,  39,
                                    40, 41, 48, 50, 63, 64, 66, 71, 72, 73, 80, 100, 127, 128, 129, 300})
      check({1, {4, 5}, 3, size, 3}, dtype);
    check({1, {4, 5}, 1, 600, 5}, dtype);
  }
}

VITRAL_KERNEL_TEST(NeighbourhoodAttention, TheStudents) {
  for (const DType dtype : float_types) {
    check({2, {8, 8}, 16, 33, 3}, dtype);
    check({2, {8, 8}, 8, 9, 3}, dtype);
    check({1, {8, 8}, 5, 33, 3}, dtype);
    check({1, {8, 8}, 4, 32, 5}, dtype);
    check({.batch = 1, .grid = {8, 8}, .heads = 4, .size = 33, .window = 3, .spread = 6}, dtype);
  }
}

// The last does not fit in shared memory.
VITRAL_KERNEL_TEST(NeighbourhoodAttention, LargeGrids) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    check({1, {16, 16}, 2, 33, 3}, dtype);
    check({1, {12, 12}, 1, 32, 5}, dtype);
    check({1, {9, 13}, 1, 17, 7}, dtype);
    check({1, {17, 18}, 1, 128, 3}, dtype);
  }
}

VITRAL_KERNEL_TEST(Attention, AnyNumberOfTokens) {
  for (const DType dtype : float_types) {
    for (const std::int64_t tokens : {1, 2, 31, 33, 65})
      for (const auto& [heads, size] : std::vector<std::array<std::int64_t, 2>>{{3, 3}, {1, 9}, {2, 33}})
        check({tokens < 10 ? 3 : 1, {1, tokens}, heads, size}, dtype);
    check({1, {1, 129}, 1, 40}, dtype);
  }
}

VITRAL_KERNEL_TEST(Attention, AnyHeadSize) {
  for (const DType dtype : float_types)
    for (const std::int64_t size : {1, 16, 17, 40, 41, 64, 100, 128, 129, 512, 513})
      check({1, {1, 20}, 2, size}, dtype);
}

VITRAL_KERNEL_TEST(Attention, RealSizes) {
  for (const DType dtype : float_types) {
    check({1, {8, 8}, 16, 33}, dtype);
    check({.batch = 1, .grid = {8, 8}, .heads = 2, .size = 33, .spread = 6}, dtype);
  }
  check({1, {1, 197}, 1, 64}, DType::float32);
  // Backward, and then forward, too, does not fit in shared memory.
  check({1, {1, 230}, 1, 128}, DType::bfloat16);
  check({1, {1, 300}, 1, 127}, DType::bfloat16);
}

// Tiles of 16 queries and 32 keys, blocks of queries: none, one and several, whole and in part. The last do
// not fit in shared memory.
VITRAL_KERNEL_TEST(CausalAttention, AnyNumberOfTokensAndHeadSize) {
  const auto causal = [](std::int64_t tokens, std::int64_t heads, std::int64_t size, DType dtype,
                         std::int64_t offset = 0) {
    check({.batch = 2, .grid = {1, tokens}, .heads = heads, .size = size, .causal = true}, dtype, offset);
  };
  for (const DType dtype : float_types) {
    for (const std::int64_t tokens : {1, 2, 16, 17, 31, 33, 65}) causal(tokens, 3, 5, dtype);
    for (const std::int64_t size : {16, 33, 40, 41, 64, 128, 129, 513}) causal(20, 2, size, dtype);
    causal(32, 2, 64, dtype);
    causal(77, 2, 64, dtype);
    causal(130, 1, 40, dtype);
    causal(20, 3, 9, dtype, 1);
    check({.batch = 1, .grid = {1, 40}, .heads = 2, .size = 33, .spread = 6, .causal = true}, dtype);
    check({.batch = 0, .grid = {1, 40}, .heads = 2, .size = 33, .causal = true}, dtype);
  }
  causal(230, 1, 128, DType::bfloat16);
  causal(300, 1, 127, DType::bfloat16);
}

// A gradient or a value of a later token reaches no earlier one, not even as a rounding.
VITRAL_KERNEL_TEST(CausalAttention, KnowsNothingOfLaterTokens) {
  for (const DType dtype : float_types)
    for (const std::int64_t size : {9, 64}) {
      const Case c{.batch = 1, .grid = {1, 40}, .heads = 2, .size = size, .causal = true};
      const auto run = [&](double value) {
        const Tensor qkv = random_qkv(c, dtype);
        Tensor last = qkv.reshape({c.tokens(), -1}).rows(c.tokens() - 1, c.tokens());
        last.fill(value);
        Placed out(c.shape(1), dtype);
        Tensor none;
        kernel::attention(out, none, Placed(qkv), c.heads, true);
        return out.to(cpu).reshape({c.tokens(), -1}).rows(0, c.tokens() - 1).clone();
      };
      EXPECT_TRUE(same_bits(run(0.5), run(-20))) << c.text(dtype);
    }
}

VITRAL_KERNEL_TEST(Attention, AnyPlace) {
  for (const DType dtype : float_types)
    for (const std::int64_t offset : {1, 2, 4}) {
      if (dtype != DType::bfloat16 && offset != 1) continue;
      for (const std::int64_t window : {0, 3, 5})
        for (const auto& [heads, size] : std::vector<std::array<std::int64_t, 2>>{{3, 9}, {2, 16}, {4, 33}})
          check({2, {4, 5}, heads, size, window}, dtype, offset);
    }
}

VITRAL_KERNEL_TEST(Attention, NoImages) {
  for (const DType dtype : float_types)
    for (const std::int64_t window : {0, 3}) check({0, {8, 8}, 2, 33, window}, dtype);
}

// Also where several images would fit into one block.
VITRAL_KERNEL_TEST(Attention, WhatIsNoNumberStaysInItsImage) {
  for (const DType dtype : float_types)
    for (const std::int64_t size : {9, 33})
      for (const std::int64_t window : {0, 3}) {
        const Case c{3, {4, 4}, 2, size, window};
        const Tensor good = random_qkv(c, dtype);
        Tensor bad = good.clone();
        bad.rows(1, 2).fill(nan);
        const auto run = [&](const Tensor& qkv) {
          const Placed there(qkv), dout(random_tensor(c.shape(1), dtype, 2));
          Placed out(c.shape(1), dtype), dqkv(c.shape(3), dtype);
          Tensor none;
          if (window == 0) {
            kernel::attention(out, none, there, c.heads, c.causal);
            kernel::attention_backward(dqkv, dout, there, out, none, c.heads, c.causal);
          } else {
            kernel::neighbourhood_attention(out, there, c.heads, c.neighbourhood());
            kernel::neighbourhood_attention_backward(dqkv, dout, there, c.heads, c.neighbourhood());
          }
          return Results{out, dqkv};
        };
        SCOPED_TRACE(c.text(dtype));
        const Results want = run(good), got = run(bad);
        for (const auto& [a, b] : {std::pair(got.out, want.out), std::pair(got.dqkv, want.dqkv)}) {
          EXPECT_TRUE(same_bits(a.rows(0, 1), b.rows(0, 1)));
          EXPECT_TRUE(same_bits(a.rows(2, 3), b.rows(2, 3)));
          EXPECT_TRUE(std::isnan(a.rows(1, 2).to_vector()[0]));
        }
      }
}

}  // namespace
}  // namespace vitral::test
