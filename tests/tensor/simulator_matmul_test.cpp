// The CUDA simulator's cuBLASLt against products in double, by the formula of NVIDIA's header.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include "tests/tensor/simulator_matmul_fixture.h"

namespace simulator::test {
namespace {

template <class T>
cudaDataType type_of() {
  return std::is_same_v<T, double> ? CUDA_R_64F : std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_16BF;
}
template <class T>
double number(T x) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return static_cast<double>(__bfloat162float(x));
  else
    return static_cast<double>(x);
}

class SimulatorMatmul : public SimulatorProducts {
 protected:
  template <class T>
  std::vector<T> random(std::size_t count) {
    std::vector<T> values(count);
    for (T& x : values) x = static_cast<T>(std::uniform_real_distribution<float>(-1, 1)(random_));
    return values;
  }

  template <class In, class Out>
  void check(const Case& c, cublasComputeType_t compute, double tolerance);

  std::mt19937 random_{1};
};

// What the product must be: D of each matrix of the batch and, for gradients, the bias.
template <class In, class Out>
void expect(const Case& c, const std::vector<In>& a, const std::vector<In>& b, const std::vector<Out>& before,
            const std::vector<Out>& bias, const std::vector<Out>& d, const std::vector<Out>& bias_after,
            double tolerance) {
  const auto at = [&](const auto& values, int rows, int cols, int batch, int row, int col) {
    return number(values[static_cast<std::size_t>((batch * cols + col) * (rows + gap) + row)]);
  };
  for (int batch = 0; batch < c.batch; ++batch) {
    const auto op_a = [&](int i, int l) {
      return at(a, c.rows_a(), c.cols_a(), batch, c.transpose_a ? l : i, c.transpose_a ? i : l);
    };
    const auto op_b = [&](int l, int j) {
      return at(b, c.rows_b(), c.cols_b(), c.shared_b ? 0 : batch, c.transpose_b ? j : l,
                c.transpose_b ? l : j);
    };
    for (int i = 0; i < c.m; ++i)
      for (int j = 0; j < c.n; ++j) {
        double sum = 0;
        for (int l = 0; l < c.k; ++l) sum += op_a(i, l) * op_b(l, j);
        double expected = c.alpha * sum;
        if (c.beta != 0) expected += c.beta * at(before, c.m, c.n, batch, i, j);
        if (c.epilogue == CUBLASLT_EPILOGUE_BIAS)
          expected += number(bias[static_cast<std::size_t>(batch * c.m + i)]);
        ASSERT_NEAR(at(d, c.m, c.n, batch, i, j), expected, tolerance)
            << c.text() << " at " << i << ", " << j;
      }
    for (int i = 0; i < c.bias_length(); ++i) {
      double expected = number(bias[static_cast<std::size_t>(batch * c.bias_length() + i)]);
      if (c.epilogue == CUBLASLT_EPILOGUE_BGRADA || c.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
        expected = 0;
        for (int l = 0; l < c.k; ++l)
          expected += c.epilogue == CUBLASLT_EPILOGUE_BGRADA ? op_a(i, l) : op_b(l, i);
      }
      ASSERT_NEAR(number(bias_after[static_cast<std::size_t>(batch * c.bias_length() + i)]), expected,
                  tolerance);
    }
  }
}

template <class In, class Out>
void SimulatorMatmul::check(const Case& c, cublasComputeType_t compute, double tolerance) {
  const auto size = [&](int rows, int cols, int batch) {
    return static_cast<std::size_t>((rows + gap) * cols * batch);
  };
  const auto a = random<In>(size(c.rows_a(), c.cols_a(), c.batch));
  const auto b = random<In>(size(c.rows_b(), c.cols_b(), c.batch));
  auto before = random<Out>(size(c.m, c.n, c.batch));
  if (c.beta == 0) before.assign(before.size(), static_cast<Out>(std::numeric_limits<float>::quiet_NaN()));
  const auto bias = random<Out>(static_cast<std::size_t>(c.bias_length() * c.batch));
  In *const a_data = device(a), *const b_data = device(b);
  Out *const d_data = device(before), *const bias_data = device(bias);
  char* const workspace = device(std::vector<char>(4096));

  const auto d = desc(c, compute, bias_data);
  const auto a_layout = layout(type_of<In>(), c.rows_a(), c.cols_a(), c.batch);
  const auto b_layout = layout(type_of<In>(), c.rows_b(), c.cols_b(), c.batch, c.shared_b);
  const auto d_layout = layout(type_of<Out>(), c.m, c.n, c.batch);
  cublasLtMatmulHeuristicResult_t result{};
  ASSERT_EQ(heuristic(d, a_layout, b_layout, d_layout, &result), CUBLAS_STATUS_SUCCESS) << c.text();
  const float alpha_float = static_cast<float>(c.alpha), beta_float = static_cast<float>(c.beta);
  const bool wide = compute == CUBLAS_COMPUTE_64F;
  ASSERT_EQ(cublasLtMatmul(handle_, d, wide ? static_cast<const void*>(&c.alpha) : &alpha_float, a_data,
                           a_layout, b_data, b_layout, wide ? static_cast<const void*>(&c.beta) : &beta_float,
                           d_data, d_layout, d_data, d_layout, &result.algo, workspace, 4096, stream_),
            CUBLAS_STATUS_SUCCESS);
  expect(c, a, b, before, bias, host(d_data, before.size()), host(bias_data, bias.size()), tolerance);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const auto epilogue : {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BGRADA,
                                  CUBLASLT_EPILOGUE_BGRADB})
        for (const int batch : {1, 3}) {
          Case c{.batch = batch, .transpose_a = ta, .transpose_b = tb, .epilogue = epilogue};
          all.push_back(c);
          c.m = 33, c.n = 1, c.k = 66;
          c.shared_b = batch > 1;
          c.alpha = 0.5;
          c.beta = -2;
          all.push_back(c);
        }
  return all;
}

