// In chunks of rows: a token is quantised, multiplied and scaled back while it is in the cache, and what
// stands between the two halves of an MLP is never stored. Few rows are quantised first, and then each thread
// takes a part of the columns, so that every weight is read once.
#include "tensor/ops/linear_int8.h"

#include <algorithm>

#include "tensor/cpu/matmul/int8_rows.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

#ifdef VITRAL_ONEDNN
#include "tensor/cpu/matmul/onednn_int8.h"
#endif

namespace vitral {
namespace {

using cpu_kernels::BFloat16;
using cpu_kernels::Offset;
using cpu_kernels::parallel_chunks;
using cpu_kernels::scratch;

#ifdef VITRAL_ONEDNN
namespace onednn = cpu_kernels::onednn;

// Where excess_of_half() stands behind the weight, in bytes: a block without padding ends at any of them.
std::size_t excess_begins(const onednn::Int8Order& order) {
  return (order.bytes() + alignof(std::int32_t) - 1) / alignof(std::int32_t) * alignof(std::int32_t);
}

// The weight in oneDNN's order, then excess_of_half().
void pack(Tensor& packed, const Tensor& weight) {
  if (weight.numel() == 0 || !onednn::multiplies_int8()) return;
  const std::int64_t in = weight.dim(1), out = weight.dim(0);
  const std::size_t bytes = excess_begins(onednn::int8_order(in, out));
  packed = Tensor({static_cast<std::int64_t>(bytes + static_cast<std::size_t>(out) * sizeof(std::int32_t))},
                  DType::uint8);
  auto* to = packed.data<std::uint8_t>();
  onednn::pack_int8(to, weight.data<std::int8_t>(), in, out);
  cpu_kernels::excess_of_half(reinterpret_cast<std::int32_t*>(to + bytes), weight.data<std::int8_t>(), out,
                              in);
}
#endif

constexpr std::int64_t rows_a_chunk = 64;
constexpr std::int64_t columns_at_once = 576;  // sums of a chunk, which stay in the cache

// A layer's product, for rows and columns in parts.
class Layer {
 public:
  Layer(const Tensor& weight, const Tensor& packed, const Tensor& scale, const Tensor& bias)
      : in(weight.dim(1)),
        out(weight.dim(0)),
        weight_(weight.data<std::int8_t>()),
        scale_(scale.data<float>()),
        packed_(packed),
        bias_(bias.defined() ? bias : Tensor::zeros({out})) {
#ifdef VITRAL_ONEDNN
    if (!packed_.defined()) pack(packed_, weight);
    if (packed_.defined()) {
      offset = Offset::half;
      order_ = onednn::int8_order(in, out);
      excess_ = reinterpret_cast<const std::int32_t*>(packed_.data<std::uint8_t>() + excess_begins(order_));
      block = order_.block;
      return;
    }
#endif
    packed_ = Tensor::zeros({out}, DType::float32);  // the bits of int32 zeros
    excess_ = reinterpret_cast<const std::int32_t*>(packed_.data<float>());
  }

  /// y = q w^T, of the columns from `first` on, the first of a block.
  template <class T>
  void multiply(T* y, const std::uint8_t* q, const float* s, std::int64_t rows, std::int64_t first,
                std::int64_t last) const {
    const std::int64_t most = std::max(columns_at_once / block * block, block);
    for (std::int64_t begin = first; begin < last; begin += most) {
      const std::int64_t columns = std::min(last - begin, most);
      auto* sums = scratch<std::int32_t>(static_cast<std::size_t>(rows * columns));
      multiply_bytes(sums, q, rows, begin, columns);
      cpu_kernels::dequantize_rows(y + begin, out, sums, excess_ + begin, s, scale_ + begin,
                                   bias_.data<float>() + begin, rows, columns);
    }
  }

  const std::int64_t in, out;
  std::int64_t block = 1;  // of columns
  Offset offset = Offset::none;

 private:
  void multiply_bytes(std::int32_t* sums, const std::uint8_t* q, std::int64_t rows, std::int64_t first,
                      std::int64_t columns) const {
#ifdef VITRAL_ONEDNN
    if (offset == Offset::half)
      return onednn::multiply_int8(
          sums, q,
          packed_.data<std::uint8_t>() + static_cast<std::size_t>(first / block) * order_.block_bytes, rows,
          in, columns, out);
#endif
    cpu_kernels::multiply_bytes(sums, reinterpret_cast<const std::int8_t*>(q), weight_ + first * in, rows, in,
                                columns);
  }

