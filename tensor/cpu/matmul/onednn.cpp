#include "tensor/cpu/matmul/onednn.h"

#include <map>
#include <mutex>
#include <tuple>

#include "tensor/cpu/matmul/onednn_support.h"
#include "tensor/cpu/matmul/pack_weight.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"

namespace vitral::cpu_kernels::onednn {
namespace {

using dnnl::memory;

memory::data_type type_of(DType dtype) {
  return dtype == DType::bfloat16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc matrix(std::int64_t rows, std::int64_t columns, DType dtype, bool transposed = false) {
  return {{rows, columns}, type_of(dtype), transposed ? memory::dims{1, rows} : memory::dims{columns, 1}};
}

dnnl::matmul::primitive_desc describe(const Linear& l, const memory::desc& weight) {
  const memory::desc x = matrix(l.rows, l.in, l.dtype), y = matrix(l.rows, l.out, l.result);
  const memory::desc bias({1, l.out}, type_of(l.dtype), memory::format_tag::ab);
#if DNNL_VERSION_MAJOR >= 3
  if (l.bias) return {engine(), x, weight, bias, y};
  return {engine(), x, weight, y};
#else
  if (l.bias) return {{x, weight, bias, y}, engine()};
  return {{x, weight, y}, engine()};
#endif
}

struct Order {
  memory::desc desc;
  bool blocks;  // of pack_blocks()
};

// The order of a packed weight does not depend on the rows that it will be multiplied with.
Order packed_order(std::int64_t in, std::int64_t out, DType dtype) {
  // Decided once: what was packed must be read in the same order ever after.
  static std::mutex mutex;
  static std::map<std::tuple<std::int64_t, std::int64_t, DType>, Order> known;
  std::lock_guard lock(mutex);
  auto found = known.find({in, out, dtype});
  if (found == known.end()) {
    using Tag = memory::format_tag;
    const auto desc_of = [&](Tag tag) { return memory::desc({in, out}, type_of(dtype), tag); };
    const memory::desc chosen =
        describe({.rows = 512, .in = in, .out = out, .dtype = dtype, .result = dtype}, desc_of(Tag::any))
            .weights_desc();
    const bool blocks = chosen == desc_of(dtype == DType::bfloat16 ? Tag::BA16a64b2a : Tag::BA16a64b);
    found = known.emplace(std::tuple(in, out, dtype), Order{chosen, blocks}).first;
  }
  return found->second;
}

memory::desc packed_desc(std::int64_t in, std::int64_t out, DType dtype) {
  return packed_order(in, out, dtype).desc;
}

struct Pack {
  memory::desc from;
  dnnl::reorder primitive;
};

const Pack& packing(std::int64_t in, std::int64_t out, DType dtype, bool transposed) {
  thread_local Cache<std::tuple<std::int64_t, std::int64_t, DType, bool>, Pack> cache;
  const memory::desc to = packed_desc(in, out, dtype);
  return cache.get({in, out, dtype, transposed}, [&]() -> Pack {
    const memory::desc from = matrix(in, out, dtype, transposed);
    return {from, dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to))};
  });
}

}  // namespace

bool Linear::operator<(const Linear& other) const {
  const auto key = [](const Linear& l) { return std::tuple(l.rows, l.in, l.out, l.dtype, l.result, l.bias); };
  return key(*this) < key(other);
}

Linear linear_of(const Tensor& y, const Tensor& x, const Tensor& bias) {
  return {.rows = x.dim(0),
          .in = x.dim(1),
          .out = y.dim(1),
          .dtype = x.dtype(),
          .result = y.dtype(),
          .bias = bias.defined()};
}

bool has_bfloat16() { return has_isa(dnnl::cpu_isa::avx512_core_bf16); }

bool multiplies(DType dtype) {
  return dtype == DType::float32 || (dtype == DType::bfloat16 && has_bfloat16());
}

namespace {

std::size_t packed_bytes(std::int64_t in, std::int64_t out, DType dtype) {
  std::size_t bytes = 0;
  guarded("pack_weight", [&] { bytes = packed_desc(in, out, dtype).get_size(); });
  return bytes;
}

void pack(void* packed, const void* weight, bool transposed, std::int64_t in, std::int64_t out, DType dtype) {
  guarded("pack_weight", [&] {
    if (packed_order(in, out, dtype).blocks && (dtype == DType::float32 || !transposed || in % 2 == 0))
      return pack_blocks(packed, weight, transposed, in, out, dtype);
    const Pack& p = packing(in, out, dtype, transposed);
    memory from = view(p.from, weight), to = view(packed_desc(in, out, dtype), packed);
    p.primitive.execute(stream(), from, to);
    stream().wait();
  });
}

}  // namespace

