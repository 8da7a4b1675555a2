#include "tensor/attention.h"

#include <cmath>

#include <Eigen/Core>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

// One head as a small contiguous matrix [N, padded D]: rows are padded with zeros to a multiple of 8 numbers,
// so that products over D run in whole vector registers (33, the student's head size, is the worst case).
std::int64_t padded(std::int64_t d) { return (d + 7) / 8 * 8; }

struct HeadLayout {
  std::int64_t tokens, heads, size;  // N, H, D
  std::int64_t width() const { return heads * size; }
};

/// Copies head h of part (0 q, 1 k, 2 v) of one batch element, whose rows are `stride` numbers apart, times
/// `factor`.
template <class T>
void load_head(T* to, const T* from, std::int64_t stride, HeadLayout l, T factor = T(1)) {
  const std::int64_t dp = padded(l.size);
  for (std::int64_t n = 0; n < l.tokens; ++n) {
    for (std::int64_t d = 0; d < l.size; ++d) to[n * dp + d] = factor * from[n * stride + d];
    for (std::int64_t d = l.size; d < dp; ++d) to[n * dp + d] = 0;
  }
}

template <class T>
void store_head(T* to, std::int64_t stride, const T* from, HeadLayout l, T factor = T(1)) {
  const std::int64_t dp = padded(l.size);
  for (std::int64_t n = 0; n < l.tokens; ++n)
    for (std::int64_t d = 0; d < l.size; ++d) to[n * stride + d] = factor * from[n * dp + d];
}

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using Map = Eigen::Map<Matrix<T>>;

template <class T>
void softmax_rows(Map<T>& s) {
  for (Eigen::Index r = 0; r < s.rows(); ++r) {
    auto row = s.row(r).array();
    row = (row - row.maxCoeff()).exp();
    row /= row.sum();
  }
}

// Backward computes the weights again: the log-sum-exp is not needed.
void forward(Tensor& out, Tensor&, const Tensor& qkv, std::int64_t heads) {
  const HeadLayout l{qkv.dim(1), heads, qkv.dim(2) / 3 / heads};
  dispatch_float("attention", qkv.dtype(), [&]<class T>(T) {
    const std::int64_t n = l.tokens, dp = padded(l.size), block = n * dp, stride = 3 * l.width();
    const T scale = T(1) / std::sqrt(static_cast<T>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads;
      T* memory = cpu_kernels::scratch<T>(static_cast<std::size_t>(4 * block + n * n));
      const T* from = qkv.data<T>() + b * n * stride + h * l.size;
      Map<T> q(memory, n, dp), k(memory + block, n, dp), v(memory + 2 * block, n, dp),
          o(memory + 3 * block, n, dp), p(memory + 4 * block, n, n);
      load_head(q.data(), from, stride, l, scale);
      load_head(k.data(), from + l.width(), stride, l);
      load_head(v.data(), from + 2 * l.width(), stride, l);
      p.noalias() = q * k.transpose();
      softmax_rows(p);
      o.noalias() = p * v;
      store_head(out.data<T>() + b * n * l.width() + h * l.size, l.width(), o.data(), l);
    });
  });
}

void backward(Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor&, const Tensor&,
              std::int64_t heads) {
  const HeadLayout l{qkv.dim(1), heads, qkv.dim(2) / 3 / heads};
  dispatch_float("attention_backward", qkv.dtype(), [&]<class T>(T) {
    const std::int64_t n = l.tokens, dp = padded(l.size), block = n * dp, stride = 3 * l.width();
    const T scale = T(1) / std::sqrt(static_cast<T>(l.size));
    cpu_kernels::parallel_chunks(qkv.dim(0) * heads, 1, [&](std::int64_t i, std::int64_t, std::int64_t) {
      const std::int64_t b = i / heads, h = i % heads, at = b * n * stride + h * l.size;
      T* memory = cpu_kernels::scratch<T>(static_cast<std::size_t>(5 * block + 2 * n * n));
      const T* from = qkv.data<T>() + at;
      T* to = dqkv.data<T>() + at;
      Map<T> q(memory, n, dp), k(memory + block, n, dp), v(memory + 2 * block, n, dp),
          g(memory + 3 * block, n, dp), d(memory + 4 * block, n, dp), p(memory + 5 * block, n, n),
          dp_(memory + 5 * block + n * n, n, n);
      load_head(q.data(), from, stride, l, scale);
      load_head(k.data(), from + l.width(), stride, l);
      load_head(v.data(), from + 2 * l.width(), stride, l);
      load_head(g.data(), dout.data<T>() + b * n * l.width() + h * l.size, l.width(), l);
      p.noalias() = q * k.transpose();
      softmax_rows(p);
      d.noalias() = p.transpose() * g;  // dv
      store_head(to + 2 * l.width(), stride, d.data(), l);
      dp_.noalias() = g * v.transpose();
      for (Eigen::Index r = 0; r < n; ++r) {  // ds = p (dp - sum p dp)
        auto row = dp_.row(r).array();
        const auto weights = p.row(r).array();
        row = weights * (row - (row * weights).sum());
      }
      d.noalias() = dp_ * k;
      store_head(to, stride, d.data(), l, scale);
      d.noalias() = dp_.transpose() * q;  // q carries the scale already
      store_head(to + l.width(), stride, d.data(), l);
    });
  });
}

const bool implemented = kernel::attention.implement(Device::Kind::cpu, forward) &&
                         kernel::attention_backward.implement(Device::Kind::cpu, backward);

}  // namespace
}  // namespace vitral
