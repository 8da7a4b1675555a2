// The matrix products of a student, alone: what a device can do at best at its shapes.
#pragma once
#include "models/student/student.h"
#include "tensor/ops/linear_int8.h"
#include "tests/bench/timing.h"

namespace vitral::bench {

/// Of an embedding, or of a whole training step: forward, and twice that backward but for the gradient of the
/// pixels.
enum class Products : unsigned char { forward, training };

/// Floating-point operations of the products, per image. Attention, 2 % of them at most, is left out.
inline double product_flops(const models::StudentConfig& c, Products which) {
  const double tokens = c.tokens(), width = c.internal_width();
  const double layers = 2 * tokens * 12 * width * width * c.layers;
  const double patches = 2 * tokens * width * 3 * c.patch_size * c.patch_size;
  return which == Products::forward ? layers + patches : 3 * layers + 2 * patches;
}

/// Seconds of those products for a batch, one after the other, without biases and with weights packed before
/// where there is such an order: the mean rate over them is what a step is measured against. The best round
/// of each counts, which is what the device can do, whoever else uses the machine. dtype int8: products of
/// bytes, with their tokens quantised from float32 and scaled back.
inline double product_seconds(const models::StudentConfig& c, std::int64_t batch, Products which, DType dtype,
                              Device device) {
  const std::int64_t rows = batch * c.tokens(), w = c.internal_width();
  const DType master = dtype == DType::bfloat16 ? DType::float32 : dtype;
  const auto forward_int8 = [&](std::int64_t in, std::int64_t out) {
    const Tensor x = Tensor::full({rows, in}, 0.5);
    const QuantizedWeight weight = quantize(Tensor::full({out, in}, 0.1));
    Tensor y({rows, out}), packed;
    if (kernel::pack_int8.implemented(device.kind)) kernel::pack_int8(packed, weight.q);
    return times_of(device, [&] { kernel::linear_int8(y, x, weight.q, packed, weight.scale, {}); }).least;
  };
  const auto forward = [&](std::int64_t in, std::int64_t out) {
    if (dtype == DType::int8) return forward_int8(in, out);
    const Tensor x = Tensor::full({rows, in}, 0.5, dtype, device),
                 weight = Tensor::full({out, in}, 0.1, dtype, device);
    Tensor y({rows, out}, dtype, device), packed;
    if (kernel::pack_weight.implemented(device.kind)) kernel::pack_weight(packed, weight);
    return times_of(device,
                    [&] {
                      if (packed.defined())
                        kernel::linear_packed(y, x, packed, {});
                      else
                        kernel::linear(y, x, weight, {});
                    })
        .least;
  };
  const auto weight_gradient = [&](std::int64_t in, std::int64_t out) {
    const Tensor x = Tensor::full({rows, in}, 0.5, dtype, device),
                 dy = Tensor::full({rows, out}, 0.5, dtype, device);
    Tensor dweight({out, in}, master, device), none;
    return times_of(device, [&] { kernel::linear_backward(dweight, none, dy, x, false); }).least;
  };
  const bool training = which == Products::training;
  const std::int64_t pixels = 3L * c.patch_size * c.patch_size;
  double seconds = forward(pixels, w) + (training ? weight_gradient(pixels, w) : 0);
  for (const auto& [in, out] : {std::pair{w, 3 * w}, {w, w}, {w, 4 * w}, {4 * w, w}}) {
    seconds += c.layers * forward(in, out);
    // The gradient of the input is the same product with the sides of the weight exchanged.
    if (training) seconds += c.layers * (forward(out, in) + weight_gradient(in, out));
  }
  return seconds;
}

}  // namespace vitral::bench
