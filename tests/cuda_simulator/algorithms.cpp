#include "algorithms.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "runtime.h"

namespace simulator {
namespace {

constexpr std::uint64_t mark = 0x76697472616C;

struct Kind {
  std::int32_t id;
  std::vector<std::uint32_t> tiles, stages;
  std::uint32_t schemes;
  int custom_max;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {6,
       {CUBLASLT_MATMUL_TILE_64x64, CUBLASLT_MATMUL_TILE_128x128},
       {CUBLASLT_MATMUL_STAGES_64x3, CUBLASLT_MATMUL_STAGES_64x4},
       CUBLASLT_REDUCTION_SCHEME_MASK,
       3},
      {66,
       {CUBLASLT_MATMUL_TILE_128x128, CUBLASLT_MATMUL_TILE_256x128, CUBLASLT_MATMUL_TILE_176x128,
        CUBLASLT_MATMUL_TILE_128x176},
       {CUBLASLT_MATMUL_STAGES_64xAUTO},
       CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE,
       0}};
  return all;
}

const Kind* kind_of(std::int32_t id) {
  const auto it = std::find_if(kinds().begin(), kinds().end(), [&](const Kind& k) { return k.id == id; });
  return it == kinds().end() ? nullptr : &*it;
}

bool holds(const std::vector<std::uint32_t>& all, std::uint32_t one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

bool is_configured(const Algorithm& a, const Kind& kind) {
  const bool is_split = a.split_k > 1;
  return holds(kind.tiles, a.tile) && holds(kind.stages, a.stages) && a.split_k >= 1 &&
         is_split == (a.scheme != CUBLASLT_REDUCTION_SCHEME_NONE) && (a.scheme & ~kind.schemes) == 0 &&
         (a.scheme & (a.scheme - 1)) == 0 && a.custom <= static_cast<std::uint32_t>(kind.custom_max) &&
         a.swizzle <= 1 && a.inner == 0 &&
         (a.cluster == CUBLASLT_CLUSTER_SHAPE_AUTO ||
          (kind.id == 66 && a.cluster == CUBLASLT_CLUSTER_SHAPE_2x1x1));
}

template <class T>
cublasStatus_t give(const T* values, std::size_t count, void* to, std::size_t bytes, std::size_t* written) {
  const std::size_t needed = count * sizeof(T);
  if (written) *written = needed;
  if (bytes == 0) return written ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
  if (!to || bytes < needed) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(to, values, needed);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasLtMatmulAlgo_t pack(const Algorithm& algorithm) {
  static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));
  cublasLtMatmulAlgo_t packed{};
  std::memcpy(packed.data, &algorithm, sizeof algorithm);
  return packed;
}

bool unpack(const cublasLtMatmulAlgo_t& packed, Algorithm& algorithm) {
  std::memcpy(&algorithm, packed.data, sizeof algorithm);
  return algorithm.mark == mark;
}

bool can_run(const Algorithm& a, const cublasLtMatmulDescOpaque_t& desc, std::int32_t input_type,
             std::uint64_t alignment) {
  const Kind* kind = kind_of(a.id);
  if (!kind || !is_configured(a, *kind)) return false;
  if (a.id == 6) return true;
  return settings().capability_of(current_device()) >= 90 && input_type == CUDA_R_16BF &&
         desc.epilogue != CUBLASLT_EPILOGUE_BGRADA && desc.epilogue != CUBLASLT_EPILOGUE_BGRADB &&
         alignment % 16 == 0;
}

std::vector<Algorithm> proposals() {
  const auto one = [](std::int32_t id, std::uint32_t tile, std::uint32_t stages, std::int32_t split_k,
                      std::uint32_t scheme, std::uint16_t cluster = CUBLASLT_CLUSTER_SHAPE_AUTO) {
    return Algorithm{.mark = mark,
                     .id = id,
                     .split_k = split_k,
                     .tile = tile,
                     .stages = stages,
                     .scheme = scheme,
                     .cluster = cluster,
                     .halves = id == 66};
  };
  return {
      one(6, CUBLASLT_MATMUL_TILE_128x128, CUBLASLT_MATMUL_STAGES_64x3, 1, CUBLASLT_REDUCTION_SCHEME_NONE),
      one(66, CUBLASLT_MATMUL_TILE_256x128, CUBLASLT_MATMUL_STAGES_64xAUTO, 1, CUBLASLT_REDUCTION_SCHEME_NONE,
          CUBLASLT_CLUSTER_SHAPE_2x1x1),
      one(6, CUBLASLT_MATMUL_TILE_64x64, CUBLASLT_MATMUL_STAGES_64x4, 2, CUBLASLT_REDUCTION_SCHEME_INPLACE),
      one(6, CUBLASLT_MATMUL_TILE_64x64, CUBLASLT_MATMUL_STAGES_64x4, 2,
          CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE),
      one(6, CUBLASLT_MATMUL_TILE_64x64, CUBLASLT_MATMUL_STAGES_64x4, 3,
          CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE)};
}

std::chrono::nanoseconds time_of(const Algorithm& a) {
  if (settings().fastest_tile == 0) return {};
  const bool fastest = a.tile == static_cast<std::uint32_t>(settings().fastest_tile);
  return std::chrono::milliseconds(fastest ? 1000 : 2000) +
         std::chrono::milliseconds(100) * std::abs(a.split_k - settings().fastest_split);
}

}  // namespace simulator

