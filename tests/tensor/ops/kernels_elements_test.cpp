// Kernels that compute each element on its own: pointwise, binary, conversion, filling.
#include "tensor/ops/binary.h"
#include "tensor/ops/convert.h"
#include "tensor/ops/pointwise.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

using Pointwise = Kernel<void(Tensor&, const Tensor&)>;
using PointwiseBackward = Kernel<void(Tensor&, const Tensor&, const Tensor&)>;

struct Op {
  const char* name;
  const Pointwise& f;
  const PointwiseBackward& backward;
  double low;
};
const std::vector<Op>& pointwise_ops() {
#define VITRAL_OP(name, Functor) {#name, kernel::name, kernel::name##_backward, -6},
  static std::vector<Op> ops{VITRAL_POINTWISE_OPS(VITRAL_OP)};
#undef VITRAL_OP
  for (Op& op : ops)
    if (op.name == std::string("log") || op.name == std::string("sqrt")) op.low = 0.01;
  return ops;
}

void check_pointwise(const Op& op, DType dtype, std::int64_t n, std::int64_t offset) {
  const Tensor x = random_tensor({n}, dtype, 1, op.low, 6), dy = random_tensor({n}, dtype, 2);
  Tensor y({n}, DType::float64), dx({n}, DType::float64);
  op.f(y, wide(x));
  op.backward(dx, wide(dy), wide(x));
  Placed got_y({n}, dtype, offset), got_dx({n}, dtype);
  const Placed on_gpu(x, offset), dy_on_gpu(dy);
  op.f(got_y, on_gpu);
  op.backward(got_dx, dy_on_gpu, on_gpu);
  Tolerance t = tolerance(dtype);
  t.floor = 1;
  EXPECT_TRUE(near(got_y, y, t)) << op.name << ", offset " << offset;
  t.each *= 2;
  EXPECT_TRUE(near(got_dx, dx, t)) << op.name << " backward, offset " << offset;
}

VITRAL_KERNEL_TEST(Pointwise, AnySizeAndPlace) {
  for (const Op& op : pointwise_ops())
    for (const DType dtype : float_types) {
      for (const std::int64_t n : {1, 9, 255, 4100})
        for (const std::int64_t offset : {0, 1, 4}) check_pointwise(op, dtype, n, offset);
      check_pointwise(op, dtype, 8200, 0);
    }
}

VITRAL_KERNEL_TEST(Pointwise, NothingToDo) {
  for (const Op& op : pointwise_ops()) check_pointwise(op, DType::float32, 0, 0);
}

// Results that the hardware's bfloat16 path flushes to zero count as equal.
bool alike(double got, double want, double relative) {
  if (std::isnan(want)) return std::isnan(got);
  return got == want || std::abs(got - want) <= relative * std::abs(want) + 1e-35;
}

const Values extremes{0.,   -0.,  1e-30, -1e-30, 30,    -30, 88,   -88, 100,
                      -100, 1000, -1000, 1e30,   -1e30, inf, -inf, nan};

TEST(QuickGelu, ExtremesAreThoseOfFloat64) {
  const auto n = static_cast<std::int64_t>(extremes.size());
  std::vector<Values> y, dx;
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor x = Tensor::from(extremes, {n}).cast(dtype), ones = Tensor::full({n}, 1, dtype);
    Tensor value({n}, dtype), slope({n}, dtype);
    kernel::quick_gelu_both(value, slope, ones, x);
    y.push_back(value.to_vector()), dx.push_back(slope.to_vector());
  }
  for (std::size_t i = 0; i < extremes.size(); ++i) {
    EXPECT_TRUE(alike(y[0][i], y[1][i], 1e-5)) << extremes[i] << ": " << y[0][i] << ", not " << y[1][i];
    EXPECT_TRUE(alike(dx[0][i], dx[1][i], 1e-5)) << extremes[i] << ": " << dx[0][i] << ", not " << dx[1][i];
  }
}

TEST(PointwiseOnCuda, ExtremesAreTheCpus) {
  VITRAL_NEEDS_DEVICE(gpu);
  const auto n = static_cast<std::int64_t>(extremes.size());
  for (const DType dtype : float_types) {
    const bool rounded = dtype == DType::bfloat16;
    const double relative = rounded ? 0.01 : dtype == DType::float32 ? 1e-5 : 1e-12;
    const Tensor x = Tensor::from(extremes, {n}).cast(dtype);
    const Tensor there = rounded ? x.cast(DType::float32) : x, ones = Tensor::full({n}, 1, there.dtype());
    for (const Op& op : pointwise_ops()) {
      Tensor y({n}, there.dtype()), dx = y.clone();
      op.f(y, there);
      op.backward(dx, ones, there);
      Placed got_y({n}, dtype), got_dx({n}, dtype);
      op.f(got_y, Placed(x));
      op.backward(got_dx, Placed(ones.cast(dtype)), Placed(x));
      const Values a = got_y.to_vector(), b = y.cast(dtype).to_vector();
      const Values c = got_dx.to_vector(), d = dx.cast(dtype).to_vector();
      for (std::size_t i = 0; i < extremes.size(); ++i) {
        EXPECT_TRUE(alike(a[i], b[i], relative))
            << op.name << " of " << extremes[i] << " " << name(dtype) << ": " << a[i] << ", not " << b[i];
        EXPECT_TRUE(alike(c[i], d[i], relative))
            << op.name << "' of " << extremes[i] << " " << name(dtype) << ": " << c[i] << ", not " << d[i];
      }
    }
  }
}

