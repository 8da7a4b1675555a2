#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "tensor/backend.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/cuda/matmul/plan.h"
#include "tensor/ops/gemm.h"

namespace vitral::cuda {
namespace {

std::int64_t alignment_of(const Tensor& t) {
  if (!t.defined()) return 0;
  const auto address = reinterpret_cast<std::uintptr_t>(t.raw());
  return static_cast<std::int64_t>(std::min<std::uintptr_t>(address & (~address + 1), 256));
}

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
cudaDataType_t scale_type(const ProductKey& key) {
  return key.inputs == DType::float64 ? CUDA_R_64F : CUDA_R_32F;
}

cublasComputeType_t compute_type(const ProductKey& key) {
  if (key.inputs == DType::float64) return CUBLAS_COMPUTE_64F;
  return key.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

std::unique_ptr<Blas> start_blas(Device device) {
  auto made = std::make_unique<Blas>();
  stream(device);  // makes it the current one
  const cublasStatus_t status = cublas_lt().cublasLtCreate(&made->handle);
  if (status != CUBLAS_STATUS_SUCCESS)
    throw_error("cuBLASLt does not start on {}: {}", device.str(), cublas_lt().cublasLtGetStatusName(status));
  // What NVIDIA advises for cuBLAS: 32 MiB on Hopper and later, 4 MiB before. Products that split a long
  // sum over K (the gradients of weights) take more where they get it.
  made->workspace_limit = (limits(device).major >= 9 ? std::uint64_t{64} : std::uint64_t{32}) << 20;
  made->multiplier = multiplier(device.index);
  return made;
}

}  // namespace

std::string multiplier(int index) {
  const DeviceLimits& l = limits({Device::Kind::cuda, index});
  const std::size_t version = cublas_lt().cublasLtGetVersion();
  return backend(Device::Kind::cuda).name(index) + ' ' + std::to_string(l.major) + '.' +
         std::to_string(l.minor) + ", cuBLASLt " + std::to_string(version / 10000) + '.' +
         std::to_string(version / 100 % 100) + '.' + std::to_string(version % 100);
}

const Blas& blas(Device device) {
  static auto* mutex = new std::mutex;
  static auto* all = new std::vector<std::unique_ptr<Blas>>;
  const std::lock_guard lock(*mutex);
  const auto index = static_cast<std::size_t>(device.index);
  if (all->size() <= index) all->resize(index + 1);
  auto& found = (*all)[index];
  if (!found) found = start_blas(device);
  return *found;
}

ProductKey key_of(const char* operation, const Product& product, const Tensor& c, const Tensor& a,
                  const Tensor& b, const Tensor& vector) {
  const DType in = a.dtype(), out = c.dtype();
  const bool plain = in == DType::float32 || in == DType::float64 || in == DType::bfloat16;
  VITRAL_CHECK(plain && b.dtype() == in && (out == in || (in == DType::bfloat16 && out == DType::float32)),
               "{}: {} x {} to {} is not supported; use float32, float64 or bfloat16, or bfloat16 to float32",
               operation, name(in), name(b.dtype()), name(out));
  VITRAL_CHECK(!vector.defined() || vector.dtype() == out, "{}: a {} vector beside a {} product", operation,
               name(vector.dtype()), name(out));
  return {.product = product,
          .inputs = in,
          .output = out,
          .tf32 = in == DType::float32 && matmul_precision() == MatmulPrecision::tf32,
          .alignment = {alignment_of(a), alignment_of(b), alignment_of(c), alignment_of(vector)}};
}

void check_blas(cublasStatus_t status, const char* operation, const ProductKey& key,
                const std::source_location& where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const char* file = std::strstr(where.file_name(), "tensor/");
  throw_error("{}: {} for {} ({}:{})", operation, cublas_lt().cublasLtGetStatusName(status), describe(key),
              file ? file : where.file_name(), where.line());
}

std::uint32_t exact_reductions(const ProductKey& key) {
  const bool exact = key.output == DType::float64 || key.output == DType::float32;
  return first_reductions | (exact ? std::uint32_t{CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE} : 0U);
}

namespace {

template <class T>
cublasStatus_t set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, T value) {
  return cublas_lt().cublasLtMatmulDescSetAttribute(d, which, &value, sizeof value);
}
template <class T>
cublasStatus_t set(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t which, T value) {
  return cublas_lt().cublasLtMatrixLayoutSetAttribute(l, which, &value, sizeof value);
}
template <class T>
cublasStatus_t set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t which, T value) {
  return cublas_lt().cublasLtMatmulPreferenceSetAttribute(p, which, &value, sizeof value);
}

}  // namespace

Plan::Plan(const char* operation, const ProductKey& key, Device device, void* vector)
    : operation_(operation), key_(key), blas_(blas(device)), product_(description(vector)) {
  const Product& p = key_.product;
  first_ = layout(key_.inputs, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.shared_b);
  second_ = layout(key_.inputs, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m);
  result_ = layout(key_.output, p.n, p.m);
}

