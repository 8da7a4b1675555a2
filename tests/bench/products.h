// The matrix products of a student, alone: what a device can do at best at its shapes.
#pragma once
#include "nn/student.h"
#include "tensor/linear.h"
#include "tests/bench/timing.h"

namespace vitral::bench {

/// Of an embedding, or of a whole training step: forward, and twice that backward but for the gradient of the
/// pixels.
enum class Products : unsigned char { forward, training };

/// Floating-point operations of the products, per image. Attention, 2 % of them at most, is left out.
inline double product_flops(const nn::StudentConfig& c, Products which) {
  const double tokens = c.tokens(), width = c.internal_width();
  const double layers = 2 * tokens * 12 * width * width * c.layers;
  const double patches = 2 * tokens * width * 3 * c.patch_size * c.patch_size;
  return which == Products::forward ? layers + patches : 3 * layers + 2 * patches;
}

/// Seconds of those products for a batch, one after the other, each with its bias or bias gradient: the mean
/// rate over them is what a step is measured against.
inline double product_seconds(const nn::StudentConfig& c, std::int64_t batch, Products which, DType dtype,
                              Device device) {
  const std::int64_t rows = batch * c.tokens(), w = c.internal_width();
  const DType master = dtype == DType::bfloat16 ? DType::float32 : dtype;
  double seconds = 0;
  const auto linear = [&](std::int64_t in, std::int64_t out, bool biased, bool input_gradient) {
    Tensor x = Tensor::full({rows, in}, 0.5, dtype, device),
           y = Tensor::full({rows, out}, 0.5, dtype, device);
    Tensor weight = Tensor::full({out, in}, 0.1, dtype, device), dweight({out, in}, master, device);
    Tensor bias, dbias;
    if (biased) bias = Tensor::zeros({out}, dtype, device), dbias = Tensor::zeros({out}, master, device);
    const Times times = times_of(device, [&] {
      kernel::linear(y, x, weight, bias);
      if (which == Products::forward) return;
      kernel::linear_backward(dweight, dbias, y, x, false);
      if (input_gradient) kernel::gemm(x, y, weight, {});
    });
    return times.least;  // what it can do, whoever else uses the machine
  };
  seconds += linear(3L * c.patch_size * c.patch_size, w, false, false);
  for (const auto& [in, out] : {std::pair{w, 3 * w}, {w, w}, {w, 4 * w}, {4 * w, w}})
    seconds += c.layers * linear(in, out, true, true);
  return seconds;
}

}  // namespace vitral::bench