using namespace simulator;

cublasStatus_t cublasLtMatmulAlgoInit(cublasLtHandle_t handle, cublasComputeType_t, cudaDataType_t,
                                      cudaDataType_t a, cudaDataType_t, cudaDataType_t, cudaDataType_t,
                                      int id, cublasLtMatmulAlgo_t* algo) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  const Kind* kind = kind_of(id);
  if (!algo || !kind) return CUBLAS_STATUS_INVALID_VALUE;
  if (id == 66 && a != CUDA_R_16BF) return CUBLAS_STATUS_NOT_SUPPORTED;
  *algo = pack({.mark = mark, .id = id});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCapGetAttribute(const cublasLtMatmulAlgo_t* algo,
                                                 cublasLtMatmulAlgoCapAttributes_t attribute, void* value,
                                                 std::size_t bytes, std::size_t* written) {
  Algorithm a;
  const Kind* kind = algo && unpack(*algo, a) ? kind_of(a.id) : nullptr;
  if (!kind) return CUBLAS_STATUS_INVALID_VALUE;
  const std::int32_t split = 1;
  switch (attribute) {
    case CUBLASLT_ALGO_CAP_SPLITK_SUPPORT:
      return give(&split, 1, value, bytes, written);
    case CUBLASLT_ALGO_CAP_REDUCTION_SCHEME_MASK:
      return give(&kind->schemes, 1, value, bytes, written);
    case CUBLASLT_ALGO_CAP_TILE_IDS:
      return give(kind->tiles.data(), kind->tiles.size(), value, bytes, written);
    case CUBLASLT_ALGO_CAP_CUSTOM_OPTION_MAX:
      return give(&kind->custom_max, 1, value, bytes, written);
    case CUBLASLT_ALGO_CAP_STAGES_IDS:
      return give(kind->stages.data(), kind->stages.size(), value, bytes, written);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

namespace {

/// f(member) of the attribute.
template <class F>
cublasStatus_t with_member(Algorithm& a, cublasLtMatmulAlgoConfigAttributes_t attribute, F&& f) {
  switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
      return f(a.id);
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
      return f(a.tile);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
      return f(a.split_k);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
      return f(a.scheme);
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
      return f(a.swizzle);
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
      return f(a.custom);
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
      return f(a.stages);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
      return f(a.inner);
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
      return f(a.cluster);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

}  // namespace

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, std::size_t bytes, std::size_t* written) {
  Algorithm a;
  if (!algo || !unpack(*algo, a)) return CUBLAS_STATUS_INVALID_VALUE;
  return with_member(a, attribute,
                     [&](const auto& member) { return give(&member, 1, value, bytes, written); });
}

cublasStatus_t cublasLtMatmulAlgoConfigSetAttribute(cublasLtMatmulAlgo_t* algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  Algorithm a;
  if (!algo || !value || !unpack(*algo, a) || attribute == CUBLASLT_ALGO_CONFIG_ID)
    return CUBLAS_STATUS_INVALID_VALUE;
  const cublasStatus_t status = with_member(a, attribute, [&](auto& member) {
    if (bytes != sizeof member) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&member, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  });
  if (status == CUBLAS_STATUS_SUCCESS) *algo = pack(a);
  return status;
}
