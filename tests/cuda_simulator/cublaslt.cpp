// Descriptors of cuBLASLt and the checks of a product; the product itself is in matmul.cpp.
#include <algorithm>
#include <cstring>

#include "algorithms.h"
#include "runtime.h"

struct cublasLtContext {
  int device = 0;
};

namespace simulator {
namespace {

template <class T>
cublasStatus_t set(T& member, const void* value, std::size_t bytes) {
  if (!value || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&member, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

using Layout = cublasLtMatrixLayoutOpaque_t;
using Desc = cublasLtMatmulDescOpaque_t;

bool sensible(const Layout& l) {
  return l.rows > 0 && l.cols > 0 && l.batch > 0 && l.ld >= static_cast<std::int64_t>(l.rows);
}

// op(A) [m,k], op(B) [k,n], C and D [m,n], as many of each in the batch.
bool sizes_fit(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const bool ta = desc.transpose_a != CUBLAS_OP_N, tb = desc.transpose_b != CUBLAS_OP_N;
  const auto m = ta ? a.cols : a.rows, k = ta ? a.rows : a.cols;
  const auto n = tb ? b.rows : b.cols, k_of_b = tb ? b.cols : b.rows;
  const bool vectors_apart =
      desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT || d.batch == 1 || desc.bias_stride != 0;
  return sensible(a) && sensible(b) && sensible(c) && sensible(d) && k == k_of_b && d.rows == m &&
         d.cols == n && c.rows == m && c.cols == n && a.batch == d.batch && b.batch == d.batch &&
         c.batch == d.batch && (d.batch == 1 || d.stride != 0) && vectors_apart;
}

bool types_known(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (a.type != b.type || c.type != d.type) return false;
  if (desc.bias_type != -1 && desc.bias_type != d.type) return false;
  switch (desc.compute) {
    case CUBLAS_COMPUTE_64F:
    case CUBLAS_COMPUTE_64F_PEDANTIC:
      return desc.scale == CUDA_R_64F && a.type == CUDA_R_64F && d.type == CUDA_R_64F;
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      return desc.scale == CUDA_R_32F &&
             ((a.type == CUDA_R_32F && d.type == CUDA_R_32F) ||
              (a.type == CUDA_R_16BF && (d.type == CUDA_R_16BF || d.type == CUDA_R_32F)));
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      return desc.scale == CUDA_R_32F && a.type == CUDA_R_32F && d.type == CUDA_R_32F;
    default:
      return false;
  }
}

bool epilogue_known(const Desc& desc) {
  switch (desc.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
      return true;
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB:
      return !settings().no_epilogues;
    default:
      return false;
  }
}

cublasStatus_t check(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (!sizes_fit(desc, a, b, c, d)) return CUBLAS_STATUS_INVALID_VALUE;
  for (const Layout* l : {&a, &b, &c, &d})
    if (l->order != CUBLASLT_ORDER_COL) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!types_known(desc, a, b, c, d) || !epilogue_known(desc) || desc.pointers != CUBLASLT_POINTER_MODE_HOST)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}

double scalar(const void* value, std::int32_t type) {
  return type == CUDA_R_64F ? *static_cast<const double*>(value)
                            : static_cast<double>(*static_cast<const float*>(value));
}

// The hardware would read or write whatever is there.
void check_memory(const char* what, const void* data, std::int64_t elements, std::int32_t type) {
  bool fits = false;
  const auto bytes = static_cast<std::size_t>(elements) * size_of(type);
  if (!find_memory(data, bytes, &fits) || !fits)
    fail("cublasLtMatmul: %s, %zu bytes at %p, does not lie in one block of device memory", what, bytes,
         data);
}

std::int64_t extent(const Layout& l) {
  return (l.batch - 1) * l.stride + (static_cast<std::int64_t>(l.cols) - 1) * l.ld +
         static_cast<std::int64_t>(l.rows);
}

void check_memory(const Matmul& p) {
  check_memory("A", p.a_data, extent(p.a), p.a.type);
  check_memory("B", p.b_data, extent(p.b), p.b.type);
  if (p.beta != 0) check_memory("C", p.c_data, extent(p.c), p.c.type);
  check_memory("D", p.d_data, extent(p.d), p.d.type);
  if (p.desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return;
  const auto length = p.desc.epilogue == CUBLASLT_EPILOGUE_BGRADB ? p.d.cols : p.d.rows;
  check_memory("the bias", p.desc.bias,
               (p.d.batch - 1) * p.desc.bias_stride + static_cast<std::int64_t>(length), p.desc.bias_type);
}

}  // namespace
}  // namespace simulator

using namespace simulator;

// --- names ---

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
#define SIMULATOR_STATUS(name) \
  case name:                   \
    return #name;
    SIMULATOR_STATUS(CUBLAS_STATUS_SUCCESS)
    SIMULATOR_STATUS(CUBLAS_STATUS_NOT_INITIALIZED)
    SIMULATOR_STATUS(CUBLAS_STATUS_ALLOC_FAILED)
    SIMULATOR_STATUS(CUBLAS_STATUS_INVALID_VALUE)
    SIMULATOR_STATUS(CUBLAS_STATUS_ARCH_MISMATCH)
    SIMULATOR_STATUS(CUBLAS_STATUS_MAPPING_ERROR)
    SIMULATOR_STATUS(CUBLAS_STATUS_EXECUTION_FAILED)
    SIMULATOR_STATUS(CUBLAS_STATUS_INTERNAL_ERROR)
    SIMULATOR_STATUS(CUBLAS_STATUS_NOT_SUPPORTED)
    SIMULATOR_STATUS(CUBLAS_STATUS_LICENSE_ERROR)
#undef SIMULATOR_STATUS
  }
  return "unknown cublasStatus_t";
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the requested functionality is not supported";
    default:
      return cublasLtGetStatusName(status);
  }
}

