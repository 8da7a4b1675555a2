#include "tensor/ops/linear_int8.h"

#include <algorithm>
#include <limits>

#include "tensor/cpu/number.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral {
namespace {

using cpu_kernels::load;
using cpu_kernels::store;

constexpr std::int64_t rows_at_once = 16;  // that a row of the weight is read for

// Quantises a token and returns its scale: NaN, and zeros, where a value is not finite.
template <class T>
VITRAL_CLONES float quantize(std::int8_t* __restrict q, const T* __restrict x, std::int64_t n) {
  float largest = 0;
  std::int32_t strange = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const float size = std::fabs(load(x[i]));
    largest = size > largest ? size : largest;
    strange |= size <= std::numeric_limits<float>::max() ? 0 : 1;
  }
  if (strange != 0) {
    std::fill(q, q + n, std::int8_t{0});
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = 127 / std::max(largest, int8_smallest_token);
  // Adding and taking away 1.5 * 2^23 rounds to an integer, ties to even.
  constexpr float magic = 12582912;
  for (std::int64_t i = 0; i < n; ++i)
    q[i] = static_cast<std::int8_t>(static_cast<std::int32_t>((load(x[i]) * inverse + magic) - magic));
  return std::max(largest, int8_smallest_token) / 127;
}

// y[r] = s[r] scale sum_i q[r,i] weight[i] + bias, for the rows of a block.
template <class T>
VITRAL_CLONES void multiply(T* __restrict y, std::int64_t step, const std::int8_t* __restrict q,
                            const float* __restrict s, std::int64_t rows,
                            const std::int8_t* __restrict weight, std::int64_t n, float scale, float bias) {
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < n; ++i)
      sum += static_cast<std::int16_t>(q[r * n + i]) * static_cast<std::int16_t>(weight[i]);
    store(y[r * step], static_cast<float>(sum) * s[r] * scale + bias);
  }
}

template <class T>
void linear_of(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& scale, const Tensor& bias) {
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  T* to = cpu_kernels::elements<T>(y);
  const T* from = cpu_kernels::elements<T>(x);
  const auto* w = weight.data<std::int8_t>();
  const float *scales = scale.data<float>(), *biases = bias.defined() ? bias.data<float>() : nullptr;
  cpu_kernels::parallel_chunks(
      x.dim(0), rows_at_once, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
        auto* q = cpu_kernels::scratch<std::int8_t>(static_cast<std::size_t>(rows_at_once * in));
        float s[rows_at_once];
        for (std::int64_t r = begin; r < end; ++r)
          s[r - begin] = quantize(q + (r - begin) * in, from + r * in, in);
        for (std::int64_t o = 0; o < out; ++o)
          multiply(to + begin * out + o, out, q, s, end - begin, w + o * in, in, scales[o],
                   biases ? biases[o] : 0.0F);
      });
}

void linear_int8(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor&, const Tensor& scale,
                 const Tensor& bias) {
  if (y.numel() == 0) return;
  if (x.dtype() == DType::bfloat16)
    linear_of<cpu_kernels::BFloat16>(y, x, weight, scale, bias);
  else
    linear_of<float>(y, x, weight, scale, bias);
}

// In chunks of rows, as activation_linear: the activation is never stored whole.
void activation_linear_int8(Tensor& y, const Tensor& h, const Tensor& weight, const Tensor& packed,
                            const Tensor& scale, const Tensor& bias, const ActivationKernels& f) {
  constexpr std::int64_t chunk = 1024;
  const std::int64_t rows = h.dim(0);
  Tensor activation({std::min(chunk, rows), h.dim(1)}, h.dtype());
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t end = std::min(rows, begin + chunk);
    Tensor a = activation.rows(0, end - begin), out = y.rows(begin, end);
    f.value(a, h.rows(begin, end));
    kernel::linear_int8(out, a, weight, packed, scale, bias);
  }
}

const bool implemented = kernel::linear_int8.implement(Device::Kind::cpu, linear_int8) &&
                         kernel::activation_linear_int8.implement(Device::Kind::cpu, activation_linear_int8);

}  // namespace
}  // namespace vitral
