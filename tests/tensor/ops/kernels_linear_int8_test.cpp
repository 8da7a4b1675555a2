// linear_int8 against its formula: exact sums of integers, the rest in double.
#include <future>

#include <omp.h>

#include "tensor/ops/linear_int8.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

constexpr DType types[] = {DType::float32, DType::bfloat16};

Tensor random_weight(std::int64_t out, std::int64_t in, std::uint64_t seed) {
  Tensor q({out, in}, DType::int8);
  Random random(seed);
  for (std::int64_t i = 0; i < q.numel(); ++i)
    q.data<std::int8_t>()[i] = static_cast<std::int8_t>(static_cast<int>(random.below(255)) - 127);
  return q;
}

struct Token {
  std::vector<std::int64_t> q;
  double scale;
};

Token quantized(const float* x, std::int64_t n) {
  float largest = int8_smallest_token;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return {std::vector<std::int64_t>(static_cast<std::size_t>(n)), nan};
    largest = std::max(largest, std::fabs(x[i]));
  }
  Token token{{}, double{largest / 127}};
  for (std::int64_t i = 0; i < n; ++i) token.q.push_back(std::llrint(x[i] * (127 / largest)));
  return token;
}

Values expected(const Tensor& x, const Tensor& weight, const Tensor& scale, const Tensor& bias) {
  const Tensor floats = x.cast(DType::float32);
  const std::int64_t in = weight.dim(1);
  Values y;
  for (std::int64_t r = 0; r < x.dim(0); ++r) {
    const Token token = quantized(floats.data<float>() + r * in, in);
    for (std::int64_t o = 0; o < weight.dim(0); ++o) {
      std::int64_t sum = 0;
      for (std::int64_t i = 0; i < in; ++i)
        sum += token.q[static_cast<std::size_t>(i)] * weight.data<std::int8_t>()[o * in + i];
      y.push_back(token.scale * scale.data<float>()[o] * static_cast<double>(sum) +
                  (bias.defined() ? bias.data<float>()[o] : 0));
    }
  }
  return y;
}

Tensor packed_of(const Tensor& weight) {
  Tensor packed;
  if (kernel::pack_int8.implemented(Device::Kind::cpu)) kernel::pack_int8(packed, weight);
  return packed;
}

TEST(LinearInt8, IsItsFormula) {
  struct Sizes {
    std::int64_t rows, in, out;
  };
  for (const auto& [rows, in, out] :
       {Sizes{1, 1, 1}, Sizes{1, 528, 33}, Sizes{3, 5, 7}, Sizes{17, 66, 1}, Sizes{16, 64, 64},
        Sizes{33, 130, 31}, Sizes{2, 2112, 5}, Sizes{70, 63, 48}, Sizes{0, 8, 4}, Sizes{4, 0, 3}})
    for (const DType type : types)
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(fmt::format("{} x {} x {}, {}", rows, in, out, type));
        const Placed x(random_tensor({rows, in}, type, 1), 3, cpu), weight(random_weight(out, in, 2), 1, cpu),
            scale(random_tensor({out}, DType::float32, 3, 1e-4, 2e-2), 1, cpu);
        const Tensor bias = with_bias ? random_tensor({out}, DType::float32, 4) : Tensor();
        const Values want = expected(x, weight, scale, bias);
        const Tolerance close = {tolerance(type).relative, tolerance(type).each, 1e-3};
        for (const Tensor& packed : {Tensor(), packed_of(weight)}) {
          Placed y({rows, out}, type, 5, cpu);
          kernel::linear_int8(y, x, weight, packed, scale, bias);
          EXPECT_TRUE(near(y, want, close));
        }
      }
}

TEST(LinearInt8, SumsAreExactAtTheirLargest) {
  constexpr std::int64_t in = 2112;
  Tensor x = Tensor::full({2, in}, 3), q({1, in}, DType::int8), y({2, 1});
  std::fill_n(q.data<std::int8_t>(), in, std::int8_t{-128});
  q.data<std::int8_t>()[in - 1] = 127;
  x.data<float>()[in] = -3;
  for (const Tensor& packed : {Tensor(), packed_of(q)}) {
    kernel::linear_int8(y, x, q, packed, Tensor::full({1}, 1), {});
    constexpr double level = double{3.0F / 127};
    EXPECT_TRUE(near(y.to_vector(),
                     {level * 127 * (-128.0 * (in - 1) + 127), level * 127 * (-128.0 * (in - 3) + 127)},
                     {1e-6}));
  }
}

// Rows of zeros, of numbers too small to divide by, and of such that are none.
TEST(LinearInt8, StrangeRows) {
  constexpr std::int64_t in = 67, out = 18;
  for (const DType type : types) {
    Tensor x = random_tensor({9, in}, DType::float32, 1);
    const auto fill_row = [&](std::int64_t r, float value) {
      std::fill_n(x.data<float>() + r * in, in, value);
    };
    fill_row(1, 0);
    fill_row(2, 1e-38F);
    fill_row(3, 1e-42F);
    fill_row(4, 1e30F);
    x.data<float>()[5 * in + 66] = static_cast<float>(nan);
    x.data<float>()[6 * in] = static_cast<float>(inf);
    x.data<float>()[7 * in + 40] = static_cast<float>(-inf);
    const Tensor given = x.cast(type), weight = random_weight(out, in, 2),
                 scale = random_tensor({out}, DType::float32, 3, 1e-9, 2e-9),
                 bias = random_tensor({out}, DType::float32, 4);
    const Values want = expected(given, weight, scale, bias);
    for (const Tensor& packed : {Tensor(), packed_of(weight)}) {
      Tensor y({9, out}, type);
      kernel::linear_int8(y, given, weight, packed, scale, bias);
      const Values got = y.to_vector();
      for (std::int64_t r = 0; r < 9; ++r) {
        const auto row = [&](const Values& v) {
          return Values(v.begin() + r * out, v.begin() + (r + 1) * out);
        };
        EXPECT_TRUE(near(row(got), row(want), tolerance(type))) << "row " << r;
        for (const double value : row(got)) EXPECT_EQ(std::isnan(value), r >= 5 && r <= 7) << "row " << r;
      }
    }
  }
}

