// Stands in for cuDNN's products with QuickGELU (tensor/cuda/matmul/fused.h), in double. As there, nothing is
// rounded between the product and the activation.
#include <cmath>
#include <cstdlib>
#include <initializer_list>

#include "cuda_bf16.h"
#include "runtime.h"
#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/fused.h"

namespace simulator {
namespace {

using vitral::Device;
using vitral::Tensor;
using Number = __nv_bfloat16;

Number* numbers(const Tensor& t) { return static_cast<Number*>(t.raw()); }

bool can_run(Device device, std::initializer_list<const Tensor*> tensors) {
  if (settings().cudnn == 0 || device.is_cpu()) return false;
  return std::all_of(tensors.begin(), tensors.end(), [](const Tensor* t) {
    return t->dtype() == vitral::DType::bfloat16 && reinterpret_cast<std::uintptr_t>(t->raw()) % 16 == 0;
  });
}

/// sum_k a[k] b[k step]
double dot(const Number* a, const Number* b, std::int64_t n, std::int64_t step) {
  double sum = 0;
  for (std::int64_t k = 0; k < n; ++k)
    sum += static_cast<double>(__bfloat162float(a[k])) * static_cast<double>(__bfloat162float(b[k * step]));
  return sum;
}

double gate(double x) { return 1 / (1 + std::exp(-1.702 * x)); }

bool queue(Device device, Task task) {
  ++counts().fused;
  if (settings().dry) return true;
  const auto time = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(settings().fused_seconds));
  return push(vitral::cuda::stream(device), [task = std::move(task), time] {
           task();
           pass(time);
         }) == cudaSuccess;
}

bool forward(Tensor& y, Tensor& activation, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!can_run(y.device(), {&y, &activation, &x, &weight, &bias})) return false;
  return queue(y.device(),
               [rows = y.dim(0), out = y.dim(1), in = x.dim(1), to = numbers(y), result = numbers(activation),
                from = numbers(x), w = numbers(weight), b = numbers(bias)] {
                 for (std::int64_t i = 0; i < rows * out; ++i) {
                   const double h = dot(from + i / out * in, w + i % out * in, in, 1) +
                                    static_cast<double>(__bfloat162float(b[i % out]));
                   to[i] = Number(h);
                   result[i] = Number(h * gate(h));
                 }
               });
}

bool backward(Tensor& dh, const Tensor& dy, const Tensor& weight, const Tensor& h) {
  if (!can_run(dh.device(), {&dh, &dy, &weight, &h})) return false;
  return queue(dh.device(), [rows = dy.dim(0), out = dy.dim(1), in = h.dim(1), to = numbers(dh),
                             from = numbers(dy), w = numbers(weight), before = numbers(h)] {
    for (std::int64_t i = 0; i < rows * in; ++i) {
      const double x = static_cast<double>(__bfloat162float(before[i])), s = gate(x);
      to[i] = Number(dot(from + i / in * out, w + i % in, out, in) * s * (1 + 1.702 * x * (1 - s)));
    }
  });
}

constexpr vitral::cuda::FusedProducts simulated{forward, backward, [](Device) { return settings().cudnn; }};
[[maybe_unused]] const bool registered = (vitral::cuda::fused_products = &simulated) != nullptr;

}  // namespace
}  // namespace simulator