const char* cublasGetStatusName(cublasStatus_t status) { return cublasLtGetStatusName(status); }
const char* cublasGetStatusString(cublasStatus_t status) { return cublasLtGetStatusString(status); }
std::size_t cublasLtGetVersion() { return 130100; }

// --- descriptors ---

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext{current_device()};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t cols, std::int64_t ld) {
  *layout = new Layout{.type = type, .rows = rows, .cols = cols, .ld = ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
      return set(layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return set(layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
      return set(layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
      return set(layout->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return set(layout->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return set(layout->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return set(layout->stride, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  *desc = new Desc{.compute = compute, .scale = scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
      return set(desc->compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
      return set(desc->scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return set(desc->pointers, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(desc->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(desc->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(desc->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
      return set(desc->bias_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return set(desc->bias_type, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(preference->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(preference->schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set(preference->align_a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set(preference->align_b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set(preference->align_c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(preference->align_d, value, bytes);
    default: {  // the others change nothing
      const std::size_t expected = attribute == CUBLASLT_MATMUL_PREF_IMPL_MASK ? 8 : 4;
      return value && bytes == expected ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
    }
  }
}

// --- products ---

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  *returned = 0;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!desc || !a || !b || !c || !d || !preference || requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const cublasStatus_t status = check(*desc, *a, *b, *c, *d);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const std::uint64_t alignment =
      preference->align_a | preference->align_b | preference->align_c | preference->align_d;
  for (const Algorithm& algorithm : proposals()) {
    const bool is_asked_for = (algorithm.scheme & ~preference->schemes) == 0;
    if (*returned == requested || preference->workspace < workspace_needed || !is_asked_for ||
        !can_run(algorithm, *desc, a->type, alignment))
      continue;
    results[(*returned)++] = {.algo = pack(algorithm),
                              .workspaceSize = workspace_needed,
                              .state = CUBLAS_STATUS_SUCCESS,
                              .wavesCount = 1,
                              .reserved = {}};
  }
  return *returned > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algo,
                                       cublasLtMatmulHeuristicResult_t* result) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  Algorithm algorithm;
  if (!desc || !a || !b || !c || !d || !algo || !result || !unpack(*algo, algorithm))
    return CUBLAS_STATUS_INVALID_VALUE;
  cublasStatus_t status = check(*desc, *a, *b, *c, *d);
  if (status == CUBLAS_STATUS_SUCCESS && !can_run(algorithm, *desc, a->type, 256))
    status = CUBLAS_STATUS_NOT_SUPPORTED;
  *result = {
      .algo = *algo, .workspaceSize = workspace_needed, .state = status, .wavesCount = 1, .reserved = {}};
  return status;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!desc || !alpha || !beta || !a_layout || !b_layout || !c_layout || !d_layout)
    return CUBLAS_STATUS_INVALID_VALUE;
  const cublasStatus_t status = check(*desc, *a_layout, *b_layout, *c_layout, *d_layout);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const bool needs_vector = desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  const std::size_t scratch = algo ? workspace_needed : 0;
  Algorithm algorithm;
  if ((algo && !unpack(*algo, algorithm)) || scratch > workspace_bytes || (scratch > 0 && !workspace) ||
      (needs_vector && !desc->bias))
    return CUBLAS_STATUS_INVALID_VALUE;
  const auto address = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data); };
  if (algo && !can_run(algorithm, *desc, a_layout->type, address(a) | address(b) | address(c) | address(d)))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  Matmul product{
      .desc = *desc,
      .a = *a_layout,
      .b = *b_layout,
      .c = *c_layout,
      .d = *d_layout,
      .a_data = a,
      .b_data = b,
      .c_data = c,
      .d_data = d,
      .alpha = scalar(alpha, desc->scale),
      .beta = scalar(beta, desc->scale),
      .parts = algorithm.halves ? 2 : algorithm.split_k,
      .scheme = algorithm.halves ? std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE} : algorithm.scheme};
  if (product.desc.bias_type == -1) product.desc.bias_type = product.d.type;
  check_memory(product);
  if (scratch > 0)
    check_memory("the workspace", workspace, static_cast<std::int64_t>(scratch / 4), CUDA_R_32F);
  ++counts().products;
  if (needs_vector && desc->epilogue != CUBLASLT_EPILOGUE_BIAS) ++counts().bias_gradients;
  const auto time = algo ? time_of(algorithm) : std::chrono::nanoseconds{};
  const cudaError_t queued = settings().dry ? cudaSuccess : push(stream, [product, workspace, scratch, time] {
    if (scratch > 0) std::memset(workspace, 0xFF, scratch);
    run(product);
    pass(time);
  });
  return queued == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
