// Sums, softmax, l2_normalize and the distillation loss.
#include "tensor/ops/distillation_loss.h"
#include "tensor/ops/l2_normalize.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/softmax.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

void check_sum_axis(const AxisView& v, DType from, DType to, std::int64_t offset) {
  const Tensor x = random_tensor({v.outer, v.n, v.inner}, from, 1, -1, 2);
  Tensor y({v.outer, v.inner}, DType::float64);
  kernel::sum_axis(y, wide(x), v, 0.7);
  const Placed on_gpu(x, offset);
  Placed got(y.shape(), to, offset), again(y.shape(), to);
  kernel::sum_axis(got, on_gpu, v, 0.7);
  Tolerance t = tolerance(to);
  t.floor = 0.7 * std::sqrt(static_cast<double>(v.n));
  EXPECT_TRUE(near(got, y, t)) << x.shape().str() << " " << name(from) << ", offset " << offset;
  kernel::sum_axis(again, on_gpu, v, 0.7);
  EXPECT_TRUE(same_bits(again, got)) << x.shape().str() << " the second time";
}

VITRAL_KERNEL_TEST(SumAxis, AnyShapeAndPlace) {
  const std::vector<AxisView> views{// columns
                                    {1, 64, 528},
                                    {1, 200, 1584},
                                    {1, 100, 2112},
                                    {1, 1000, 9},
                                    {1, 3000, 16},
                                    {1, 777, 47},
                                    {1, 13, 66},
                                    {1, 1500, 8},
                                    {1, 5000, 3},
                                    // neighbours
                                    {1, 1, 1},
                                    {7, 20, 1},
                                    {9, 33, 1},
                                    {1, 4096, 1},
                                    {1, 4097, 1},
                                    {3, 16384, 1},
                                    {2, 17000, 1},
                                    {1, 50000, 1},
                                    // both sides
                                    {3, 100, 64},
                                    {2, 64, 528},
                                    {5, 7, 3},
                                    {100, 2, 528},
                                    {9, 17, 800},
                                    // nothing
                                    {2, 0, 5},
                                    {0, 3, 5},
                                    {3, 4, 0},
                                    {3, 0, 1},
                                    {1, 0, 16}};
  for (const AxisView& v : views)
    for (const std::int64_t offset : {0, 1}) {
      for (const DType dtype : float_types) check_sum_axis(v, dtype, dtype, offset);
      check_sum_axis(v, DType::bfloat16, DType::float32, offset);
    }
}

TEST(SumAxisOnCuda, RefusesAnotherResult) {
  VITRAL_NEEDS_DEVICE(gpu);
  Placed y({4}, DType::float32);
  EXPECT_THROW(kernel::sum_axis(y, Placed({4, 4}, DType::float64), {1, 4, 4}, 1), UsageError);
}

VITRAL_KERNEL_TEST(SumOfSquares, AddsInDouble) {
  for (const DType dtype : float_types)
    for (const std::int64_t n : {0, 1, 9, 4096, 4097, 40003})
      for (const std::int64_t offset : {0, 1}) {
        const Tensor x = random_tensor({n}, dtype, 1), before = Tensor::full({1}, 2.5, DType::float64);
        Tensor total = before.clone();
        kernel::add_sum_of_squares(total, wide(x));
        Placed got(before);
        kernel::add_sum_of_squares(got, Placed(x, offset));
        EXPECT_TRUE(near(got, total, {1e-12})) << n << " " << name(dtype) << ", offset " << offset;
      }
  Placed large(Tensor::zeros({1}, DType::float64));
  kernel::add_sum_of_squares(large, Placed(Tensor::full({3}, 1e30)));
  EXPECT_NEAR(large.item(), 3e60, 1e54);
}

VITRAL_KERNEL_TEST(SumOfSquares, ShowsWhatIsNotFinite) {
  for (const double bad : {nan, inf, -inf}) {
    Tensor x = Tensor::full({30000}, 1);
    x.data<float>()[21234] = static_cast<float>(bad);
    Placed got(Tensor::zeros({1}, DType::float64));
    kernel::add_sum_of_squares(got, Placed(x));
    EXPECT_FALSE(std::isfinite(got.item())) << bad;
  }
}

