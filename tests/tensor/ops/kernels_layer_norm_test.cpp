// layer_norm and its fused relatives, against sums in double.
#include <array>

#include "tensor/ops/layer_norm.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

constexpr double eps = 1e-5;

struct Statistics {
  Values mean, rstd;
};
Statistics statistics(const Values& x, std::int64_t width) {
  Statistics s;
  for (auto row = x.begin(); row != x.end(); row += width) {
    long double sum = 0, squares = 0;
    for (auto v = row; v != row + width; ++v) sum += *v;
    const long double mean = sum / width;
    for (auto v = row; v != row + width; ++v) squares += (*v - mean) * (*v - mean);
    s.mean.push_back(static_cast<double>(mean));
    s.rstd.push_back(1 / std::sqrt(static_cast<double>(squares / width) + eps));
  }
  return s;
}

Values normalized(const Values& x, const Values& weight, const Values& bias, const Statistics& s) {
  Values y(x.size());
  const std::size_t width = weight.size();
  for (std::size_t i = 0; i < x.size(); ++i)
    y[i] = (x[i] - s.mean[i / width]) * s.rstd[i / width] * weight[i % width] + bias[i % width];
  return y;
}

struct Gradients {
  Values dx, dweight, dbias;
};
Gradients gradients(const Values& dy, const Values& x, const Values& weight, const Statistics& s) {
  const std::size_t width = weight.size();
  Gradients out{Values(x.size()), Values(width), Values(width)};
  for (std::size_t row = 0; row < s.mean.size(); ++row) {
    const auto xhat = [&](std::size_t c) { return (x[row * width + c] - s.mean[row]) * s.rstd[row]; };
    const auto g = [&](std::size_t c) { return dy[row * width + c] * weight[c]; };
    double mean_g = 0, mean_gx = 0;
    for (std::size_t c = 0; c < width; ++c) {
      mean_g += g(c) / static_cast<double>(width);
      mean_gx += g(c) * xhat(c) / static_cast<double>(width);
      out.dweight[c] += dy[row * width + c] * xhat(c);
      out.dbias[c] += dy[row * width + c];
    }
    for (std::size_t c = 0; c < width; ++c)
      out.dx[row * width + c] = s.rstd[row] * (g(c) - mean_g - xhat(c) * mean_gx);
  }
  return out;
}

// An input, what layer_norm makes of it, and the checks of all kernels on it.
struct Case {
  NormTypes types;
  std::int64_t rows, width, offset;
  Tensor x_host, weight_host, bias_host;
  Placed x, weight, bias, y, mean, rstd;

  Case(NormTypes t, std::int64_t rows_, std::int64_t width_, std::int64_t offset_)
      : types(t),
        rows(rows_),
        width(width_),
        offset(offset_),
        x_host(random_tensor({rows, width}, t.x, 1, -2, 3)),
        weight_host(random_tensor({width}, t.weight, 2, 0.3, 2)),
        bias_host(random_tensor({width}, t.weight, 3)),
        x(x_host, offset),
        weight(weight_host, offset),
        bias(bias_host),
        y(shape(), t.x, offset),
        mean({rows}, t.weight),
        rstd({rows}, t.weight) {
    kernel::layer_norm(y, {mean, rstd}, x, weight, bias, eps);
  }
  Shape shape() const { return {rows, width}; }
  std::string text() const {
    return fmt::format("{} rows of {} {}, weights {}, offset {}", rows, width, types.x, types.weight, offset);
  }
  Statistics saved() const { return {mean.to_vector(), rstd.to_vector()}; }

  void check_forward() const;
  void check_add(std::int64_t period, DType delta_type) const;
  void check_backward() const;
};

void Case::check_forward() const {
  const Statistics want = statistics(x_host.to_vector(), width);
  Tolerance t = tolerance(types.weight);
  if (width > 1) {
    EXPECT_TRUE(near(rstd, want.rstd, t));
  }
  t.floor = 1;
  EXPECT_TRUE(near(mean, want.mean, t));
  EXPECT_TRUE(near(y, normalized(x_host.to_vector(), weight_host.to_vector(), bias_host.to_vector(), saved()),
                   tolerance(types.x)));
  for (const std::int64_t o : {std::int64_t{0}, offset}) {
    Placed again(shape(), types.x, o);
    kernel::layer_norm_apply(again, x, weight, bias, {mean, rstd});
    EXPECT_TRUE(same_bits(again, y)) << "layer_norm_apply";
  }
}

