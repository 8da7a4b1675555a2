// What is row-major for us is column-major and transposed for cuBLASLt: the row-major C = A B is its
// C^T = B^T A^T, so that our B is its first operand, "A", and our A its second, "B"; M and N change places.
//
// Descriptors and the algorithm are made once for each kind of product (Key) and kept to the end of the
// process: choosing takes the host longer than starting.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/cublas_lt.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/ops/gemm.h"

namespace vitral::cuda {
namespace {

/// The largest power of two, up to the 256 that cuBLASLt asks about, of which the address is a multiple.
std::uint32_t alignment_of(const Tensor& t) {
  if (!t.defined()) return 0;
  const auto address = reinterpret_cast<std::uintptr_t>(t.raw());
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(address & (~address + 1), 256));
}

/// All that the algorithm depends on, beside the device. Leading dimensions and the steps of a batch follow
/// from the sizes, as tensors have no gaps.
struct Key {
  Product product;
  DType inputs, output;
  bool tf32;
  std::uint32_t align_a, align_b, align_c, align_vector;

  auto operator<=>(const Key&) const = default;
};

cudaDataType_t cuda_type(DType dtype) {
  switch (dtype) {
    case DType::float64:
      return CUDA_R_64F;
    case DType::bfloat16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

/// What is added up and scaled in.
cudaDataType_t scale_type(const Key& key) { return key.inputs == DType::float64 ? CUDA_R_64F : CUDA_R_32F; }

cublasComputeType_t compute_type(const Key& key) {
  if (key.inputs == DType::float64) return CUBLAS_COMPUTE_64F;
  return key.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

std::string describe(const Key& key) {
  const Product& p = key.product;
  const auto shape = [](std::int64_t batch, std::int64_t rows, std::int64_t columns) {
    return (batch > 1 ? Shape{batch, rows, columns} : Shape{rows, columns}).str();
  };
  std::string text =
      shape(p.batch, p.m, p.k) + " x " + shape(p.shared_b ? 1 : p.batch, p.k, p.n) + " " + name(key.inputs);
  if (key.output != key.inputs) text += std::string(" to ") + name(key.output);
  return text;
}

/// Throws "gemm: CUBLAS_STATUS_NOT_SUPPORTED for [4096, 528] x [528, 2112] bfloat16
/// (tensor/cuda/matmul/matmul.cu:123)".
void check_blas(cublasStatus_t status, const char* operation, const Key& key,
                const std::source_location& where = std::source_location::current()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const char* file = std::strstr(where.file_name(), "tensor/");
  throw_error("{}: {} for {} ({}:{})", operation, cublas_lt().cublasLtGetStatusName(status), describe(key),
              file ? file : where.file_name(), where.line());
}

/// Once for each epilogue: what is computed is the same, in more passes over memory.
void note_missing_epilogue(const char* operation, const Key& key) {
  static std::once_flag bias, sums;
  const bool adds = key.product.epilogue == Epilogue::bias;
  std::call_once(adds ? bias : sums, [&] {
    std::fprintf(stderr,
                 "vitral: %s: cuBLASLt has no epilogue %s for %s; %s a pass of its own, which is slower\n",
                 operation, adds ? "BIAS" : "BGRADB", describe(key).c_str(),
                 adds ? "the bias is added in" : "the bias's gradient is");
  });
}

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* descriptor) const {
    (cublas_lt().*destroy)(descriptor);
  }
};
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

struct Plan {
  Owned<cublasLtMatmulDesc_t, &CublasLt::cublasLtMatmulDescDestroy> product;
  Owned<cublasLtMatrixLayout_t, &CublasLt::cublasLtMatrixLayoutDestroy> first, second, result;
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace = 0;  // bytes
  bool supported = false;
};

/// Makes one plan; the operation's name and the key are for errors.
class Planner {
 public:
  Planner(const char* operation, const Key& key) : operation_(operation), key_(key) {}

  Plan make(cublasLtHandle_t handle, std::uint64_t workspace_limit, void* vector) const {
    const Product& p = key_.product;
    Plan plan;
    plan.product = description(vector);
    plan.first = layout(key_.inputs, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.shared_b);
    plan.second = layout(key_.inputs, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m);
    plan.result = layout(key_.output, p.n, p.m);
    choose(plan, handle, workspace_limit);
    return plan;
  }

 private:
  void check(cublasStatus_t status,
             const std::source_location& where = std::source_location::current()) const {
    check_blas(status, operation_, key_, where);
  }

  template <class T>
  void set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, T value) const {
    check(cublas_lt().cublasLtMatmulDescSetAttribute(d, which, &value, sizeof value));
  }
  template <class T>
  void set(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t which, T value) const {
    check(cublas_lt().cublasLtMatrixLayoutSetAttribute(l, which, &value, sizeof value));
  }
  template <class T>
  void set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t which, T value) const {
    check(cublas_lt().cublasLtMatmulPreferenceSetAttribute(p, which, &value, sizeof value));
  }