void check_rows(std::int64_t rows, std::int64_t width, DType dtype, std::int64_t offset) {
  SCOPED_TRACE(fmt::format("{} x {} {}, offset {}", rows, width, dtype, offset));
  const Shape shape{rows, width};
  const Tensor x = random_tensor(shape, dtype, 1, -4, 4), dy = random_tensor(shape, dtype, 2),
               p = random_tensor(shape, dtype, 3, 0, 1.0 / static_cast<double>(width + 1));
  Tensor y(shape, DType::float64);
  Placed got(shape, dtype, offset), gradient(shape, dtype);
  const Placed x_there(x, offset), dy_there(dy), p_there(p, offset);
  kernel::softmax(y, wide(x));
  kernel::softmax(got, x_there);
  EXPECT_TRUE(near(got, y, tolerance(dtype))) << "softmax";
  kernel::softmax_backward(y, wide(dy), wide(p));
  kernel::softmax_backward(gradient, dy_there, p_there);
  EXPECT_TRUE(near(gradient, y, tolerance(dtype))) << "softmax_backward";
  kernel::l2_normalize(y, wide(x));
  kernel::l2_normalize(got, x_there);
  EXPECT_TRUE(near(got, y, tolerance(dtype))) << "l2_normalize";
  kernel::l2_normalize_backward(y, wide(dy), wide(x));
  kernel::l2_normalize_backward(gradient, dy_there, x_there);
  Tolerance t = tolerance(dtype);
  t.floor = width == 1 ? 1 : 0;  // all cancels
  EXPECT_TRUE(near(gradient, y, t)) << "l2_normalize_backward";
}

VITRAL_KERNEL_TEST(Rows, AnyWidthAndPlace) {
  for (const std::int64_t width :
       {0, 1, 2, 9, 31, 32, 33, 47, 64, 65, 256, 257, 512, 528, 1024, 1025, 2112, 5000})
    for (const DType dtype : float_types)
      for (const std::int64_t offset : {0, 1}) {
        check_rows(1, width, dtype, offset);
        if (width < 600) check_rows(13, width, dtype, offset);
      }
  for (const DType dtype : float_types) check_rows(0, 9, dtype, 0);
}

VITRAL_KERNEL_TEST(Rows, NotFinite) {
  for (const std::int64_t width : {5, 40, 300, 1200})
    for (const double bad : {nan, inf, -inf, 0.0}) {
      Tensor x = random_tensor({2, width}, DType::float32, 1), y({2, width});
      if (bad == 0) std::fill_n(x.data<float>(), width, 0.0F);
      x.data<float>()[width - 2] = static_cast<float>(bad);
      Placed got({2, width}, DType::float32);
      kernel::softmax(y, x);
      kernel::softmax(got, Placed(x));
      EXPECT_TRUE(near(got, y, tolerance(DType::float32))) << "softmax " << width << " with " << bad;
      kernel::l2_normalize(y, x);
      kernel::l2_normalize(got, Placed(x));
      EXPECT_TRUE(near(got, y, tolerance(DType::float32))) << "l2_normalize " << width << " with " << bad;
    }
  for (const std::int64_t width : {5, 1200}) {
    Placed y({1, width}, DType::float32), same({1, width}, DType::bfloat16);
    kernel::softmax(y, Placed(Tensor::full({1, width}, -inf)));
    EXPECT_TRUE(near(y, Tensor::full({1, width}, nan), {0}));
    kernel::softmax(same, Placed(Tensor::full({1, width}, 1e4, DType::bfloat16)));
    EXPECT_TRUE(
        near(same, Tensor::full({1, width}, 1.0 / static_cast<double>(width)), tolerance(DType::bfloat16)));
  }
}

double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