TEST_F(SimulatorMatmul, Float32) {
  for (const Case& c : cases()) check<float, float>(c, CUBLAS_COMPUTE_32F, 1e-5);
}
TEST_F(SimulatorMatmul, Float64) {
  for (const Case& c : cases()) check<double, double>(c, CUBLAS_COMPUTE_64F, 1e-13);
}
TEST_F(SimulatorMatmul, Bfloat16) {
  for (const Case& c : cases()) check<__nv_bfloat16, __nv_bfloat16>(c, CUBLAS_COMPUTE_32F, 0.05);
}
TEST_F(SimulatorMatmul, Bfloat16ToFloat32) {
  for (const Case& c : cases()) check<__nv_bfloat16, float>(c, CUBLAS_COMPUTE_32F, 1e-5);
}

TEST_F(SimulatorMatmul, Tf32RoundsInputsToTenBits) {
  const Case c{.m = 1, .n = 1, .k = 1};
  const auto d = desc(c, CUBLAS_COMPUTE_32F_FAST_TF32, nullptr);
  const auto one = layout(CUDA_R_32F, 1, 1, 1);
  const float alpha = 1, beta = 0;
  float* a = device(std::vector<float>{1 + 0x1p-11F + 0x1p-12F});  // up
  float* b = device(std::vector<float>{1 + 0x1p-12F});             // down
  float* out = device(std::vector<float>{0});
  cublasLtMatmul(handle_, d, &alpha, a, one, b, one, &beta, out, one, out, one, nullptr, nullptr, 0, stream_);
  EXPECT_EQ(host(out, 1)[0], 1 + 0x1p-10F);
}

