// The algorithms of the CUDA simulator's cuBLASLt: what it proposes, how they are configured and checked, and
// how their sums and times differ.
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include "tests/tensor/simulator_matmul_fixture.h"

namespace simulator::test {
namespace {

class SimulatorAlgorithms : public SimulatorProducts {
 protected:
  static constexpr Case product{.m = 4, .n = 5, .k = 64};

  cublasLtMatmulAlgo_t init(int id) {
    cublasLtMatmulAlgo_t algo{};
    EXPECT_EQ(cublasLtMatmulAlgoInit(handle_, CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF,
                                     CUDA_R_32F, CUDA_R_32F, id, &algo),
              CUBLAS_STATUS_SUCCESS);
    return algo;
  }
  template <class T>
  static void set(cublasLtMatmulAlgo_t& algo, cublasLtMatmulAlgoConfigAttributes_t which, T value) {
    EXPECT_EQ(cublasLtMatmulAlgoConfigSetAttribute(&algo, which, &value, sizeof value),
              CUBLAS_STATUS_SUCCESS);
  }
  cublasLtMatmulAlgo_t configured(int id, std::uint32_t tile, std::uint32_t stages, std::int32_t split_k = 1,
                                  std::uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE) {
    cublasLtMatmulAlgo_t algo = init(id);
    set(algo, CUBLASLT_ALGO_CONFIG_TILE_ID, tile);
    set(algo, CUBLASLT_ALGO_CONFIG_STAGES_ID, stages);
    set(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, split_k);
    set(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, scheme);
    return algo;
  }
  cublasStatus_t check_algo(const cublasLtMatmulAlgo_t& algo,
                            cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT) {
    Case c = product;
    c.epilogue = epilogue;
    const auto a = layout(CUDA_R_16BF, c.m, c.k, 1), b = layout(CUDA_R_16BF, c.k, c.n, 1),
               d = layout(CUDA_R_32F, c.m, c.n, 1);
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle_, desc(c, CUBLAS_COMPUTE_32F, nullptr), a, b, d, d, &algo, &result);
  }
};

TEST_F(SimulatorAlgorithms, ProposalsFollowPreferences) {
  const auto a = layout(CUDA_R_16BF, 4, 64, 1), b = layout(CUDA_R_16BF, 64, 5, 1),
             d = layout(CUDA_R_32F, 4, 5, 1);
  const auto proposed = [&](std::uint32_t schemes, std::uint32_t alignment, int most) {
    cublasLtMatmulPreference_t p = nullptr;
    cublasLtMatmulPreferenceCreate(&p);
    const std::uint64_t workspace = 1 << 20;
    cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, 8);
    cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, 4);
    cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment, 4);
    std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(most));
    int found = 0;
    EXPECT_EQ(cublasLtMatmulAlgoGetHeuristic(handle_, desc(product, CUBLAS_COMPUTE_32F, nullptr), a, b, d, d,
                                             p, most, results.data(), &found),
              CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulPreferenceDestroy(p);
    return found;
  };
  EXPECT_EQ(proposed(CUBLASLT_REDUCTION_SCHEME_MASK, 256, 9), 5);
  EXPECT_EQ(proposed(CUBLASLT_REDUCTION_SCHEME_MASK, 256, 2), 2);
  EXPECT_EQ(proposed(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 256, 9), 3);
  EXPECT_EQ(proposed(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 8, 9), 2) << "id 66 wants 16 bytes";
}