Tensor packed_weight(const Tensor& weight, bool transposed) {
  if (!multiplies(weight.dtype()) || weight.numel() == 0) return {};
  const std::int64_t in = weight.dim(transposed ? 1 : 0), out = weight.dim(transposed ? 0 : 1);
  Tensor packed({static_cast<std::int64_t>(packed_bytes(in, out, weight.dtype()))}, DType::uint8);
  pack(packed.raw(), weight.raw(), transposed, in, out, weight.dtype());
  return packed;
}

bool packed_in_blocks(std::int64_t in, std::int64_t out, DType dtype) {
  bool blocks = false;
  guarded("linear", [&] { blocks = packed_order(in, out, dtype).blocks; });
  return blocks;
}

void linear_packed(void* y, const void* x, const void* packed, const void* bias, const Linear& l) {
  guarded("linear", [&] {
    struct Ready {
      dnnl::matmul::primitive_desc desc;
      dnnl::matmul primitive;
    };
    thread_local Cache<Linear, Ready> cache;
    const Ready& ready = cache.get(l, [&]() -> Ready {
      const auto desc = describe(l, packed_desc(l.in, l.out, l.dtype));
      return {desc, dnnl::matmul(desc)};
    });
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, view(ready.desc.src_desc(), x)},
                                              {DNNL_ARG_WEIGHTS, view(ready.desc.weights_desc(), packed)},
                                              {DNNL_ARG_DST, view(ready.desc.dst_desc(), y)}};
    if (l.bias) arguments.emplace(DNNL_ARG_BIAS, view(ready.desc.bias_desc(), bias));
    ready.primitive.execute(stream(), arguments);
    stream().wait();
  });
}

void linear_packed(Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& bias) {
  linear_packed(y.raw(), x.raw(), packed.raw(), bias.defined() ? bias.raw() : nullptr, linear_of(y, x, bias));
}

void linear(void* y, const void* x, const void* weight, bool transposed, const void* bias, const Linear& l) {
  void* packed = scratch<std::byte>(packed_bytes(l.in, l.out, l.dtype));
  pack(packed, weight, transposed, l.in, l.out, l.dtype);
  linear_packed(y, x, packed, bias, l);
}

void multiply(float* c, const float* a, const float* b, std::int64_t m, std::int64_t n, std::int64_t k,
              const kernel::GemmOptions& o) {
  const dnnl_status_t status =
      dnnl_sgemm(o.transpose_a ? 'T' : 'N', o.transpose_b ? 'T' : 'N', m, n, k, 1, a, o.transpose_a ? m : k,
                 b, o.transpose_b ? k : n, o.accumulate ? 1.0F : 0.0F, c, n);
  VITRAL_CHECK(status == dnnl_success, "gemm: oneDNN cannot multiply [{}, {}] and [{}, {}]", m, k, k, n);
}

void weight_gradient(float* dweight, const void* dy, const void* x, std::int64_t rows, std::int64_t in,
                     std::int64_t out, DType dtype, bool accumulate) {
  if (dtype == DType::float32)
    return multiply(dweight, static_cast<const float*>(dy), static_cast<const float*>(x), out, in, rows,
                    {.transpose_a = true, .accumulate = accumulate});
  guarded("linear_backward", [&] {
    using Backward = dnnl::inner_product_backward_weights;
    struct Ready {
      Backward::primitive_desc desc;
      Backward primitive;
    };
    thread_local Cache<std::tuple<std::int64_t, std::int64_t, std::int64_t>, Ready> cache;
    const Ready& ready = cache.get({rows, in, out}, [&]() -> Ready {
      using Forward = dnnl::inner_product_forward;
      const memory::desc mx = matrix(rows, in, dtype), my = matrix(rows, out, dtype),
                         mw = matrix(out, in, DType::float32);
      const memory::desc any({out, in}, type_of(dtype), memory::format_tag::any);
#if DNNL_VERSION_MAJOR >= 3
      const Forward::primitive_desc forward(engine(), dnnl::prop_kind::forward_training, mx, any, my);
      const Backward::primitive_desc desc(engine(), mx, mw, my, forward);
#else
      const Forward::primitive_desc forward({dnnl::prop_kind::forward_training, mx, any, my}, engine());
      const Backward::primitive_desc desc({mx, mw, my}, engine(), forward);
#endif
      return {desc, Backward(desc)};
    });
    // oneDNN overwrites.
    float* to = dweight;
    if (accumulate) to = scratch<float>(static_cast<std::size_t>(in * out));
    ready.primitive.execute(stream(), {{DNNL_ARG_SRC, view(ready.desc.src_desc(), x)},
                                       {DNNL_ARG_DIFF_DST, view(ready.desc.diff_dst_desc(), dy)},
                                       {DNNL_ARG_DIFF_WEIGHTS, view(ready.desc.diff_weights_desc(), to)}});
    stream().wait();
    if (accumulate)
      parallel_chunks(in * out, 65536, [=](std::int64_t, std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) dweight[i] += to[i];
      });
  });
}

}  // namespace vitral::cpu_kernels::onednn