TEST_F(SimulatorMatmul, RefusesWhatDoesNotFitTogether) {
  const Case c;
  const auto a = layout(CUDA_R_32F, c.m, c.k, 1), b = layout(CUDA_R_32F, c.k, c.n, 1),
             out = layout(CUDA_R_32F, c.m, c.n, 1);
  cublasLtMatmulHeuristicResult_t result{};
  const auto d = desc(c, CUBLAS_COMPUTE_32F, nullptr);
  EXPECT_EQ(heuristic(d, a, b, out, &result), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(heuristic(d, b, a, out, &result), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(heuristic(d, a, b, layout(CUDA_R_32F, c.n, c.m, 1), &result), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(heuristic(d, a, layout(CUDA_R_32F, c.k, c.n, 2), out, &result), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(heuristic(d, a, layout(CUDA_R_16BF, c.k, c.n, 1), out, &result), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(heuristic(desc(c, CUBLAS_COMPUTE_64F, nullptr), a, b, out, &result), CUBLAS_STATUS_NOT_SUPPORTED);
  const float one = 1;
  EXPECT_EQ(
      cublasLtMatmul(handle_, desc({.epilogue = CUBLASLT_EPILOGUE_BIAS}, CUBLAS_COMPUTE_32F, nullptr), &one,
                     nullptr, a, nullptr, b, &one, nullptr, out, nullptr, out, nullptr, nullptr, 0, stream_),
      CUBLAS_STATUS_INVALID_VALUE);  // a bias, but nowhere
}

TEST_F(SimulatorMatmul, BiasGradientsCanBeMissing) {
  const Case c{.epilogue = CUBLASLT_EPILOGUE_BGRADB};
  const auto a = layout(CUDA_R_32F, c.m, c.k, 1), b = layout(CUDA_R_32F, c.k, c.n, 1),
             out = layout(CUDA_R_32F, c.m, c.n, 1);
  cublasLtMatmulHeuristicResult_t result{};
  const auto d = desc(c, CUBLAS_COMPUTE_32F, nullptr);
  EXPECT_EQ(heuristic(d, a, b, out, &result), CUBLAS_STATUS_SUCCESS);
  settings().no_epilogues = true;
  EXPECT_EQ(heuristic(d, a, b, out, &result), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_STREQ(cublasLtGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED");
}

TEST_F(SimulatorMatmul, QueuesAndRecordsAsKernelsDo) {
  const Case c{.m = 1, .n = 1, .k = 2};
  const auto d = desc(c, CUBLAS_COMPUTE_32F, nullptr);
  const auto row = layout(CUDA_R_32F, 1, 2, 1), column = layout(CUDA_R_32F, 2, 1, 1),
             one = layout(CUDA_R_32F, 1, 1, 1);
  float alpha = 1;
  const float beta = 0;
  float* a = device(std::vector<float>{1, 0, 0, 0, 2, 0, 0, 0});
  float* b = device(std::vector<float>{3, 4});
  float* out = device(std::vector<float>{0});
  const auto multiply = [&] {
    ASSERT_EQ(cublasLtMatmul(handle_, d, &alpha, a, row, b, column, &beta, out, one, out, one, nullptr,
                             nullptr, 0, stream_),
              CUBLAS_STATUS_SUCCESS);
  };
  multiply();
  alpha = 100;  // was read at the call
  EXPECT_EQ(*out, 0);
  EXPECT_EQ(host(out, 1)[0], 11);
  cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed);
  multiply();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  cudaGraphInstantiate(&exec, graph);
  b[0] = 13;
  cudaGraphLaunch(exec, stream_);
  EXPECT_EQ(host(out, 1)[0], 2100);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
}

TEST_F(SimulatorMatmul, EndsTheProgramWhereAMatrixReachesBeyondItsMemory) {
  const Case c;
  const auto d = desc(c, CUBLAS_COMPUTE_32F, nullptr);
  const auto a = layout(CUDA_R_32F, c.m, c.k, 1), b = layout(CUDA_R_32F, c.k, c.n, 1),
             out = layout(CUDA_R_32F, c.m, c.n, 1);
  const float one = 1;
  float* small = device(std::vector<float>(5));
  EXPECT_DEATH(cublasLtMatmul(handle_, d, &one, small, a, small, b, &one, small, out, small, out, nullptr,
                              nullptr, 0, stream_),
               "cublasLtMatmul: A, 340 bytes at .*, does not lie in one block of device memory");
}

}  // namespace
}  // namespace simulator::test
