// Forward is one operation of cuDNN. Backward is a graph of products, sums and pointwise operations in which
// cuDNN recognises attention and runs it as a few fused kernels; its backward operation of its own
// (CUDNN_BACKEND_OPERATION_SDPA_BWD_DESCRIPTOR) no graph of cuDNN 9.19 takes.
//
//   P = exp(scale Q K^T - lse),  dV = P^T dO,  dS = scale P (dO V^T - rowsum(dO O)),  dQ = dS K,  dK = dS^T Q
//
// cuDNN's "stats" are our lse, the natural logarithm of sum exp(scale q . k) with nothing subtracted: for no
// other is P of that graph a softmax.
#include <cmath>
#include <vector>

#include "tensor/cuda/attention/cudnn.h"
#include "tensor/cuda/attention/repad.h"
#include "tensor/cuda/cudnn/run.h"

namespace vitral::cuda {
namespace {

using cudnn::Argument;
using cudnn::Descriptor;
using cudnn::Graph;
using View = cudnn::View<4>;

/// Names of the tensors that a caller gives.
enum Id : std::int64_t { q = 1, k, v, out, stats, scale, one, dout, dq, dk, dv, row_sums };

enum class Kind : unsigned char { inference, forward, backward };

struct Key {
  Kind kind;
  std::int64_t batch, heads, tokens, size;  // B, H, N, D

  std::int64_t width() const { return heads * size; }
  /// [B,H,N,D] in rows of `row` numbers a token, one head after the other.
  View rows_of(std::int64_t row) const {
    return {{batch, heads, tokens, size}, {tokens * row, size, row, 1}};
  }
  View packed_view() const { return rows_of(3 * width()); }
  View out_view() const { return rows_of(width()); }
  View row_view() const { return View::packed({batch, heads, tokens, 1}); }
};

constexpr auto bf16 = CUDNN_DATA_BFLOAT16;

void build_forward(Graph& g, const Key& key) {
  Descriptor attention(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, *g.tensor(q, bf16, key.packed_view()))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, *g.tensor(k, bf16, key.packed_view()))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, *g.tensor(v, bf16, key.packed_view()))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, *g.tensor(out, bf16, key.out_view()))
      .set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, *g.scalar(scale));
  if (key.kind == Kind::forward)
    attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC,
                  *g.tensor(stats, CUDNN_DATA_FLOAT, key.row_view()));
  g.add(attention);
}

// cuDNN compares the graph with the one it knows: operations that change nothing (the factor one) belong to
// it. It knows two. In this one dQ goes straight to its tensor, and the kernels keep dS in the workspace (2 B
// H N^2 bytes, N rounded up to their tiles). The other has a float32 tensor before dQ, into which blocks of
// keys are added in any order; its engines do not say that they are not deterministic.
void build_backward(Graph& g, const Key& key) {
  const auto score_view = View::packed({key.batch, key.heads, key.tokens, key.tokens});
  // P^T and dS^T: [B,H,N,N] as before, the last two dimensions exchanged.
  const auto score_t_view = score_view.transposed();
  const auto number = CUDNN_DATA_FLOAT;
  const auto queries = g.tensor(q, bf16, key.packed_view());
  const auto keys_t = g.tensor(k, bf16, key.packed_view().transposed());
  const auto values_t = g.tensor(v, bf16, key.packed_view().transposed());
  const auto output = g.tensor(out, bf16, key.out_view()), gradient = g.tensor(dout, bf16, key.out_view());
  const auto lse = g.tensor(stats, number, key.row_view());
  const auto factor = g.scalar(scale);

  const auto products = g.pointwise(g.between(key.out_view()), CUDNN_POINTWISE_MUL, gradient, output);
  const auto sums = g.pointwise(g.tensor(row_sums, number, key.row_view()), CUDNN_POINTWISE_MUL,
                                g.sum(g.between(key.row_view()), products), g.scalar(one));

  const auto scores = g.pointwise(g.between(score_view), CUDNN_POINTWISE_MUL,
                                  g.matmul(g.between(score_view), queries, keys_t), factor);
  const auto weights = g.pointwise(g.between(score_view), CUDNN_POINTWISE_EXP,
                                   g.pointwise(g.between(score_view), CUDNN_POINTWISE_SUB, scores, lse));
  g.matmul(g.tensor(dv, bf16, key.packed_view()), g.reshape(g.between(score_t_view, bf16), weights),
           gradient);

  const auto differences = g.pointwise(g.between(score_view), CUDNN_POINTWISE_SUB,
                                       g.matmul(g.between(score_view), gradient, values_t), sums);
  const auto dscores =
      g.pointwise(g.between(score_view), CUDNN_POINTWISE_MUL,
                  g.pointwise(g.between(score_view), CUDNN_POINTWISE_MUL, differences, weights), factor);
  g.matmul(g.tensor(dk, bf16, key.packed_view()), g.reshape(g.between(score_t_view, bf16), dscores), queries);
  g.matmul(g.tensor(dq, bf16, key.packed_view()), dscores,
           g.reshape(g.between(key.packed_view(), bf16), keys_t));
}

