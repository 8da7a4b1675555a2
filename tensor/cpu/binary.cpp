#include "tensor/binary.h"

#include <algorithm>

#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

constexpr std::int64_t grain = 16384;

template <class T, class F>
void inner_loop(T* y, const T* a, std::int64_t step_a, const T* b, std::int64_t step_b, std::int64_t n, F f) {
  if (step_a == 1 && step_b == 1)
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  else if (step_a == 1)
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(a[i], *b);
  else if (step_b == 1)
    for (std::int64_t i = 0; i < n; ++i) y[i] = f(*a, b[i]);
  else
    std::fill(y, y + n, f(*a, *b));
}

template <class T, class F>
void run(Tensor& y, const Tensor& a, const Tensor& b, F f) {
  if (y.numel() == 0) return;
  const BroadcastLoops loops = broadcast_loops(y.shape(), a.shape(), b.shape());
  const std::int64_t n = loops.size[0], rows = y.numel() / n;
  T* out = y.data<T>();
  const T *pa = a.data<T>(), *pb = b.data<T>();
  if (rows == 1) {
    cpu_kernels::parallel_chunks(n, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      const auto sa = loops.stride_a[0], sb = loops.stride_b[0];
      inner_loop(out + begin, pa + begin * sa, sa, pb + begin * sb, sb, end - begin, f);
    });
    return;
  }
  cpu_kernels::parallel_chunks(
      rows, std::max<std::int64_t>(1, grain / n), [&](std::int64_t, std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          std::int64_t rest = r, at_a = 0, at_b = 0;
          for (int k = 1; k < loops.rank; ++k) {
            const auto i = static_cast<std::size_t>(k);
            const std::int64_t index = rest % loops.size[i];
            rest /= loops.size[i];
            at_a += index * loops.stride_a[i];
            at_b += index * loops.stride_b[i];
          }
          inner_loop(out + r * n, pa + at_a, loops.stride_a[0], pb + at_b, loops.stride_b[0], n, f);
        }
      });
}

void binary(Tensor& y, const Tensor& a, const Tensor& b, BinaryOp op) {
  dispatch_float("binary", y.dtype(), [&]<class T>(T) {
    switch (op) {
      case BinaryOp::add:
        return run<T>(y, a, b, [](T u, T v) { return u + v; });
      case BinaryOp::sub:
        return run<T>(y, a, b, [](T u, T v) { return u - v; });
      case BinaryOp::mul:
        return run<T>(y, a, b, [](T u, T v) { return u * v; });
      case BinaryOp::div:
        return run<T>(y, a, b, [](T u, T v) { return u / v; });
      case BinaryOp::minimum:
        return run<T>(y, a, b, [](T u, T v) { return v < u || v != v ? v : u; });
      case BinaryOp::less_equal:
        return run<T>(y, a, b, [](T u, T v) { return u <= v ? T(1) : T(0); });
    }
  });
}

void affine(Tensor& y, const Tensor& x, double factor, double shift) {
  dispatch_float("affine", y.dtype(), [&]<class T>(T) {
    T* out = y.data<T>();
    const T *in = x.data<T>(), a = static_cast<T>(factor), b = static_cast<T>(shift);
    cpu_kernels::parallel_chunks(y.numel(), grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = a * in[i] + b;
    });
  });
}

void add_to(Tensor& y, const Tensor& x) {
  dispatch_float("add_to", y.dtype(), [&]<class T>(T) {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    cpu_kernels::parallel_chunks(y.numel(), grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] += in[i];
    });
  });
}

const bool implemented = kernel::binary.implement(Device::Kind::cpu, binary) &&
                         kernel::affine.implement(Device::Kind::cpu, affine) &&
                         kernel::add_to.implement(Device::Kind::cpu, add_to);

}  // namespace
}  // namespace vitral
