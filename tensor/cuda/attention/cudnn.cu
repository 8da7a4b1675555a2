// Forward is one operation of cuDNN. Backward is a graph of products, sums and pointwise operations in which
// cuDNN recognises attention and runs it as a few fused kernels; its backward operation of its own
// (CUDNN_BACKEND_OPERATION_SDPA_BWD_DESCRIPTOR) no graph of cuDNN 9.19 takes.
//
//   P = exp(scale Q K^T - lse),  dV = P^T dO,  dS = scale P (dO V^T - rowsum(dO O)),  dQ = dS K,  dK = dS^T Q
//
// cuDNN's "stats" are our lse, the natural logarithm of sum exp(scale q . k) with nothing subtracted: for no
// other is P of that graph a softmax.
#include <array>
#include <cmath>
#include <compare>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/cuda/attention/cudnn.h"
#include "tensor/cuda/attention/cudnn_graph.h"
#include "tensor/cuda/attention/repad.h"

namespace vitral::cuda {
namespace {

using cudnn::alignment;
using cudnn::Descriptor;
using cudnn::Graph;
using cudnn::Refused;
using cudnn::View;

/// Names of the tensors that a caller gives.
enum Id : std::int64_t { q = 1, k, v, out, stats, scale, one, dout, dq, dk, dv, row_sums };

enum class Kind : unsigned char { inference, forward, backward };

struct Key {
  Kind kind;
  std::int64_t batch, heads, tokens, size;  // B, H, N, D

  auto operator<=>(const Key&) const = default;

  std::int64_t width() const { return heads * size; }
  /// [B,H,N,D] in rows of `row` numbers a token, one head after the other.
  View rows_of(std::int64_t row) const {
    return {{batch, heads, tokens, size}, {tokens * row, size, row, 1}};
  }
  View packed_view() const { return rows_of(3 * width()); }
  View out_view() const { return rows_of(width()); }
  View row_view() const { return View::packed(batch, heads, tokens, 1); }
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
  const auto score_view = View::packed(key.batch, key.heads, key.tokens, key.tokens);
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

/// False where an engine says of itself that its sums are made in any order.
bool deterministic(const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const std::int64_t count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                        static_cast<std::int64_t>(notes.size()), notes.data());
  for (std::int64_t i = 0; i < count; ++i)
    if (notes[static_cast<std::size_t>(i)] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
  return true;
}

/// What cuDNN would run the graph with, the best first.
std::vector<Descriptor> proposals(const Descriptor& operations, cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode)
      .finalize();
  const auto get = [&](std::int64_t capacity, cudnnBackendDescriptor_t* raw) {
    return heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, capacity, raw);
  };
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  const std::int64_t available = get(0, nullptr);
  for (std::int64_t i = 0; i < available; ++i)
    raw.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  // Fewer than were counted: those that do not work here are left out only now.
  const std::int64_t count = available > 0 ? get(available, raw.data()) : 0;
  configs.erase(configs.begin() + count, configs.end());
  return configs;
}

struct Plan {
  Graph graph;
  Descriptor plan;
  std::int64_t workspace = 0;  // bytes
};

/// The first proposal that can be made ready (its kernels are compiled now), or null.
std::unique_ptr<Plan> plan_of(Graph& graph, const Descriptor& operations, cudnnBackendHeurMode_t mode,
                              cudnnHandle_t handle) {
  for (const Descriptor& config : proposals(operations, mode)) {
    try {
      if (!deterministic(config)) continue;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle)
          .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)
          .finalize();
      std::int64_t bytes = 0;
      plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
      return std::make_unique<Plan>(Plan{std::move(graph), std::move(plan), bytes});
    } catch (const Refused&) {
      continue;
    }
  }
  return nullptr;
}

std::unique_ptr<Plan> make_plan(cudnnHandle_t handle, const Key& key) {
  try {
    Graph graph;
    key.kind == Kind::backward ? build_backward(graph, key) : build_forward(graph, key);
    Descriptor operations(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    operations.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle)
        .set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, graph.operations())
        .finalize();
    auto plan = plan_of(graph, operations, CUDNN_HEUR_MODE_A, handle);
    return plan ? std::move(plan) : plan_of(graph, operations, CUDNN_HEUR_MODE_FALLBACK, handle);
  } catch (const Refused&) {
    return nullptr;
  }
}

/// cuDNN on one device.
struct Library {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;              // null where cuDNN does not work
  std::map<Key, std::unique_ptr<Plan>> plans;  // null where it refused
};