void check_quick_gelu_both(DType dtype, std::int64_t n, std::int64_t offset, bool in_place) {
  const Tensor x = random_tensor({n}, dtype, 1), dy = random_tensor({n}, dtype, 2);
  Tensor y({n}, DType::float64), dx({n}, DType::float64);
  kernel::quick_gelu(y, wide(x));
  kernel::quick_gelu_backward(dx, wide(dy), wide(x));
  Placed got_y({n}, dtype, offset), got_dx({n}, dtype, offset), gradient(dy, offset);
  kernel::quick_gelu_both(got_y, in_place ? gradient : got_dx, gradient, Placed(x, offset));
  EXPECT_TRUE(near(got_y, y, tolerance(dtype))) << "offset " << offset;
  EXPECT_TRUE(near(in_place ? gradient : got_dx, dx, tolerance(dtype, 2))) << "offset " << offset;
  EXPECT_TRUE(gradient.guards_hold());
}

VITRAL_KERNEL_TEST(QuickGeluBoth, AlsoInPlace) {
  for (const DType dtype : float_types)
    for (const bool in_place : {false, true}) {
      for (const std::int64_t n : {0, 1, 7, 16, 4095, 4103})
        for (const std::int64_t offset : {0, 1, 4}) check_quick_gelu_both(dtype, n, offset, in_place);
      check_quick_gelu_both(dtype, 3 * 2112, 0, in_place);
    }
}

void check_binary(const Shape& a_shape, const Shape& b_shape, DType dtype, BinaryOp op, std::int64_t offset) {
  const Shape shape = broadcast_shape("test", a_shape, b_shape);
  const Tensor a = random_tensor(a_shape, dtype, 1, 0.5, 2), b = random_tensor(b_shape, dtype, 2, 0.5, 2);
  Tensor y(shape, DType::float64);
  kernel::binary(y, wide(a), wide(b), op);
  Placed got(shape, dtype);
  kernel::binary(got, Placed(a, offset), Placed(b, offset == 8 ? 0 : offset), op);
  EXPECT_TRUE(near(got, y, tolerance(dtype)))
      << a_shape.str() << b_shape.str() << " operation " << static_cast<int>(op) << ", offset " << offset;
}

VITRAL_KERNEL_TEST(Binary, BroadcastsAnyShapes) {
  const std::vector<std::pair<Shape, Shape>> shapes{{{2, 3}, {2, 3}},
                                                    {{4, 64}, {64}},
                                                    {{64}, {4, 64}},
                                                    {{4, 64}, {4, 1}},
                                                    {{4, 1}, {4, 64}},
                                                    {{5}, {1}},
                                                    {{1}, {5}},
                                                    {{1}, {1}},
                                                    {{}, {3, 16}},
                                                    {{1, 1}, {3, 16}},
                                                    {{3, 1}, {1, 5}},
                                                    {{2, 1, 16}, {1, 3, 16}},
                                                    {{2, 1, 16}, {3, 1}},
                                                    {{3, 1, 5, 1}, {1, 4, 1, 7}},
                                                    {{7, 9}, {7, 9}},
                                                    {{33, 47}, {47}},
                                                    {{2, 3, 2, 3, 2, 3, 2, 8}, {1, 3, 1, 3, 1, 3, 1, 8}},
                                                    {{2, 3, 2, 3, 2, 3, 2, 8}, {2, 1, 2, 1, 2, 1, 2, 1}},
                                                    {{0, 4}, {4}}};
  for (const auto& [a, b] : shapes)
    for (const DType dtype : float_types)
      for (const BinaryOp op : {BinaryOp::add, BinaryOp::sub, BinaryOp::mul, BinaryOp::div, BinaryOp::minimum,
                                BinaryOp::less_equal})
        for (const std::int64_t offset : {0, 1, 8}) check_binary(a, b, dtype, op, offset);
  const std::vector<std::pair<Shape, Shape>> real{{{2, 20, 528}, {20, 528}},
                                                  {{2, 20, 528}, {528}},
                                                  {{2, 20, 528}, {2, 1, 528}},
                                                  {{2, 20, 528}, {2, 20, 1}},
                                                  {{8195}, {8195}}};
  for (const auto& [a, b] : real)
    for (const DType dtype : float_types)
      for (const std::int64_t offset : {0, 1}) check_binary(a, b, dtype, BinaryOp::add, offset);
}