  const std::int8_t* weight_;
  const float* scale_;
  Tensor packed_, bias_;
  const std::int32_t* excess_;
#ifdef VITRAL_ONEDNN
  onednn::Int8Order order_;
#endif
};

bool has_rows_for_all(std::int64_t rows) { return rows >= rows_a_chunk * cpu_threads(); }

// source(begin, end, quantize) hands these rows of x to quantize(first), while they are in memory.
template <class T, class Source>
void linear_of(Tensor& y, std::int64_t rows, const Layer& layer, const Source& source) {
  T* to = cpu_kernels::elements<T>(y);
  const std::int64_t in = layer.in, out = layer.out;
  if (has_rows_for_all(rows))
    return parallel_chunks(rows, rows_a_chunk, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      auto* q = scratch<std::uint8_t>(static_cast<std::size_t>(rows_a_chunk * in));
      float s[rows_a_chunk];
      source(begin, end,
             [&](const T* x) { cpu_kernels::quantize_rows(q, s, x, end - begin, in, layer.offset); });
      layer.multiply(to + begin * out, q, s, end - begin, 0, out);
    });
  Tensor bytes({rows, in}, DType::uint8), scales({rows});
  auto* q = bytes.data<std::uint8_t>();
  float* s = scales.data<float>();
  constexpr std::int64_t few = 8;
  parallel_chunks(rows, few, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    source(begin, end, [&](const T* x) {
      cpu_kernels::quantize_rows(q + begin * in, s + begin, x, end - begin, in, layer.offset);
    });
  });
  const std::int64_t blocks = (out + layer.block - 1) / layer.block,
                     part = (blocks + cpu_threads() - 1) / cpu_threads() * layer.block;
  parallel_chunks(out, part, [&](std::int64_t, std::int64_t first, std::int64_t last) {
    layer.multiply(to, q, s, rows, first, last);
  });
}

template <class F>
void for_floats(const Tensor& y, F&& f) {
  if (y.dtype() == DType::bfloat16) return f(BFloat16{});
  f(float{});
}

void linear_int8(Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& packed, const Tensor& scale,
                 const Tensor& bias) {
  if (y.numel() == 0) return;
  const Layer layer(weight, packed, scale, bias);
  for_floats(y, [&]<class T>(T) {
    const T* from = cpu_kernels::elements<T>(x);
    linear_of<T>(y, x.dim(0), layer, [&](std::int64_t begin, std::int64_t, const auto& quantize) {
      quantize(from + begin * layer.in);
    });
  });
}

void activation_linear_int8(Tensor& y, const Tensor& h, const Tensor& weight, const Tensor& packed,
                            const Tensor& scale, const Tensor& bias, const ActivationKernels& f) {
  if (y.numel() == 0) return;
  const Layer layer(weight, packed, scale, bias);
  for_floats(y, [&]<class T>(T) {
    linear_of<T>(y, h.dim(0), layer, [&](std::int64_t begin, std::int64_t end, const auto& quantize) {
      Tensor activation({end - begin, layer.in}, h.dtype());
      f.value(activation, h.rows(begin, end));
      quantize(cpu_kernels::elements<T>(activation));
    });
  });
}

void mlp_int8(Tensor& y, const Tensor& x, const kernel::Int8Layer& first, const kernel::Int8Layer& second,
              const ActivationKernels& f) {
  const std::int64_t rows = x.dim(0);
  if (!has_rows_for_all(rows)) {
    Tensor h({rows, first.weight.dim(0)}, x.dtype());
    linear_int8(h, x, first.weight, first.packed, first.scale, first.bias);
    return activation_linear_int8(y, h, second.weight, second.packed, second.scale, second.bias, f);
  }
  const Layer one(first.weight, first.packed, first.scale, first.bias),
      two(second.weight, second.packed, second.scale, second.bias);
  for_floats(y, [&]<class T>(T) {
    T* to = cpu_kernels::elements<T>(y);
    const T* from = cpu_kernels::elements<T>(x);
    parallel_chunks(rows, rows_a_chunk, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      auto* q = scratch<std::uint8_t>(static_cast<std::size_t>(rows_a_chunk * std::max(one.in, two.in)));
      float s[rows_a_chunk];
      Tensor hidden({end - begin, two.in}, x.dtype());
      T* h = cpu_kernels::elements<T>(hidden);
      cpu_kernels::quantize_rows(q, s, from + begin * one.in, end - begin, one.in, one.offset);
      one.multiply(h, q, s, end - begin, 0, one.out);
      f.value(hidden, hidden);
      cpu_kernels::quantize_rows(q, s, h, end - begin, two.in, two.offset);
      two.multiply(to + begin * two.out, q, s, end - begin, 0, two.out);
    });
  });
}

const bool implemented =
#ifdef VITRAL_ONEDNN
    kernel::pack_int8.implement(Device::Kind::cpu, pack) &&
#endif
    kernel::linear_int8.implement(Device::Kind::cpu, linear_int8) &&
    kernel::activation_linear_int8.implement(Device::Kind::cpu, activation_linear_int8) &&
    kernel::mlp_int8.implement(Device::Kind::cpu, mlp_int8);

}  // namespace
}  // namespace vitral