TEST_F(SimulatorAlgorithms, AreCheckedAsTheyAreConfigured) {
  EXPECT_EQ(check_algo(configured(6, 20, 15)), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(check_algo(configured(66, 409, 35)), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(check_algo(configured(6, 409, 15)), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(check_algo(configured(6, 20, 35)), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(check_algo(configured(6, 20, 15, 2, 2)), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(check_algo(configured(6, 20, 15, 2, 0)), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(check_algo(configured(66, 409, 35, 2, 1)), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(check_algo(configured(66, 409, 35), CUBLASLT_EPILOGUE_BGRADB), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(check_algo({}), CUBLAS_STATUS_INVALID_VALUE);
  settings().capabilities = {80};
  EXPECT_EQ(check_algo(configured(66, 409, 35)), CUBLAS_STATUS_NOT_SUPPORTED);
  cublasLtMatmulAlgo_t algo{};
  EXPECT_EQ(cublasLtMatmulAlgoInit(handle_, CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F,
                                   CUDA_R_32F, CUDA_R_32F, 7, &algo),
            CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(SimulatorAlgorithms, TellWhatTheyAreAndCanBe) {
  const cublasLtMatmulAlgo_t algo = configured(66, 409, 35, 3, 4);
  std::int32_t id = 0, split = 0;
  std::uint32_t tile = 0;
  std::uint64_t wrong = 0;
  std::size_t written = 0;
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t which, auto& value) {
    return cublasLtMatmulAlgoConfigGetAttribute(&algo, which, &value, sizeof value, &written);
  };
  EXPECT_EQ(get(CUBLASLT_ALGO_CONFIG_ID, id), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(get(CUBLASLT_ALGO_CONFIG_TILE_ID, tile), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, split), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(id, 66);
  EXPECT_EQ(tile, 409U);
  EXPECT_EQ(split, 3);
  cublasLtMatmulAlgo_t changed = algo;
  EXPECT_EQ(
      cublasLtMatmulAlgoConfigSetAttribute(&changed, CUBLASLT_ALGO_CONFIG_TILE_ID, &wrong, sizeof wrong),
      CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtMatmulAlgoConfigSetAttribute(&changed, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id),
            CUBLAS_STATUS_INVALID_VALUE);
  std::size_t bytes = 0;
  EXPECT_EQ(cublasLtMatmulAlgoCapGetAttribute(&algo, CUBLASLT_ALGO_CAP_TILE_IDS, nullptr, 0, &bytes),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(bytes, 4 * sizeof(std::uint32_t));
  std::vector<std::uint32_t> tiles(4);
  EXPECT_EQ(cublasLtMatmulAlgoCapGetAttribute(&algo, CUBLASLT_ALGO_CAP_TILE_IDS, tiles.data(), bytes, &bytes),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(tiles.back(), 409U);
}

TEST_F(SimulatorAlgorithms, SplitSumsRoundEachPart) {
  const Case c{.m = 1, .n = 1, .k = 2};
  const auto row = layout(CUDA_R_16BF, 1, 2, 1), column = layout(CUDA_R_16BF, 2, 1, 1),
             one = layout(CUDA_R_16BF, 1, 1, 1);
  auto* a = device(std::vector<__nv_bfloat16>(8, static_cast<__nv_bfloat16>(1 + 0x1p-7F)));
  auto* b = device(std::vector<__nv_bfloat16>(2, static_cast<__nv_bfloat16>(1 + 0x1p-7F)));
  auto* out = device(std::vector<__nv_bfloat16>(1));
  char* const workspace = device(std::vector<char>(1024));
  const float alpha = 1, beta = 0;
  const auto run = [&](const cublasLtMatmulAlgo_t& algo) {
    EXPECT_EQ(cublasLtMatmul(handle_, desc(c, CUBLAS_COMPUTE_32F, nullptr), &alpha, a, row, b, column, &beta,
                             out, one, out, one, &algo, workspace, 1024, stream_),
              CUBLAS_STATUS_SUCCESS);
    return __bfloat162float(host(out, 1)[0]);
  };
  // (1 + 2^-7)^2 = 1 + 2^-6 + 2^-14, of which bfloat16 keeps 1 + 2^-6.
  EXPECT_EQ(run(configured(6, 15, 16, 2, CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE)), 2 + 0x1p-5F);
  EXPECT_EQ(run(configured(6, 15, 16)),
            run(configured(6, 15, 16, 2, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)));
}

TEST_F(SimulatorAlgorithms, TakeAsLongOnTheDevicesClockAsTheSettingsSay) {
  settings().fastest_tile = 20;
  const Case c{.m = 1, .n = 1, .k = 1};
  const auto one = layout(CUDA_R_32F, 1, 1, 1);
  float* data = device(std::vector<float>{1});
  char* const workspace = device(std::vector<char>(1024));
  const float alpha = 1, beta = 0;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  const auto milliseconds = [&](const cublasLtMatmulAlgo_t& algo) {
    cudaEventRecord(begin, stream_);
    EXPECT_EQ(cublasLtMatmul(handle_, desc(c, CUBLAS_COMPUTE_32F, nullptr), &alpha, data, one, data, one,
                             &beta, data, one, data, one, &algo, workspace, 1024, stream_),
              CUBLAS_STATUS_SUCCESS);
    cudaEventRecord(end, stream_);
    cudaEventSynchronize(end);
    float passed = 0;
    EXPECT_EQ(cudaEventElapsedTime(&passed, begin, end), cudaSuccess);
    return passed;
  };
  EXPECT_NEAR(milliseconds(configured(6, 20, 15)), 1000, 50);
  EXPECT_NEAR(milliseconds(configured(6, 15, 15)), 2000, 50);
  EXPECT_NEAR(milliseconds(configured(6, 15, 15, 3, 2)), 2200, 50);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
}

}  // namespace
}  // namespace simulator::test