Plan::Description Plan::description(void* vector) const {
  cublasLtMatmulDesc_t d = nullptr;
  require(cublas_lt().cublasLtMatmulDescCreate(&d, compute_type(key_), scale_type(key_)));
  Description owned(d);
  const Product& p = key_.product;
  require(set<std::int32_t>(d, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N));
  require(set<std::int32_t>(d, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N));
  if (p.epilogue != Epilogue::none) {
    // Our A is the second operand: its sums are those of "B".
    require(
        set<std::uint32_t>(d, CUBLASLT_MATMUL_DESC_EPILOGUE,
                           p.epilogue == Epilogue::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB));
    require(set(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector));  // the choice depends on its alignment
  }
  return owned;
}

// Of a matrix that is row-major [columns, rows].
Plan::Layout Plan::layout(DType dtype, std::int64_t rows, std::int64_t columns, bool shared) const {
  cublasLtMatrixLayout_t l = nullptr;
  require(cublas_lt().cublasLtMatrixLayoutCreate(&l, cuda_type(dtype), static_cast<std::uint64_t>(rows),
                                                 static_cast<std::uint64_t>(columns), rows));
  Layout owned(l);
  if (key_.product.batch > 1) {
    require(set(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(key_.product.batch)));
    require(set<std::int64_t>(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, shared ? 0 : rows * columns));
  }
  return owned;
}

cublasStatus_t Plan::propose(int most, std::uint32_t reductions, std::vector<Candidate>& out) const {
  cublasLtMatmulPreference_t p = nullptr;
  require(cublas_lt().cublasLtMatmulPreferenceCreate(&p));
  const Owned<cublasLtMatmulPreference_t, &CublasLt::cublasLtMatmulPreferenceDestroy> owned(p);
  require(set(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, blas_.workspace_limit));
  require(set(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions));
  const auto align = [&](cublasLtMatmulPreferenceAttributes_t which, std::size_t operand) {
    require(set(p, which, static_cast<std::uint32_t>(key_.alignment[operand])));
  };
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 1);
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 0);
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 2);
  align(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 2);

  std::array<cublasLtMatmulHeuristicResult_t, most_proposals> results{};
  int found = 0;
  const cublasStatus_t status = cublas_lt().cublasLtMatmulAlgoGetHeuristic(
      blas_.handle, product_.get(), first_.get(), second_.get(), result_.get(), result_.get(), p,
      std::min(most, most_proposals), results.data(), &found);
  out.clear();
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (found == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (int i = 0; i < found; ++i) {
    const auto& result = results[static_cast<std::size_t>(i)];
    if (result.state == CUBLAS_STATUS_SUCCESS) out.push_back({result.algo, result.workspaceSize});
  }
  return out.empty() ? results.front().state : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t Plan::check(const cublasLtMatmulAlgo_t& algorithm, Candidate& out) const {
  cublasLtMatmulHeuristicResult_t result{};
  cublasStatus_t status =
      cublas_lt().cublasLtMatmulAlgoCheck(blas_.handle, product_.get(), first_.get(), second_.get(),
                                          result_.get(), result_.get(), &algorithm, &result);
  if (status == CUBLAS_STATUS_SUCCESS) status = result.state;
  if (status == CUBLAS_STATUS_SUCCESS && result.workspaceSize > blas_.workspace_limit)
    status = CUBLAS_STATUS_NOT_SUPPORTED;
  if (status == CUBLAS_STATUS_SUCCESS) out = {algorithm, result.workspaceSize};
  return status;
}

cublasStatus_t Plan::rebuild(const ProductAlgorithm& attributes, Candidate& out) const {
  cublasLtMatmulAlgo_t algorithm{};
  const cudaDataType_t in = cuda_type(key_.inputs), result = cuda_type(key_.output);
  cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;
  // Of reductions only those that give the same bits each time.
  const bool exact = (attributes.reduction & ~std::int64_t{exact_reductions(key_)}) == 0;
  if (exact && attributes.id == static_cast<int>(attributes.id))
    status = cublas_lt().cublasLtMatmulAlgoInit(blas_.handle, compute_type(key_), scale_type(key_), in, in,
                                                result, result, static_cast<int>(attributes.id), &algorithm);
  if (status == CUBLAS_STATUS_SUCCESS) status = set_attributes(algorithm, attributes);
  return status == CUBLAS_STATUS_SUCCESS ? check(algorithm, out) : status;
}

cublasStatus_t Plan::start(const Candidate& candidate, const Operands& o, const Tensor& workspace) const {
  if (o.vector.defined())
    require(set(product_.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, data<void>(o.vector)));
  const double one = 1, beta = key_.product.accumulate ? 1 : 0;
  const float one_float = 1, beta_float = key_.product.accumulate ? 1 : 0;
  const bool wide = scale_type(key_) == CUDA_R_64F;
  return cublas_lt().cublasLtMatmul(
      blas_.handle, product_.get(), wide ? static_cast<const void*>(&one) : &one_float, o.b.raw(),
      first_.get(), o.a.raw(), second_.get(), wide ? static_cast<const void*>(&beta) : &beta_float, o.c.raw(),
      result_.get(), o.c.raw(), result_.get(), &candidate.algorithm, data<void>(workspace),
      candidate.workspace, stream(o.c.device()));
}

}  // namespace vitral::cuda
