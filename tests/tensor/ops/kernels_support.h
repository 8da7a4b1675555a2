// What the tests of single kernels share. Their sizes are small, as they run in the simulator, too
// (tests/cuda_simulator), and device memory is looked at as a copy on the CPU only.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tensor/tensor.h"
#include "tests/support.h"

namespace vitral::test {

using Values = std::vector<double>;

/// Where tensors of a VITRAL_KERNEL_TEST are placed.
inline Device device_under_test = gpu;

/// A test that runs twice: as SUITE.NAME on the CPU and as SUITEOnCuda.NAME on a GPU.
#define VITRAL_KERNEL_TEST(suite, name)                      \
  void suite##_##name();                                     \
  TEST(suite, name) {                                        \
    ::vitral::test::device_under_test = ::vitral::cpu;       \
    suite##_##name();                                        \
    ::vitral::test::device_under_test = ::vitral::test::gpu; \
  }                                                          \
  TEST(suite##OnCuda, name) {                                \
    VITRAL_NEEDS_DEVICE(::vitral::test::gpu);                \
    suite##_##name();                                        \
  }                                                          \
  void suite##_##name()

inline constexpr double inf = std::numeric_limits<double>::infinity();
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();
inline constexpr DType float_types[] = {DType::float32, DType::float64, DType::bfloat16};

/// Random numbers that `dtype` holds, on the CPU.
inline Tensor random_tensor(const Shape& shape, DType dtype, std::uint64_t seed, double low = -3,
                            double high = 3) {
  Tensor t(shape, DType::float64);
  Random random(seed, shape.numel());
  for (double& v : std::span(t.data<double>(), static_cast<std::size_t>(t.numel())))
    v = random.uniform(low, high);
  return t.cast(dtype);
}

/// Any pattern of bits, NaN among them: for kernels that move elements as they are.
inline Tensor random_bits(const Shape& shape, DType dtype, std::uint64_t seed = 1) {
  Tensor t(shape, dtype);
  Random random(seed, shape.numel());
  for (unsigned char& byte : std::span(static_cast<unsigned char*>(t.raw()), t.bytes()))
    byte = static_cast<unsigned char>(random.next());
  return t;
}

/// Elements in double, for references.
inline Tensor wide(const Tensor& t) { return t.cast(DType::float64); }

/// A tensor on a device, `offset` elements behind an aligned address and between two guards. All bits are
/// set, NaN: a kernel that reads a guard computes NaN, and one that writes there is found.
class Placed : public Tensor {
 public:
  Placed(const Shape& shape, DType dtype, std::int64_t offset = 0, Device device = device_under_test)
      : Placed(filled(shape.numel() + offset + 2 * guard, dtype).to(device), shape, guard + offset) {}
  explicit Placed(const Tensor& values, std::int64_t offset = 0, Device device = device_under_test)
      : Placed(values.shape(), values.dtype(), offset, device) {
    copy_from(values);
  }

  bool guards_hold() const {
    const Tensor host = all_.to(cpu);
    const auto* bytes = static_cast<const unsigned char*>(host.raw());
    const auto is_set = [](unsigned char byte) { return byte == 0xFF; };
    return std::all_of(bytes, bytes + begin_, is_set) &&
           std::all_of(bytes + begin_ + this->bytes(), bytes + host.bytes(), is_set);
  }

 private:
  static constexpr std::int64_t guard = 64;

  Placed(const Tensor& all, const Shape& shape, std::int64_t first)
      : Tensor(all.rows(first, first + shape.numel()).reshape(shape)),
        all_(all),
        begin_(static_cast<std::size_t>(first) * size_of(all.dtype())) {}
  static Tensor filled(std::int64_t count, DType dtype) {
    Tensor t({count}, dtype);
    std::memset(t.raw(), 0xFF, t.bytes());
    return t;
  }

  Tensor all_;
  std::size_t begin_;  // bytes
};

/// What norms compute in.
struct NormTypes {
  DType x, weight;
};
inline constexpr NormTypes norm_types[] = {{DType::float32, DType::float32},
                                           {DType::float64, DType::float64},
                                           {DType::bfloat16, DType::float32},
                                           {DType::bfloat16, DType::bfloat16}};

/// How far results may be from the exact ones.
struct Tolerance {
  double relative;   // to the largest of all results
  double each = 0;   // to each result
  double floor = 0;  // what the largest result counts as at least
};
/// For results that are stored as `dtype`: what one rounding to bfloat16 costs, `roundings` times.
inline Tolerance tolerance(DType dtype, double roundings = 1) {
  return {dtype == DType::float64 ? 1e-12 : 1e-6, dtype == DType::bfloat16 ? roundings * 0x1p-8 : 0};
}

/// What is NaN or infinite must be so.
inline testing::AssertionResult near(const Values& got, const Values& want, const Tolerance& t) {
  if (got.size() != want.size())
    return testing::AssertionFailure() << got.size() << " numbers, not " << want.size();
  double largest = std::max(t.floor, 1e-30);
  for (const double w : want)
    if (std::isfinite(w)) largest = std::max(largest, std::abs(w));
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double g = got[i], w = want[i];
    const bool good = std::isnan(w)   ? std::isnan(g)
                      : std::isinf(w) ? g == w
                                      : std::abs(g - w) <= t.relative * largest + t.each * std::abs(w);
    if (!good)
      return testing::AssertionFailure()
             << g << " and not " << w << " at " << i << ", the largest is " << largest;
  }
  return testing::AssertionSuccess();
}
inline testing::AssertionResult near(const Placed& got, const Values& want, const Tolerance& t) {
  if (!got.guards_hold()) return testing::AssertionFailure() << "wrote outside of the tensor";
  return near(got.to_vector(), want, t) << " of " << got.shape().str() << " " << name(got.dtype());
}
inline testing::AssertionResult near(const Placed& got, const Tensor& want, const Tolerance& t) {
  return near(got, want.to_vector(), t);
}

inline testing::AssertionResult same_bits(const Tensor& got, const Tensor& want) {
  const Tensor a = got.to(cpu), b = want.to(cpu);
  if (a.shape() != b.shape() || a.dtype() != b.dtype())
    return testing::AssertionFailure() << "another shape or dtype";
  const auto *p = static_cast<const unsigned char*>(a.raw()), *q = static_cast<const unsigned char*>(b.raw());
  const std::size_t at = static_cast<std::size_t>(std::mismatch(p, p + a.bytes(), q).first - p);
  if (at == a.bytes()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "differs at " << at / size_of(a.dtype()) << " of " << a.shape().str()
                                     << " " << name(a.dtype());
}
inline testing::AssertionResult same_bits(const Placed& got, const Tensor& want) {
  if (!got.guards_hold()) return testing::AssertionFailure() << "wrote outside of the tensor";
  return same_bits(static_cast<const Tensor&>(got), want);
}

}  // namespace vitral::test
