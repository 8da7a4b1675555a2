#include "tensor/cuda/matmul/algorithm.h"

namespace vitral::cuda {
namespace {

/// Calls f(which, member, value of the type that the library keeps) for each attribute but the id.
template <class Attributes, class F>
void for_each_attribute(Attributes& a, F&& f) {
  f(CUBLASLT_ALGO_CONFIG_TILE_ID, a.tile, std::uint32_t{});
  f(CUBLASLT_ALGO_CONFIG_STAGES_ID, a.stages, std::uint32_t{});
  f(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, a.split_k, std::int32_t{});
  f(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, a.reduction, std::uint32_t{});
  f(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, a.swizzle, std::uint32_t{});
  f(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, a.custom, std::uint32_t{});
  f(CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, a.inner_shape, std::uint16_t{});
  f(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, a.cluster_shape, std::uint16_t{});
}

template <class T>
bool get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t which, T& value) {
  std::size_t written = 0;
  return cublas_lt().cublasLtMatmulAlgoConfigGetAttribute(&algorithm, which, &value, sizeof value,
                                                          &written) == CUBLAS_STATUS_SUCCESS;
}

template <class T>
bool get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoCapAttributes_t which, T& value) {
  std::size_t written = 0;
  return cublas_lt().cublasLtMatmulAlgoCapGetAttribute(&algorithm, which, &value, sizeof value, &written) ==
         CUBLAS_STATUS_SUCCESS;
}

}  // namespace

ProductAlgorithm attributes_of(const cublasLtMatmulAlgo_t& algorithm) {
  ProductAlgorithm out;
  std::int32_t id = 0;
  if (get(algorithm, CUBLASLT_ALGO_CONFIG_ID, id)) out.id = id;
  for_each_attribute(out, [&](cublasLtMatmulAlgoConfigAttributes_t which, std::int64_t& member, auto value) {
    if (get(algorithm, which, value)) member = value;
  });
  return out;
}

cublasStatus_t set_attributes(cublasLtMatmulAlgo_t& algorithm, const ProductAlgorithm& attributes) {
  cublasStatus_t refused = CUBLAS_STATUS_SUCCESS;
  for_each_attribute(
      attributes, [&](cublasLtMatmulAlgoConfigAttributes_t which, std::int64_t member, auto value) {
        using Value = decltype(value);
        value = static_cast<Value>(member);
        const cublasStatus_t status = value == member ? cublas_lt().cublasLtMatmulAlgoConfigSetAttribute(
                                                            &algorithm, which, &value, sizeof value)
                                                      : CUBLAS_STATUS_INVALID_VALUE;
        // An older library does not know all, and what it does not know is 0.
        if (status != CUBLAS_STATUS_SUCCESS && member != 0 && refused == CUBLAS_STATUS_SUCCESS)
          refused = status;
      });
  return refused;
}

Capabilities capabilities_of(const cublasLtMatmulAlgo_t& algorithm) {
  Capabilities out;
  std::size_t bytes = 0;
  if (cublas_lt().cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, nullptr, 0,
                                                    &bytes) == CUBLAS_STATUS_SUCCESS &&
      bytes > 0) {
    out.tiles.resize(bytes / sizeof(std::uint32_t));
    if (cublas_lt().cublasLtMatmulAlgoCapGetAttribute(
            &algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, out.tiles.data(), bytes, &bytes) != CUBLAS_STATUS_SUCCESS)
      out.tiles.clear();
  }
  std::int32_t splits = 0;
  out.splits_k = get(algorithm, CUBLASLT_ALGO_CAP_SPLITK_SUPPORT, splits) && splits != 0;
  get(algorithm, CUBLASLT_ALGO_CAP_REDUCTION_SCHEME_MASK, out.reductions);
  return out;
}

}  // namespace vitral::cuda
