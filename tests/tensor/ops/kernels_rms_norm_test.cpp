// rms_norm and its fused relatives, against sums in double. What they share with layer_norm, which is all but
// the mean and the bias, is tested there.
#include "tensor/ops/layer_norm.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

constexpr double eps = 1e-6;

void check(NormTypes types, std::int64_t rows, std::int64_t width, std::int64_t offset = 0) {
  SCOPED_TRACE(
      fmt::format("{} rows of {} {}, weights {}, offset {}", rows, width, types.x, types.weight, offset));
  const Shape shape{rows, width};
  const Tensor x_host = random_tensor(shape, types.x, 1, -2, 3),
               weight_host = random_tensor({width}, types.weight, 2, 0.3, 2),
               dy_host = random_tensor(shape, types.x, 3), delta_host = random_tensor(shape, types.x, 4);
  const Placed x(x_host, offset), weight(weight_host, offset), dy(dy_host, offset), delta(delta_host, offset);
  Placed y(shape, types.x, offset), rstd({rows}, types.weight);
  const RowStatistics saved{{}, rstd};
  kernel::rms_norm(y, saved, x, weight, {}, eps);

  const Values vx = x_host.to_vector(), vw = weight_host.to_vector(), vdy = dy_host.to_vector(),
               s = rstd.to_vector();
  const auto w = static_cast<std::size_t>(width);
  Values want_rstd, want_y(vx.size()), want_dx(vx.size()), want_dw(w);
  for (std::size_t row = 0; row < s.size(); ++row) {
    double squares = 0, along = 0;
    for (std::size_t i = row * w; i < (row + 1) * w; ++i) squares += vx[i] * vx[i];
    want_rstd.push_back(1 / std::sqrt(squares / static_cast<double>(width) + eps));
    for (std::size_t c = 0; c < w; ++c)
      along += vdy[row * w + c] * vw[c] * vx[row * w + c] * s[row] / static_cast<double>(width);
    for (std::size_t c = 0; c < w; ++c) {
      const std::size_t i = row * w + c;
      want_y[i] = vx[i] * s[row] * vw[c];
      want_dx[i] = s[row] * (vdy[i] * vw[c] - vx[i] * s[row] * along);
      want_dw[c] += vdy[i] * vx[i] * s[row];
    }
  }
  EXPECT_TRUE(near(rstd, want_rstd, tolerance(types.weight)));
  EXPECT_TRUE(near(y, want_y, tolerance(types.x)));
  Placed again(shape, types.x, offset);
  kernel::rms_norm_apply(again, x, weight, {}, saved);
  EXPECT_TRUE(same_bits(again, y)) << "rms_norm_apply";

  Placed dx(shape, types.x, offset), dweight({width}, types.weight), sum(delta_host, offset);
  Tensor none;
  kernel::rms_norm_backward(dx, dweight, none, dy, x, weight, saved, false);
  if (width > 1) {
    EXPECT_TRUE(near(dx, want_dx, tolerance(types.x)));
  }
  EXPECT_TRUE(near(dweight, want_dw, tolerance(types.weight)));
  kernel::rms_norm_backward(sum, dweight, none, dy, x, weight, saved, true);
  const Values before = delta_host.to_vector();
  for (std::size_t i = 0; i < before.size(); ++i) want_dx[i] += before[i];
  EXPECT_TRUE(near(sum, want_dx, tolerance(types.x))) << "added";

  Placed total(shape, types.x, offset), separate(shape, types.x), rstd_of_sum({rows}, types.weight);
  kernel::add_rms_norm(total, y, {{}, rstd_of_sum}, x, delta, weight, {}, eps);
  Values want_sum = vx;
  for (std::size_t i = 0; i < before.size(); ++i) want_sum[i] += before[i];
  EXPECT_TRUE(near(total, want_sum, tolerance(types.x)));
  kernel::rms_norm_apply(separate, total, weight, {}, {{}, rstd_of_sum});
  EXPECT_TRUE(same_bits(separate, y)) << "add_rms_norm";
}

VITRAL_KERNEL_TEST(RmsNorm, AnyWidth) {
  for (const NormTypes types : norm_types)
    for (const std::int64_t width : {1, 2, 4, 9, 47, 72, 132, 384, 528, 640, 1024, 1028})
      for (const std::int64_t rows : {1, 26}) check(types, rows, width);
}

VITRAL_KERNEL_TEST(RmsNorm, AnyPlace) {
  for (const NormTypes types : norm_types)
    for (const std::int64_t offset : {1, 2, 4, 8}) check(types, 10, 72, offset);
}

VITRAL_KERNEL_TEST(RmsNorm, ManyAndLongRows) {
  for (const NormTypes types : norm_types) check(types, 2150, 24);
  check(norm_types[0], 5, 4100);
  check(norm_types[1], 1, 16000);
  check(norm_types[2], 1, 12000);
}

}  // namespace
}  // namespace vitral::test
