// What the tests of the simulator's cuBLASLt share.
#pragma once
#include <string>
#include <vector>

#include <cublasLt.h>

#include "tests/tensor/simulator_fixture.h"

namespace simulator::test {

/// A product of one test. Leading dimensions are larger than they must be.
struct Case {
  int m = 5, n = 7, k = 11, batch = 1;
  bool transpose_a = false, transpose_b = false, shared_b = false;
  double alpha = 1, beta = 0;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;

  int rows_a() const { return transpose_a ? k : m; }
  int cols_a() const { return transpose_a ? m : k; }
  int rows_b() const { return transpose_b ? n : k; }
  int cols_b() const { return transpose_b ? k : n; }
  int bias_length() const { return epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m; }
  std::string text() const {
    return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + ", batch " +
           std::to_string(batch) + (transpose_a ? ", A'" : "") + (transpose_b ? ", B'" : "") + ", epilogue " +
           std::to_string(epilogue) + ", beta " + std::to_string(beta);
  }
};
inline constexpr int gap = 3;  // rows that belong to no matrix

/// Descriptors to the end of the test.
class SimulatorProducts : public Simulator {
 protected:
  void SetUp() override {
    Simulator::SetUp();
    cublasLtCreate(&handle_);
  }
  void TearDown() override {
    for (const auto l : layouts_) cublasLtMatrixLayoutDestroy(l);
    for (const auto d : descs_) cublasLtMatmulDescDestroy(d);
    cublasLtDestroy(handle_);
    Simulator::TearDown();
  }

  cublasLtMatrixLayout_t layout(cudaDataType type, int rows, int cols, int batch, bool shared = false) {
    cublasLtMatrixLayout_t l = nullptr;
    cublasLtMatrixLayoutCreate(&l, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols),
                               rows + gap);
    const std::int32_t count = batch;
    const std::int64_t stride = shared ? 0 : (rows + gap) * cols;
    cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride);
    layouts_.push_back(l);
    return l;
  }

  cublasLtMatmulDesc_t desc(const Case& c, cublasComputeType_t compute, void* bias) {
    cublasLtMatmulDesc_t d = nullptr;
    cublasLtMatmulDescCreate(&d, compute, compute == CUBLAS_COMPUTE_64F ? CUDA_R_64F : CUDA_R_32F);
    const std::int32_t ta = c.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                       tb = c.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const std::uint32_t epilogue = c.epilogue;
    const std::int64_t stride = c.bias_length();
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, &stride, sizeof stride);
    descs_.push_back(d);
    return d;
  }

  cublasStatus_t heuristic(cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                           cublasLtMatrixLayout_t c, cublasLtMatmulHeuristicResult_t* result) {
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtMatmulPreferenceCreate(&preference);
    const std::uint64_t workspace = 1 << 20;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                         sizeof workspace);
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle_, d, a, b, c, c, preference, 1, result, &found);
    EXPECT_EQ(found, status == CUBLAS_STATUS_SUCCESS ? 1 : 0);
    cublasLtMatmulPreferenceDestroy(preference);
    return status;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::vector<cublasLtMatrixLayout_t> layouts_;
  std::vector<cublasLtMatmulDesc_t> descs_;
};

}  // namespace simulator::test