/// Leaves the handle null, and says why, where the library is missing or does not work.
void start(Library& l, cudaStream_t queue) {
  std::string problem;
  try {
    const cudnn::Functions& f = cudnn::functions();
    // The library that is found when the program runs may be older than the headers.
    cudnnStatus_t status = CUDNN_STATUS_NOT_SUPPORTED;
    if (f.cudnnGetVersion() >= 91600) status = f.cudnnCreate(&l.handle);
    if (status == CUDNN_STATUS_SUCCESS) status = f.cudnnSetStream(l.handle, queue);
    if (status == CUDNN_STATUS_SUCCESS) return;
    problem = "cuDNN " + std::to_string(f.cudnnGetVersion()) +
              " does not start, 91600 or later is needed: " + f.cudnnGetErrorString(status);
    if (l.handle) f.cudnnDestroy(std::exchange(l.handle, nullptr));
  } catch (const Error& e) {
    problem = e.what();
  }
  std::fprintf(stderr, "vitral: %s; attention runs by vitral's own kernels\n", problem.c_str());
}

// Kept to the end of the process, as the streams are.
Library& library(Device device) {
  static auto* mutex = new std::mutex;
  static auto* libraries = new std::map<int, Library>;
  const cudaStream_t queue = stream(device);
  const std::lock_guard lock(*mutex);
  const auto [found, fresh] = libraries->try_emplace(device.index);
  Library& l = found->second;
  if (fresh) start(l, queue);
  return l;
}

const Plan* find_plan(Library& l, const Key& key) {
  if (!l.handle) return nullptr;
  auto found = l.plans.find(key);
  if (found == l.plans.end()) found = l.plans.emplace(key, make_plan(l.handle, key)).first;
  return found->second.get();
}

/// Whether an address is what the graphs promise.
bool aligned(const Tensor& t) { return reinterpret_cast<std::uintptr_t>(data<void>(t)) % alignment == 0; }

struct Argument {
  Id id;
  void* data;
};

void execute(const char* operation, const Library& l, const Plan& plan, const Tensor& qkv,
             std::span<const Argument> arguments) {
  std::vector<std::int64_t> ids;
  std::vector<void*> pointers;
  for (const Argument& a : arguments) {
    ids.push_back(a.id);
    pointers.push_back(a.data);
  }
  Tensor workspace;
  if (plan.workspace > 0) workspace = Tensor({plan.workspace}, DType::uint8, qkv.device());
  try {
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const std::int64_t>(ids))
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(pointers))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, data<void>(workspace))
        .finalize();
    cudnn::require(cudnn::functions().cudnnBackendExecute(l.handle, plan.plan.raw(), pack.raw()));
  } catch (const Refused& e) {  // planned and not done: that is no reason to go on some other way
    throw_error("{}: cuDNN: {} for qkv {} {}", operation, e.what(), qkv.shape(), name(qkv.dtype()));
  }
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
  if (qkv.dtype() != DType::bfloat16 || !aligned(lse)) return false;
  if (qkv.numel() == 0) return true;
  const Heads h("attention", qkv.dim(2) / 3 / heads);
  const Key key{lse.defined() ? Kind::forward : Kind::inference, qkv.dim(0), heads, qkv.dim(1), h.padded};
  Library& l = library(qkv.device());
  const std::lock_guard lock(l.mutex);  // a handle is for one thread at a time
  const Plan* plan = find_plan(l, key);
  if (!plan) return false;

  const Tensor in = h.load(qkv);
  Tensor o = h.scratch(result);
  auto* const from = data<bfloat16>(in);
  float factor = 1 / std::sqrt(static_cast<float>(h.size));
  std::vector<Argument> arguments{
      {q, from}, {k, from + key.width()}, {v, from + 2 * key.width()}, {out, o.raw()}, {scale, &factor}};
  if (lse.defined()) arguments.push_back({stats, lse.data<float>()});
  execute(h.operation, l, *plan, qkv, arguments);
  h.store(result, o);
  return true;
}

bool cudnn_attention_backward(Tensor& dqkv, const Tensor& dresult, const Tensor& qkv, const Tensor& result,
                              const Tensor& lse, std::int64_t heads) {
  if (qkv.dtype() != DType::bfloat16 || !aligned(lse)) return false;
  if (qkv.numel() == 0) return true;
  const Heads h("attention_backward", qkv.dim(2) / 3 / heads);
  const Key key{Kind::backward, qkv.dim(0), heads, qkv.dim(1), h.padded};
  Library& l = library(qkv.device());
  const std::lock_guard lock(l.mutex);
  const Plan* plan = find_plan(l, key);
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
  execute(h.operation, l, *plan, qkv, arguments);
  h.store(dqkv, din);
  return true;
}

}  // namespace vitral::cuda