VITRAL_KERNEL_TEST(Binary, EqualAndNoNumbers) {
  for (const DType dtype : float_types) {
    const Tensor a = Tensor::from(Values{nan, 1, nan, 2, 3, inf, -inf, 0}, {8}).cast(dtype),
                 b = Tensor::from(Values{1, nan, nan, 1, 3, inf, inf, -0.}, {8}).cast(dtype);
    for (const BinaryOp op : {BinaryOp::minimum, BinaryOp::less_equal, BinaryOp::add, BinaryOp::div}) {
      Tensor y({8}, DType::float64);
      kernel::binary(y, wide(a), wide(b), op);
      Placed got({8}, dtype);
      kernel::binary(got, Placed(a), Placed(b), op);
      EXPECT_TRUE(near(got, y, tolerance(dtype))) << static_cast<int>(op);
    }
  }
}

VITRAL_KERNEL_TEST(Binary, AffineAndAddTo) {
  for (const DType dtype : float_types)
    for (const std::int64_t n : {0, 1, 9, 4096, 4099})
      for (const std::int64_t offset : {0, 1}) {
        const Tensor x = random_tensor({n}, dtype, 1), before = random_tensor({n}, dtype, 2);
        Tensor y({n}, DType::float64), sum = wide(before).clone();
        kernel::affine(y, wide(x), -1.5, 0.25);
        kernel::add_to(sum, wide(x));
        const Placed on_gpu(x, offset);
        Placed got({n}, dtype, offset), got_sum(before, offset), self(x, offset);
        kernel::affine(got, on_gpu, -1.5, 0.25);
        kernel::add_to(got_sum, on_gpu);
        EXPECT_TRUE(near(got, y, tolerance(dtype))) << "offset " << offset;
        EXPECT_TRUE(near(got_sum, sum, tolerance(dtype))) << "offset " << offset;
        kernel::affine(self, self, -1.5, 0.25);
        EXPECT_TRUE(same_bits(self, got)) << "in place, offset " << offset;
      }
}

constexpr DType all_types[] = {DType::float32,  DType::float64, DType::float16,
                               DType::bfloat16, DType::uint8,   DType::int64};

VITRAL_KERNEL_TEST(Convert, BetweenAllTypes) {
  for (const DType from : all_types)
    for (const DType to : all_types) {
      const bool small = to == DType::uint8 || to == DType::int64 || from == DType::uint8;
      for (const std::int64_t n : {0, 1, 17, 4113})
        for (const std::int64_t offset : {0, 1}) {
          const Tensor x = random_tensor({n}, from, 1, small ? 0 : -1e5, small ? 255 : 1e5);
          Tensor y({n}, to);
          kernel::convert(y, x);
          Placed got({n}, to, offset);
          kernel::convert(got, Placed(x, offset));
          EXPECT_TRUE(same_bits(got, y)) << name(from) << " to " << name(to);
        }
    }
}

/// Every number of a half type, what lies half-way to the next, and the next floats to both.
Tensor around_every_half(const Tensor& halves) {
  const std::int64_t count = halves.numel();
  const Tensor floats = halves.cast(DType::float32);
  Tensor around({5 * count}, DType::float32);
  for (std::int64_t i = 0; i < count; ++i) {
    const float a = floats.data<float>()[i], b = floats.data<float>()[(i + 1) % count];
    const auto middle = static_cast<float>((static_cast<double>(a) + static_cast<double>(b)) / 2);
    const auto far = static_cast<float>(inf);
    float* to = around.data<float>() + 5 * i;
    to[0] = a;
    to[1] = middle;
    to[2] = std::nextafter(middle, far);
    to[3] = std::nextafter(middle, -far);
    to[4] = std::nextafter(a, far);
  }
  return around;
}

// Signs of zeros count; which of the patterns of NaN it is does not.
void expect_converted_alike(const Tensor& x, DType to) {
  Tensor y(x.shape(), to);
  kernel::convert(y, x);
  Placed got(x.shape(), to);
  kernel::convert(got, Placed(x));
  const Values a = got.to_vector(), b = y.to_vector();
  for (std::size_t i = 0; i < a.size(); ++i)
    ASSERT_TRUE(std::isnan(b[i]) ? std::isnan(a[i])
                                 : a[i] == b[i] && std::signbit(a[i]) == std::signbit(b[i]))
        << name(x.dtype()) << " to " << name(to) << " at " << i << ": " << a[i] << ", not " << b[i];
}

VITRAL_KERNEL_TEST(Convert, EveryHalfAndItsNeighbours) {
  for (const DType half : {DType::float16, DType::bfloat16}) {
    Tensor every({65536}, half);
    for (int i = 0; i < 65536; ++i)
      static_cast<std::uint16_t*>(every.raw())[i] = static_cast<std::uint16_t>(i);
    expect_converted_alike(every, DType::float32);
    expect_converted_alike(every, DType::float64);
    expect_converted_alike(around_every_half(every), half);
  }
}

VITRAL_KERNEL_TEST(Fill, AnyTypeSizeAndPlace) {
  for (const DType dtype : all_types)
    for (const double value : {0.0, 3.7, 200.0})
      for (const std::int64_t n : {1, 15, 16, 5000})
        for (const std::int64_t offset : {0, 1}) {
          Placed got({n}, dtype, offset);
          kernel::fill(got, value);
          EXPECT_TRUE(same_bits(got, Tensor::full({n}, value, dtype))) << value << ", offset " << offset;
        }
}

}  // namespace
}  // namespace vitral::test