struct Loss {
  double loss = 0;
  Values dy;
};
Loss reference_loss(const Tensor& y, const Tensor& t, double norm) {
  const std::int64_t rows = y.dim(0), width = y.dim(1);
  const double factor = norm / static_cast<double>(rows * width);
  Tensor u(y.shape(), DType::float64), v(y.shape(), DType::float64);
  kernel::l2_normalize(u, wide(y));
  kernel::l2_normalize(v, wide(t));
  Tensor s(y.shape(), DType::float64), dy(y.shape(), DType::float64);
  Loss out;
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const double difference = u.data<double>()[i] - v.data<double>()[i];
    s.data<double>()[i] = factor * sign(difference);
    out.loss += factor * std::abs(difference);
  }
  kernel::l2_normalize_backward(dy, s, wide(y));
  out.dy = dy.to_vector();
  return out;
}

void check_loss(std::int64_t rows, std::int64_t width, DType dtype, std::int64_t offset) {
  SCOPED_TRACE(fmt::format("{} x {} {}, offset {}", rows, width, dtype, offset));
  const Tensor y = random_tensor({rows, width}, dtype, 1, -5, 5), t = random_tensor({rows, width}, dtype, 2);
  const Placed y_there(y, offset), t_there(t, offset);
  Placed loss({1}, dtype), again({1}, dtype), dy(y.shape(), dtype, offset);
  kernel::distillation_loss(loss, dy, y_there, t_there, 20);
  const Loss want = reference_loss(y, t, 20);
  EXPECT_TRUE(near(loss, Values{want.loss}, tolerance(dtype)));
  if (width > 2) {  // else all cancels
    EXPECT_TRUE(near(dy, want.dy, tolerance(dtype)));
  }
  Tensor none;
  kernel::distillation_loss(again, none, y_there, t_there, 20);
  EXPECT_TRUE(same_bits(again, loss)) << "alone";
}

VITRAL_KERNEL_TEST(DistillationLoss, AnySizeAndPlace) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const std::int64_t rows : {1, 7, 9, 64})
      for (const std::int64_t width : {1, 2, 31, 64, 512, 513})
        for (const std::int64_t offset : {0, 1}) check_loss(rows, width, dtype, offset);
    check_loss(2100, 5, dtype, 0);
  }
}

VITRAL_KERNEL_TEST(DistillationLoss, EqualDirectionsAreZero) {
  const Tensor t = random_tensor({3, 512}, DType::float32, 1);
  Tensor y({3, 512});
  for (std::int64_t i = 0; i < t.numel(); ++i) y.data<float>()[i] = 4 * t.data<float>()[i];
  Placed loss({1}, DType::float32), dy({3, 512}, DType::float32);
  kernel::distillation_loss(loss, dy, Placed(y), Placed(t), 20);
  EXPECT_EQ(loss.item(), 0);
  EXPECT_EQ(dy.to_vector(), Values(3 * 512, 0));
}

VITRAL_KERNEL_TEST(DistillationLoss, ShowsWhatIsNotFinite) {
  for (const double bad : {nan, inf, 0.0})
    for (const bool in_target : {false, true}) {
      const Tensor good = random_tensor({3, 8}, DType::float32, 1);
      Tensor wrong = random_tensor({3, 8}, DType::float32, 2);
      if (bad == 0) std::fill_n(wrong.data<float>(), 8, 0.0F);
      wrong.data<float>()[3] = static_cast<float>(bad);
      Placed loss({1}, DType::float32), dy({3, 8}, DType::float32);
      kernel::distillation_loss(loss, dy, Placed(in_target ? good : wrong), Placed(in_target ? wrong : good),
                                20);
      EXPECT_TRUE(std::isnan(loss.item())) << bad << (in_target ? " in the target" : "");
    }
}

VITRAL_KERNEL_TEST(DistillationLoss, RefusesBfloat16) {
  Placed loss({1}, DType::bfloat16), y({2, 8}, DType::bfloat16);
  EXPECT_EQ(message_of([&] { kernel::distillation_loss(loss, y, y, y, 1); }),
            "distillation_loss: dtype bfloat16 is not supported, use float32 or float64");
}

}  // namespace
}  // namespace vitral::test
