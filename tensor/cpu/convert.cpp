#include "tensor/ops/convert.h"

#include <algorithm>

#include <Eigen/Core>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"

namespace vitral {
namespace {

template <class F>
void with_type(DType dtype, F&& f) {
  dispatch_any<Eigen::half, Eigen::bfloat16>(dtype, f);
}

template <class T>
constexpr bool is_half = std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;

template <class To, class From>
To convert_one(From x) {
  // Half types go through float: they convert from and to nothing else exactly.
  if constexpr (is_half<From> || is_half<To>)
    return static_cast<To>(static_cast<float>(x));
  else
    return static_cast<To>(x);
}

template <class To, class From>
VITRAL_CLONES void convert_floats(To* to, const From* from, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) cpu_kernels::store(to[i], cpu_kernels::load(from[i]));
}

template <class To, class From>
void convert_parallel(Tensor& y, const Tensor& x) {
  auto* to = cpu_kernels::elements<To>(y);
  const auto* from = cpu_kernels::elements<From>(x);
  cpu_kernels::parallel_chunks(x.numel(), 65536, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
    convert_floats<To, From>(to + begin, from + begin, end - begin);
  });
}

void convert(Tensor& y, const Tensor& x) {
  // What training converts all the time.
  if (y.dtype() == DType::bfloat16 && x.dtype() == DType::float32)
    return convert_parallel<cpu_kernels::BFloat16, float>(y, x);
  if (y.dtype() == DType::float32 && x.dtype() == DType::bfloat16)
    return convert_parallel<float, cpu_kernels::BFloat16>(y, x);
  with_type(y.dtype(), [&]<class To>(To) {
    with_type(x.dtype(), [&]<class From>(From) {
      const auto* from = static_cast<const From*>(x.raw());
      auto* to = static_cast<To*>(y.raw());
      const std::int64_t n = x.numel();
      for (std::int64_t i = 0; i < n; ++i) to[i] = convert_one<To, From>(from[i]);
    });
  });
}

void fill(Tensor& y, double value) {
  with_type(y.dtype(), [&]<class T>(T) {
    auto* to = static_cast<T*>(y.raw());
    std::fill(to, to + y.numel(), convert_one<T, double>(value));
  });
}

const bool implemented =
    kernel::convert.implement(Device::Kind::cpu, convert) && kernel::fill.implement(Device::Kind::cpu, fill);

}  // namespace
}  // namespace vitral