const cudnn::Plan* plan_of(Device device, const Key& key) {
  const cudnn::Key id{"attention",
                      {static_cast<std::int64_t>(key.kind), key.batch, key.heads, key.tokens, key.size}};
  return cudnn::find_plan(device, id, [&key](Graph& g) {
    key.kind == Kind::backward ? build_backward(g, key) : build_forward(g, key);
  });
}

/// Between heads of D numbers and the heads that cuDNN sees, whose size is a multiple of 8. A padded number
/// is 0 in q, k and v, so that no score changes; beside the true ones cuDNN's results have numbers that
/// nobody reads.
struct Heads {
  const char* operation;
  std::int64_t size, padded;

  Heads(const char* name, std::int64_t d) : operation(name), size(d), padded((d + 7) / 8 * 8) {}

  bool fits(const Tensor& t) const {
    return size == padded && aligned_rows<bfloat16>(8, 8, data<bfloat16>(t));
  }
  /// Memory for a result: `t` itself where cuDNN can write it.
  Tensor scratch(const Tensor& t) const {
    if (fits(t)) return t;
    return Tensor(t.shape().with(-1, t.dim(-1) / size * padded), t.dtype(), t.device());
  }
  Tensor load(const Tensor& t) const {
    Tensor p = scratch(t);
    if (!fits(t)) repad<bfloat16>(operation, p, static_cast<int>(padded), t, static_cast<int>(size));
    return p;
  }
  void store(Tensor& t, const Tensor& p) const {
    if (!fits(t)) repad<bfloat16>(operation, t, static_cast<int>(size), p, static_cast<int>(padded));
  }
};

}  // namespace

bool cudnn_attention(Tensor& result, Tensor& lse, const Tensor& qkv, std::int64_t heads) {
  if (qkv.dtype() != DType::bfloat16 || !cudnn::aligned(lse)) return false;
  if (qkv.numel() == 0) return true;
  const Heads h("attention", qkv.dim(2) / 3 / heads);
  const Key key{lse.defined() ? Kind::forward : Kind::inference, qkv.dim(0), heads, qkv.dim(1), h.padded};
  const cudnn::Plan* plan = plan_of(qkv.device(), key);
  if (!plan) return false;

  const Tensor in = h.load(qkv);
  Tensor o = h.scratch(result);
  auto* const from = data<bfloat16>(in);
  float factor = 1 / std::sqrt(static_cast<float>(h.size));
  std::vector<Argument> arguments{
      {q, from}, {k, from + key.width()}, {v, from + 2 * key.width()}, {out, o.raw()}, {scale, &factor}};
  if (lse.defined()) arguments.push_back({stats, lse.data<float>()});
  cudnn::execute(h.operation, *plan, arguments, qkv);
  h.store(result, o);
  return true;
}

bool cudnn_attention_backward(Tensor& dqkv, const Tensor& dresult, const Tensor& qkv, const Tensor& result,
                              const Tensor& lse, std::int64_t heads) {
  if (qkv.dtype() != DType::bfloat16 || !cudnn::aligned(lse)) return false;
  if (qkv.numel() == 0) return true;
  const Heads h("attention_backward", qkv.dim(2) / 3 / heads);
  const Key key{Kind::backward, qkv.dim(0), heads, qkv.dim(1), h.padded};
  const cudnn::Plan* plan = plan_of(qkv.device(), key);
  if (!plan) return false;

  const Tensor in = h.load(qkv), o = h.load(result), d_o = h.load(dresult);
  const Tensor sums(lse.shape(), DType::float32, qkv.device());
  Tensor din = h.scratch(dqkv);
  auto *const from = data<bfloat16>(in), *const to = data<bfloat16>(din);
  float factor = 1 / std::sqrt(static_cast<float>(h.size)), unit = 1;
  const std::vector<Argument> arguments{{q, from},
                                        {k, from + key.width()},
                                        {v, from + 2 * key.width()},
                                        {out, o.raw()},
                                        {stats, lse.data<float>()},
                                        {scale, &factor},
                                        {one, &unit},
                                        {dout, d_o.raw()},
                                        {dq, to},
                                        {dk, to + key.width()},
                                        {dv, to + 2 * key.width()},
                                        {row_sums, sums.raw()}};
  cudnn::execute(h.operation, *plan, arguments, qkv);
  h.store(dqkv, din);
  return true;
}

}  // namespace vitral::cuda