  decltype(Plan::product) description(void* vector) const {
    cublasLtMatmulDesc_t d = nullptr;
    check(cublas_lt().cublasLtMatmulDescCreate(&d, compute_type(key_), scale_type(key_)));
    decltype(Plan::product) owned(d);
    const Product& p = key_.product;
    set<std::int32_t>(d, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set<std::int32_t>(d, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (p.epilogue != Epilogue::none) {
      // Our A is the second operand: its sums are those of "B".
      set<std::uint32_t>(d, CUBLASLT_MATMUL_DESC_EPILOGUE,
                         p.epilogue == Epilogue::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB);
      set(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);  // the choice depends on its alignment
    }
    return owned;
  }

  /// Of a matrix that is row-major [columns, rows].
  decltype(Plan::first) layout(DType dtype, std::int64_t rows, std::int64_t columns,
                               bool shared = false) const {
    cublasLtMatrixLayout_t l = nullptr;
    check(cublas_lt().cublasLtMatrixLayoutCreate(&l, cuda_type(dtype), static_cast<std::uint64_t>(rows),
                                                 static_cast<std::uint64_t>(columns), rows));
    decltype(Plan::first) owned(l);
    if (key_.product.batch > 1) {
      set(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(key_.product.batch));
      set<std::int64_t>(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, shared ? 0 : rows * columns);
    }
    return owned;
  }

  // The first proposal is the one that cuBLASLt expects to be fastest, and for one device and version always
  // the same: nothing is measured, as then the last bits would depend on the measurement.
  void choose(Plan& plan, cublasLtHandle_t handle, std::uint64_t workspace_limit) const {
    cublasLtMatmulPreference_t p = nullptr;
    check(cublas_lt().cublasLtMatmulPreferenceCreate(&p));
    const Owned<cublasLtMatmulPreference_t, &CublasLt::cublasLtMatmulPreferenceDestroy> owned(p);
    set(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_limit);
    // Where the sum over K is split, the parts are kept in float32 (float64) and added in a step of their
    // own. Left out are adding in place, for which no order is promised where results must be the same bits
    // in every run, and parts of the output's type, which would round a bfloat16 result once a part.
    set<std::uint32_t>(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    set(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key_.align_b);
    set(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key_.align_a);
    set(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key_.align_c);
    set(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key_.align_c);

    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    cublasStatus_t status = cublas_lt().cublasLtMatmulAlgoGetHeuristic(
        handle, plan.product.get(), plan.first.get(), plan.second.get(), plan.result.get(), plan.result.get(),
        p, 1, &result, &found);
    if (status == CUBLAS_STATUS_SUCCESS) status = found > 0 ? result.state : CUBLAS_STATUS_NOT_SUPPORTED;
    if (key_.product.epilogue == Epilogue::none) check(status);
    plan.algorithm = result.algo;
    plan.workspace = result.workspaceSize;
    plan.supported = status == CUBLAS_STATUS_SUCCESS;
    if (!plan.supported) note_missing_epilogue(operation_, key_);
  }

  const char* operation_;
  const Key& key_;
};

/// cuBLASLt on one device.
struct Library {
  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  std::uint64_t workspace_limit = 0;
  std::map<Key, Plan> plans;
};

// Kept to the end of the process, as the streams are.
Library& library(Device device) {
  static auto* mutex = new std::mutex;
  static auto* libraries = new std::vector<std::unique_ptr<Library>>;
  const std::lock_guard lock(*mutex);
  const auto index = static_cast<std::size_t>(device.index);
  if (libraries->size() <= index) libraries->resize(index + 1);
  auto& found = (*libraries)[index];
  if (!found) {
    auto made = std::make_unique<Library>();
    const cublasStatus_t status = cublas_lt().cublasLtCreate(&made->handle);
    if (status != CUBLAS_STATUS_SUCCESS)
      throw_error("cuBLASLt does not start on {}: {}", device.str(),
                  cublas_lt().cublasLtGetStatusName(status));
    // What NVIDIA advises for cuBLAS: 32 MiB on Hopper and later, 4 MiB before. Products that split a long
    // sum over K (the gradients of weights) take more where they get it.
    made->workspace_limit = (limits(device).major >= 9 ? std::uint64_t{64} : std::uint64_t{32}) << 20;
    found = std::move(made);
  }
  return *found;
}

Key make_key(const char* operation, const Product& p, const Tensor& c, const Tensor& a, const Tensor& b,
             const Tensor& vector) {
  const DType in = a.dtype(), out = c.dtype();
  const bool plain = in == DType::float32 || in == DType::float64 || in == DType::bfloat16;
  VITRAL_CHECK(plain && b.dtype() == in && (out == in || (in == DType::bfloat16 && out == DType::float32)),
               "{}: {} x {} to {} is not supported; use float32, float64 or bfloat16, or bfloat16 to float32",
               operation, name(in), name(b.dtype()), name(out));
  VITRAL_CHECK(!vector.defined() || vector.dtype() == out, "{}: a {} vector beside a {} product", operation,
               name(vector.dtype()), name(out));
  return {.product = p,
          .inputs = in,
          .output = out,
          .tf32 = in == DType::float32 && matmul_precision() == MatmulPrecision::tf32,
          .align_a = alignment_of(a),
          .align_b = alignment_of(b),
          .align_c = alignment_of(c),
          .align_vector = alignment_of(vector)};
}

}  // namespace

bool multiply(const char* operation, const Product& product, Tensor& c, const Tensor& a, const Tensor& b,
              const Tensor& vector) {
  const Key key = make_key(operation, product, c, a, b, vector);
  const cudaStream_t queue = stream(c.device());
  Library& l = library(c.device());
  void* const vector_data = data<void>(vector);
  // Held to the end: the pointer to the vector is in the plan's descriptor.
  const std::lock_guard lock(l.mutex);
  auto found = l.plans.find(key);
  if (found == l.plans.end())
    found =
        l.plans.emplace(key, Planner(operation, key).make(l.handle, l.workspace_limit, vector_data)).first;
  Plan& plan = found->second;
  if (!plan.supported) return false;
  if (vector.defined())
    check_blas(cublas_lt().cublasLtMatmulDescSetAttribute(
                   plan.product.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector_data, sizeof vector_data),
               operation, key);

  // A tensor of this call: a graph that is recorded finds it in its own pool (tensor/storage.h).
  Tensor workspace;
  if (plan.workspace > 0)
    workspace = Tensor({static_cast<std::int64_t>(plan.workspace)}, DType::uint8, c.device());
  const double one = 1, beta = product.accumulate ? 1 : 0;
  const float one_float = 1, beta_float = product.accumulate ? 1 : 0;
  const bool wide = scale_type(key) == CUDA_R_64F;
  const cublasStatus_t status = cublas_lt().cublasLtMatmul(
      l.handle, plan.product.get(), wide ? static_cast<const void*>(&one) : &one_float, b.raw(),
      plan.first.get(), a.raw(), plan.second.get(), wide ? static_cast<const void*>(&beta) : &beta_float,
      c.raw(), plan.result.get(), c.raw(), plan.result.get(), &plan.algorithm, data<void>(workspace),
      plan.workspace, queue);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED && product.epilogue != Epilogue::none) {
    note_missing_epilogue(operation, key);
    return plan.supported = false;
  }
  check_blas(status, operation, key);
  return true;
}

}  // namespace vitral::cuda
