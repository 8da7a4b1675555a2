#include "tensor/layer_norm.h"

#include <cmath>

#include <Eigen/Core>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

template <class T>
using Map = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T>
using ConstMap = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

constexpr std::int64_t rows_a_chunk = 32;

template <class T>
void apply_row(Map<T> y, ConstMap<T> x, ConstMap<T> weight, ConstMap<T> bias, T mean, T rstd) {
  y = (x - mean) * rstd * weight + bias;
}

void forward(Tensor& y, Tensor& mean, Tensor& rstd, const Tensor& x, const Tensor& weight, const Tensor& bias,
             double eps) {
  const std::int64_t width = weight.numel(), rows = mean.numel();
  dispatch_float("layer_norm", x.dtype(), [&]<class T>(T) {
    const ConstMap<T> w(weight.data<T>(), width), b(bias.data<T>(), width);
    cpu_kernels::parallel_chunks(rows, rows_a_chunk, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const ConstMap<T> in(x.data<T>() + r * width, width);
        // The second mean takes away the rounding of the first, which rstd would magnify where a row hardly
        // varies.
        T m = in.mean();
        m += (in - m).mean();
        const T s = T(1) / std::sqrt((in - m).square().mean() + static_cast<T>(eps));
        mean.data<T>()[r] = m;
        rstd.data<T>()[r] = s;
        apply_row<T>({y.data<T>() + r * width, width}, in, w, b, m, s);
      }
    });
  });
}

void apply(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean,
           const Tensor& rstd) {
  const std::int64_t width = weight.numel(), rows = mean.numel();
  dispatch_float("layer_norm", x.dtype(), [&]<class T>(T) {
    const ConstMap<T> w(weight.data<T>(), width), b(bias.data<T>(), width);
    cpu_kernels::parallel_chunks(rows, rows_a_chunk, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        apply_row<T>({y.data<T>() + r * width, width}, {x.data<T>() + r * width, width}, w, b,
                     mean.data<T>()[r], rstd.data<T>()[r]);
    });
  });
}

void backward(Tensor& dx, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& x,
              const Tensor& weight, const Tensor& mean, const Tensor& rstd, const Tensor& residual) {
  const std::int64_t width = weight.numel(), rows = mean.numel();
  dispatch_float("layer_norm_backward", x.dtype(), [&]<class T>(T) {
    const std::int64_t chunks = cpu_kernels::chunk_count(rows, rows_a_chunk);
    Tensor partial({chunks, 2, width}, dtype_of<T>);
    const ConstMap<T> w(weight.data<T>(), width);
    cpu_kernels::parallel_chunks(
        rows, rows_a_chunk, [&](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
          Map<T> sum_w(partial.data<T>() + chunk * 2 * width, width), sum_b(sum_w.data() + width, width);
          sum_w.setZero();
          sum_b.setZero();
          for (std::int64_t r = begin; r < end; ++r) {
            const ConstMap<T> in(x.data<T>() + r * width, width), g(dy.data<T>() + r * width, width);
            Map<T> out(dx.data<T>() + r * width, width);
            const T m = mean.data<T>()[r], s = rstd.data<T>()[r];
            Map<T> xhat(cpu_kernels::scratch<T>(static_cast<std::size_t>(width)), width);
            xhat = (in - m) * s;
            sum_w += g * xhat;
            sum_b += g;
            const T mean_g = (g * w).mean(), mean_gx = (g * w * xhat).mean();
            if (residual.defined())
              out =
                  ConstMap<T>(residual.data<T>() + r * width, width) + s * (g * w - mean_g - xhat * mean_gx);
            else
              out = s * (g * w - mean_g - xhat * mean_gx);
          }
        });
    Map<T> dw(dweight.data<T>(), width), db(dbias.data<T>(), width);
    dw.setZero();
    db.setZero();
    for (std::int64_t c = 0; c < chunks; ++c) {
      dw += ConstMap<T>(partial.data<T>() + c * 2 * width, width);
      db += ConstMap<T>(partial.data<T>() + (c * 2 + 1) * width, width);
    }
  });
}

const bool implemented = kernel::layer_norm.implement(Device::Kind::cpu, forward) &&
                         kernel::layer_norm_apply.implement(Device::Kind::cpu, apply) &&
                         kernel::layer_norm_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