void Case::check_add(std::int64_t period, DType delta_type) const {
  SCOPED_TRACE(fmt::format("period {}, delta {}", period, delta_type));
  const Tensor delta = random_tensor({period, width}, delta_type, 4);
  const Values d = delta.to_vector();
  Values want = x_host.to_vector();
  for (std::size_t i = 0; i < want.size(); ++i) want[i] += d[i % d.size()];
  const Placed delta_there(delta, offset);
  Placed sum(shape(), types.x, offset), norm(shape(), types.x), m({rows}, types.weight),
      r({rows}, types.weight);
  kernel::add_layer_norm(sum, norm, {m, r}, x, delta_there, weight, bias, eps);
  EXPECT_TRUE(near(sum, want, tolerance(types.x)));

  Placed separate(shape(), types.x), m_separate({rows}, types.weight), r_separate({rows}, types.weight);
  kernel::layer_norm(separate, {m_separate, r_separate}, sum, weight, bias, eps);
  EXPECT_TRUE(near(norm, separate, tolerance(types.x)));
  Tolerance t = tolerance(types.weight);
  t.floor = 1;
  EXPECT_TRUE(near(m, m_separate, t));
  kernel::layer_norm_apply(separate, sum, weight, bias, {m, r});
  EXPECT_TRUE(same_bits(separate, norm));

  Placed in_place(x_host, offset);
  kernel::add_layer_norm(in_place, separate, {m_separate, r_separate}, in_place, delta_there, weight, bias,
                         eps);
  EXPECT_TRUE(same_bits(in_place, sum));
  EXPECT_TRUE(near(separate, norm.to_vector(), tolerance(types.x))) << "in place";
}

void Case::check_backward() const {
  const Tensor dy = random_tensor(shape(), types.x, 5), residual = random_tensor(shape(), types.x, 6);
  const Placed dy_there(dy, offset);
  Gradients want = gradients(dy.to_vector(), x_host.to_vector(), weight_host.to_vector(), saved());
  Placed dx(shape(), types.x, offset), dweight({width}, types.weight), dbias({width}, types.weight);
  const auto check = [&](const Placed& got_dx) {
    if (width > 2) {  // else all cancels
      EXPECT_TRUE(near(got_dx, want.dx, tolerance(types.x)));
    }
    EXPECT_TRUE(near(dweight, want.dweight, tolerance(types.weight)));
    EXPECT_TRUE(near(dbias, want.dbias, tolerance(types.weight)));
  };
  kernel::layer_norm_backward(dx, dweight, dbias, dy_there, x, weight, {mean, rstd}, false);
  check(dx);
  const Values r = residual.to_vector();
  for (std::size_t i = 0; i < r.size(); ++i) want.dx[i] += r[i];
  Placed sum(residual, offset), again(residual, offset);
  kernel::layer_norm_backward(sum, dweight, dbias, dy_there, x, weight, {mean, rstd}, true);
  check(sum);
  kernel::layer_norm_backward(again, dweight, dbias, dy_there, x, weight, {mean, rstd}, true);
  EXPECT_TRUE(same_bits(again, sum));
}

void check(NormTypes types, std::int64_t rows, std::int64_t width, std::int64_t offset = 0) {
  const Case c(types, rows, width, offset);
  SCOPED_TRACE(c.text());
  c.check_forward();
  c.check_backward();
  c.check_add(rows, types.x);
  c.check_add(1, types.weight);
  if (rows % 2 == 0) c.check_add(rows / 2, types.weight);
}

VITRAL_KERNEL_TEST(LayerNorm, AnyWidth) {
  for (const NormTypes types : norm_types)
    for (const std::int64_t width : {1, 2, 4, 9, 47, 66, 72, 128, 132, 384, 390, 528, 640, 644, 1024, 1028})
      for (const std::int64_t rows : {1, 26}) check(types, rows, width);
}

VITRAL_KERNEL_TEST(LayerNorm, AnyPlace) {
  for (const NormTypes types : norm_types)
    for (const std::int64_t width : {8, 72, 528})
      for (const std::int64_t offset : {1, 2, 4, 8}) check(types, 10, width, offset);
}

// More than backward has warps for: each walks over several.
VITRAL_KERNEL_TEST(LayerNorm, ManyRows) {
  for (const NormTypes types : norm_types)
    for (const std::int64_t width : {9, 24}) {
      const Case c(types, 2150, width, 0);
      SCOPED_TRACE(c.text());
      c.check_forward();
      c.check_backward();
    }
}

// Up to where the sums of a block no longer fit in shared memory.
VITRAL_KERNEL_TEST(LayerNorm, LongRows) {
  check(norm_types[0], 5, 4100);
  check(norm_types[1], 1, 16000);
  check(norm_types[2], 1, 40000);
  check(norm_types[0], 2, 30001);
}

