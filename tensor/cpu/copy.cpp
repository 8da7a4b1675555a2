#include "tensor/ops/copy.h"

#include <cstring>

#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

// Calls f(offset in whole, offset in part, bytes) for every contiguous run.
template <class F>
void for_slices(AxisSlice s, std::size_t element, F&& f) {
  const std::int64_t n = s.whole.n, inner = s.whole.inner;
  const std::size_t run = static_cast<std::size_t>(s.size * inner) * element;
  const std::int64_t grain =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(65536 / std::max<std::size_t>(1, run)));
  cpu_kernels::parallel_chunks(s.whole.outer, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o)
      f(static_cast<std::size_t>((o * n + s.begin) * inner) * element,
        static_cast<std::size_t>(o * s.size * inner) * element, run);
  });
}

void slice(Tensor& y, const Tensor& x, AxisSlice s) {
  char* part = static_cast<char*>(y.raw());
  const char* whole = static_cast<const char*>(x.raw());
  for_slices(s, size_of(x.dtype()), [=](std::size_t w, std::size_t p, std::size_t bytes) {
    std::memcpy(part + p, whole + w, bytes);
  });
}

void write_slice(Tensor& x, const Tensor& y, AxisSlice s) {
  char* whole = static_cast<char*>(x.raw());
  const char* part = static_cast<const char*>(y.raw());
  for_slices(s, size_of(x.dtype()), [=](std::size_t w, std::size_t p, std::size_t bytes) {
    std::memcpy(whole + w, part + p, bytes);
  });
}

template <class T>
void permute_as(Tensor& y, const Tensor& x, const kernel::Axes& axes) {
  const int rank = x.rank();
  std::array<std::int64_t, Shape::max_rank> step{};  // of x, in the order of y's axes
  for (int i = 0; i < rank; ++i) {
    const int axis = axes[static_cast<std::size_t>(i)];
    step[static_cast<std::size_t>(i)] = x.shape().product(axis + 1, rank);
  }
  const T* in = static_cast<const T*>(x.raw());
  T* out = static_cast<T*>(y.raw());
  const std::int64_t inner = rank > 0 ? y.dim(-1) : 1;
  const std::int64_t inner_step = rank > 0 ? step[static_cast<std::size_t>(rank - 1)] : 1;
  if (y.numel() == 0) return;
  cpu_kernels::parallel_chunks(y.numel() / inner, std::max<std::int64_t>(1, 16384 / inner),
                               [&](std::int64_t, std::int64_t begin, std::int64_t end) {
                                 for (std::int64_t row = begin; row < end; ++row) {
                                   std::int64_t rest = row, at = 0;
                                   for (int i = rank - 2; i >= 0; --i) {
                                     const std::int64_t d = y.shape()[i];
                                     at += rest % d * step[static_cast<std::size_t>(i)];
                                     rest /= d;
                                   }
                                   for (std::int64_t i = 0; i < inner; ++i)
                                     out[row * inner + i] = in[at + i * inner_step];
                                 }
                               });
}

void permute(Tensor& y, const Tensor& x, kernel::Axes axes) {
  switch (size_of(x.dtype())) {
    case 8:
      return permute_as<std::uint64_t>(y, x, axes);
    case 4:
      return permute_as<std::uint32_t>(y, x, axes);
    case 2:
      return permute_as<std::uint16_t>(y, x, axes);
    default:
      return permute_as<std::uint8_t>(y, x, axes);
  }
}

const bool implemented = kernel::slice.implement(Device::Kind::cpu, slice) &&
                         kernel::write_slice.implement(Device::Kind::cpu, write_slice) &&
                         kernel::permute.implement(Device::Kind::cpu, permute);

}  // namespace
}  // namespace vitral