TEST(LinearInt8, AfterAnActivationItIsBothOfThem) {
  for (const DType type : types)
    for (const std::int64_t rows : {1, 40, 1030}) {
      const Tensor h = random_tensor({rows, 20}, type, 1), weight = random_weight(9, 20, 2),
                   scale = random_tensor({9}, DType::float32, 3, 1e-4, 2e-2),
                   bias = random_tensor({9}, DType::float32, 4);
      Tensor activation(h.shape(), type);
      activations::quick_gelu.value(activation, h);
      const Values want = expected(activation, weight, scale, bias);
      for (const Tensor& packed : {Tensor(), packed_of(weight)}) {
        Tensor y({rows, 9}, type);
        kernel::activation_linear_int8(y, h, weight, packed, scale, bias, activations::quick_gelu);
        EXPECT_TRUE(near(y.to_vector(), want, tolerance(type)));
      }
    }
}

// The hidden layer is rounded to the dtype of x, as where it is stored. Rows in chunks of 64 a thread, and
// few rows, whose columns are divided.
TEST(LinearInt8, AnMlpIsItsTwoLayers) {
  for (const DType type : types)
    for (const std::int64_t rows : {0, 1, 63, 64, 129, 300}) {
      SCOPED_TRACE(fmt::format("{} rows, {}", rows, type));
      const Tensor x = random_tensor({rows, 30}, type, 1);
      const auto layer = [](std::int64_t out, std::int64_t in, std::uint64_t seed) {
        const Tensor weight = random_weight(out, in, seed);
        return kernel::Int8Layer{weight, packed_of(weight),
                                 random_tensor({out}, DType::float32, seed + 1, 1e-4, 2e-2),
                                 random_tensor({out}, DType::float32, seed + 2)};
      };
      const kernel::Int8Layer first = layer(130, 30, 2), second = layer(9, 130, 5);
      Tensor hidden({rows, 130}, type), want({rows, 9}, type), got({rows, 9}, type);
      kernel::linear_int8(hidden, x, first.weight, first.packed, first.scale, first.bias);
      kernel::activation_linear_int8(want, hidden, second.weight, second.packed, second.scale, second.bias,
                                     activations::quick_gelu);
      kernel::mlp_int8(got, x, first, second, activations::quick_gelu);
      EXPECT_EQ(got.to_vector(), want.to_vector());
    }
}

class WithThreads {
 public:
  explicit WithThreads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~WithThreads() { omp_set_num_threads(before_); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;

 private:
  int before_;
};

// Sums are integers, and all else is done a number at a time: neither threads nor who multiplies beside may
// change a bit. 64 and more rows a thread are divided between threads, fewer are multiplied by columns.
TEST(LinearInt8, ThreadsAndConcurrentCallersGiveTheSameBits) {
  constexpr std::int64_t in = 528, out = 530;
  const Tensor weight = random_weight(out, in, 2), packed = packed_of(weight),
               scale = random_tensor({out}, DType::float32, 3, 1e-4, 2e-2),
               bias = random_tensor({out}, DType::float32, 4);
  for (const std::int64_t rows : {5, 64, 200}) {
    const Tensor x = random_tensor({rows, in}, DType::float32, 1);
    const auto result = [&] {
      Tensor y({rows, out});
      kernel::linear_int8(y, x, weight, packed, scale, bias);
      return y.to_vector();
    };
    const Values want = [&] {
      const WithThreads one(1);
      return result();
    }();
    for (const int threads : {2, 3}) {
      const WithThreads several(threads);
      EXPECT_EQ(result(), want) << threads << " threads";
    }
    std::vector<std::future<Values>> callers;
    for (int i = 0; i < 4; ++i) callers.push_back(std::async(std::launch::async, result));
    for (auto& caller : callers) EXPECT_EQ(caller.get(), want);
  }
}

TEST(QuantizedWeight, IsTheNearestOfEachRow) {
  const Tensor weight = random_tensor({6, 3, 4, 4}, DType::float32, 1);
  std::fill_n(weight.data<float>(), 48, 0.0F);
  std::fill_n(weight.data<float>() + 48, 48, 1e-40F);
  const QuantizedWeight got = quantize(weight);
  EXPECT_EQ(got.q.shape(), weight.shape());
  EXPECT_EQ(got.q.dtype(), DType::int8);
  EXPECT_EQ(got.scale.shape(), Shape{6});
  const Tensor back = dequantize(got.q, got.scale);
  EXPECT_EQ(back.shape(), weight.shape());
  for (std::int64_t o = 0; o < 6; ++o) {
    const float scale = got.scale.data<float>()[o];
    float largest = 0;
    int most = 0;
    for (std::int64_t i = o * 48; i < (o + 1) * 48; ++i) {
      largest = std::max(largest, std::fabs(weight.data<float>()[i]));
      most = std::max(most, std::abs(int{got.q.data<std::int8_t>()[i]}));
      EXPECT_LE(std::fabs(back.data<float>()[i] - weight.data<float>()[i]), scale * 0.5001F);
    }
    EXPECT_EQ(scale, o < 2 ? 1 : largest / 127);
    EXPECT_EQ(most, o < 2 ? 0 : 127);
  }
}

}  // namespace
}  // namespace vitral::test