VITRAL_KERNEL_TEST(LayerNorm, ConstantRowsAreTheBias) {
  for (const NormTypes types : norm_types)
    for (const std::int64_t width : {9, 72, 528, 1500})
      for (const double constant : {1000.1, 1e6, 3.3e7, -1e-4, 0.1}) {
        const Tensor x = Tensor::full({3, width}, constant, types.x),
                     weight = random_tensor({width}, types.weight, 1),
                     bias = random_tensor({width}, types.weight, 2);
        Placed y({3, width}, types.x), mean({3}, types.weight), rstd({3}, types.weight);
        kernel::layer_norm(y, {mean, rstd}, Placed(x), Placed(weight), Placed(bias), eps);
        Values want;
        for (int row = 0; row < 3; ++row)
          for (const double b : bias.cast(types.x).to_vector()) want.push_back(b);
        EXPECT_EQ(y.to_vector(), want) << name(types.x) << " " << width << " times " << constant;
        EXPECT_EQ(mean.to_vector()[0], x.to_vector()[0]);
      }
}

// A mean that is large beside what rows vary by must not cost more than the input's own rounding.
VITRAL_KERNEL_TEST(LayerNorm, LargeMean) {
  for (const std::int64_t width : {72, 528, 1500}) {
    const Tensor x = random_tensor({5, width}, DType::float32, 1, 9999.9, 10000.1),
                 ones = Tensor::full({width}, 1), zeros = Tensor::zeros({width});
    Placed y({5, width}, DType::float32), mean({5}, DType::float32), rstd({5}, DType::float32);
    kernel::layer_norm(y, {mean, rstd}, Placed(x), Placed(ones), Placed(zeros), eps);
    const Statistics want = statistics(x.to_vector(), width);
    EXPECT_TRUE(near(rstd, want.rstd, {1e-5})) << width;
    EXPECT_TRUE(near(y, normalized(x.to_vector(), ones.to_vector(), zeros.to_vector(), want), {2e-2}))
        << width;
  }
}

VITRAL_KERNEL_TEST(LayerNorm, NotFiniteStaysInItsRow) {
  const std::int64_t rows = 6, width = 528;
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    Tensor x = random_tensor({rows, width}, DType::float32, 1);
    x.data<float>()[5] = static_cast<float>(nan);
    x.data<float>()[2 * width + 3] = static_cast<float>(inf);
    const Placed x_there(x.cast(dtype)), dy(random_tensor({rows, width}, dtype, 2)),
        ones(Tensor::full({width}, 1)), zeros(Tensor::zeros({width}));
    Placed y({rows, width}, dtype), dx({rows, width}, dtype), mean({rows}, DType::float32),
        rstd({rows}, DType::float32), dweight({width}, DType::float32), dbias({width}, DType::float32);
    kernel::layer_norm(y, {mean, rstd}, x_there, ones, zeros, eps);
    kernel::layer_norm_backward(dx, dweight, dbias, dy, x_there, ones, {mean, rstd}, false);
    const Values vy = y.to_vector(), vdx = dx.to_vector();
    for (std::size_t i = 0; i < vy.size(); ++i) {
      const bool bad = i / width == 0 || i / width == 2;
      ASSERT_EQ(std::isnan(vy[i]), bad) << i;
      ASSERT_EQ(std::isnan(vdx[i]), bad) << i;
    }
    for (const double d : dweight.to_vector()) ASSERT_TRUE(std::isnan(d));
    for (const double d : dbias.to_vector()) ASSERT_TRUE(std::isfinite(d));
  }
}

VITRAL_KERNEL_TEST(LayerNorm, NothingToNormalize) {
  for (const NormTypes types : norm_types) {
    Placed x({0, 8}, types.x), mean({0}, types.weight), dweight({8}, types.weight), dbias({8}, types.weight);
    const Placed weight(Tensor::full({8}, 1, types.weight));
    kernel::layer_norm(x, {mean, mean}, x, weight, weight, eps);
    kernel::layer_norm_backward(x, dweight, dbias, x, x, weight, {mean, mean}, false);
    EXPECT_EQ(dweight.to_vector(), Values(8, 0));
    EXPECT_EQ(dbias.to_vector(), Values(8, 0));
    Placed narrow({3, 0}, types.x), statistics({3}, types.weight), none({0}, types.weight);
    kernel::layer_norm(narrow, {statistics, statistics}, narrow, none, none, eps);
    kernel::add_layer_norm(narrow, narrow, {statistics, statistics}, narrow, narrow, none, none, eps);
    kernel::layer_norm_backward(narrow, none, none, narrow, narrow, none, {statistics, statistics}, false);
    EXPECT_TRUE(narrow.guards_hold() && none.guards_hold() && statistics.guards_hold());
  }
}

TEST(LayerNormOnCuda, RefusesTypesThatDoNotFit) {
  VITRAL_NEEDS_DEVICE(gpu);
  Placed x({2, 8}, DType::float32), weight({8}, DType::float64), mean({2}, DType::float64);
  EXPECT_EQ(
      message_of([&] {
        kernel::layer_norm(x, {mean, mean}, x, weight, weight, eps);
      }),
      "layer_norm: weight float64 does not go with x float32, use its dtype, or float32 beside bfloat16");
}

}  // namespace
}  // namespace vitral::test
