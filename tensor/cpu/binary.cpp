#include "tensor/ops/binary.h"

#include <algorithm>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

constexpr std::int64_t grain = 16384;

using cpu_kernels::elements;
using cpu_kernels::load;
using cpu_kernels::store;

template <class T, class F>
VITRAL_CLONES void inner_loop(T* y, const T* a, std::int64_t step_a, const T* b, std::int64_t step_b,
                              std::int64_t n, F f) {
  if (step_a == 1 && step_b == 1)
    for (std::int64_t i = 0; i < n; ++i) store(y[i], f(load(a[i]), load(b[i])));
  else if (step_a == 1)
    for (std::int64_t i = 0; i < n; ++i) store(y[i], f(load(a[i]), load(*b)));
  else if (step_b == 1)
    for (std::int64_t i = 0; i < n; ++i) store(y[i], f(load(*a), load(b[i])));
  else
    for (std::int64_t i = 0; i < n; ++i) store(y[i], f(load(*a), load(*b)));
}

template <class T, class F>
void run(Tensor& y, const Tensor& a, const Tensor& b, F f) {
  if (y.numel() == 0) return;
  const BroadcastLoops loops = broadcast_loops(y.shape(), a.shape(), b.shape());
  const std::int64_t n = loops.size[0], rows = y.numel() / n;
  T* out = elements<T>(y);
  const T *pa = elements<T>(a), *pb = elements<T>(b);
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
  cpu_kernels::dispatch_number("binary", y.dtype(), [&]<class T>(T) {
    using C = cpu_kernels::Compute<T>;
    switch (op) {
      case BinaryOp::add:
        return run<T>(
            y, a, b, [](C u, C v) __attribute__((always_inline)) { return u + v; });
      case BinaryOp::sub:
        return run<T>(
            y, a, b, [](C u, C v) __attribute__((always_inline)) { return u - v; });
      case BinaryOp::mul:
        return run<T>(
            y, a, b, [](C u, C v) __attribute__((always_inline)) { return u * v; });
      case BinaryOp::div:
        return run<T>(
            y, a, b, [](C u, C v) __attribute__((always_inline)) { return u / v; });
      case BinaryOp::minimum:
        return run<T>(
            y, a, b, [](C u, C v) __attribute__((always_inline)) { return v < u || v != v ? v : u; });
      case BinaryOp::less_equal:
        return run<T>(
            y, a, b, [](C u, C v) __attribute__((always_inline)) { return u <= v ? C(1) : C(0); });
    }
  });
}

template <class T>
VITRAL_CLONES void affine_chunk(T* y, const T* x, cpu_kernels::Compute<T> a, cpu_kernels::Compute<T> b,
                                std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) store(y[i], a * load(x[i]) + b);
}

void affine(Tensor& y, const Tensor& x, double factor, double shift) {
  cpu_kernels::dispatch_number("affine", y.dtype(), [&]<class T>(T) {
    using C = cpu_kernels::Compute<T>;
    T* out = elements<T>(y);
    const T* in = elements<T>(x);
    const C a = static_cast<C>(factor), b = static_cast<C>(shift);
    cpu_kernels::parallel_chunks(y.numel(), grain, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
      affine_chunk<T>(out + begin, in + begin, a, b, end - begin);
    });
  });
}

template <class T>
VITRAL_CLONES void add_chunk(T* y, const T* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) store(y[i], load(y[i]) + load(x[i]));
}

void add_to(Tensor& y, const Tensor& x) {
  cpu_kernels::dispatch_number("add_to", y.dtype(), [&]<class T>(T) {
    T* out = elements<T>(y);
    const T* in = elements<T>(x);
    cpu_kernels::parallel_chunks(y.numel(), grain, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
      add_chunk<T>(out + begin, in + begin, end - begin);
    });
  });
}

const bool implemented = kernel::binary.implement(Device::Kind::cpu, binary) &&
                         kernel::affine.implement(Device::Kind::cpu, affine) &&
                         kernel::add_to.implement(Device::Kind::cpu, add_to);

}  // namespace
}  // namespace vitral
