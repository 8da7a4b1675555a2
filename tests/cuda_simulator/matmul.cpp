#include "matmul.h"

#include <algorithm>
#include <bit>

#include <Eigen/Core>

#include "cuda_bf16.h"

namespace simulator {
namespace {

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

double read(const void* data, std::int32_t type, std::int64_t at) {
  switch (type) {
    case CUDA_R_16BF:
      return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16*>(data)[at]));
    case CUDA_R_64F:
      return static_cast<const double*>(data)[at];
    default:
      return static_cast<double>(static_cast<const float*>(data)[at]);
  }
}

void write(void* data, std::int32_t type, std::int64_t at, double value) {
  switch (type) {
    case CUDA_R_16BF:
      static_cast<__nv_bfloat16*>(data)[at] = static_cast<float>(value);
      break;
    case CUDA_R_64F:
      static_cast<double*>(data)[at] = value;
      break;
    default:
      static_cast<float*>(data)[at] = static_cast<float>(value);
  }
}

// To 10 bits of mantissa, to nearest.
float round_to_tf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7F800000U) == 0x7F800000U) return x;
  return std::bit_cast<float>((bits + 0x1000U) & ~0x1FFFU);
}

/// op(X) of one matrix of the batch.
template <class T>
Matrix<T> load(const void* data, const cublasLtMatrixLayoutOpaque_t& layout, bool transpose, int batch,
               bool tf32) {
  const auto rows = static_cast<Eigen::Index>(layout.rows), cols = static_cast<Eigen::Index>(layout.cols);
  Matrix<T> m(transpose ? cols : rows, transpose ? rows : cols);
  for (Eigen::Index col = 0; col < cols; ++col)
    for (Eigen::Index row = 0; row < rows; ++row) {
      T x = static_cast<T>(read(data, layout.type, batch * layout.stride + col * layout.ld + row));
      if (tf32) x = static_cast<T>(round_to_tf32(static_cast<float>(x)));
      (transpose ? m(col, row) : m(row, col)) = x;
    }
  return m;
}

template <class T>
void write_vector(const Matmul& p, int batch, const Matrix<T>& sums) {
  for (Eigen::Index i = 0; i < sums.size(); ++i)
    write(p.desc.bias, p.desc.bias_type, batch * p.desc.bias_stride + i, static_cast<double>(sums(i)));
}

double rounded_to(std::int32_t type, double x) {
  unsigned char bytes[8]{};
  write(bytes, type, 0, x);
  return read(bytes, type, 0);
}

/// A B, over K part by part: each is rounded to what it is kept in, then added.
template <class T>
Matrix<T> product_of(const Matrix<T>& a, const Matrix<T>& b, const Matmul& p) {
  if (p.parts == 1) return a * b;
  Matrix<T> sum = Matrix<T>::Zero(a.rows(), b.cols());
  const Eigen::Index k = a.cols(), each = (k + p.parts - 1) / p.parts;
  for (Eigen::Index begin = 0; begin < k; begin += each) {
    const Eigen::Index n = std::min(each, k - begin);
    const Matrix<T> part = a.middleCols(begin, n) * b.middleRows(begin, n);
    if (p.scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)
      sum += part;
    else
      sum +=
          part.unaryExpr([&](T x) { return static_cast<T>(rounded_to(p.d.type, static_cast<double>(x))); });
  }
  return sum;
}

template <class T>
void run_one(const Matmul& p, int batch) {
  const bool tf32 = p.desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && p.a.type == CUDA_R_32F;
  const Matrix<T> a = load<T>(p.a_data, p.a, p.desc.transpose_a != CUBLAS_OP_N, batch, tf32);
  const Matrix<T> b = load<T>(p.b_data, p.b, p.desc.transpose_b != CUBLAS_OP_N, batch, tf32);
  const Matrix<T> product = product_of(a, b, p);
  const T alpha = static_cast<T>(p.alpha), beta = static_cast<T>(p.beta);
  for (Eigen::Index col = 0; col < product.cols(); ++col)
    for (Eigen::Index row = 0; row < product.rows(); ++row) {
      T x = alpha * product(row, col);
      if (beta != T(0))
        x += beta * static_cast<T>(read(p.c_data, p.c.type, batch * p.c.stride + col * p.c.ld + row));
      if (p.desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
        x += static_cast<T>(read(p.desc.bias, p.desc.bias_type, batch * p.desc.bias_stride + row));
      write(p.d_data, p.d.type, batch * p.d.stride + col * p.d.ld + row, static_cast<double>(x));
    }
  if (p.desc.epilogue == CUBLASLT_EPILOGUE_BGRADA) write_vector<T>(p, batch, a.rowwise().sum());
  if (p.desc.epilogue == CUBLASLT_EPILOGUE_BGRADB) write_vector<T>(p, batch, b.colwise().sum());
}

}  // namespace

std::size_t size_of(std::int32_t type) {
  return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : type == CUDA_R_16BF ? 2 : 0;
}

void run(const Matmul& product) {
  for (int batch = 0; batch < product.d.batch; ++batch) {
    if (product.desc.scale == CUDA_R_64F)
      run_one<double>(product, batch);
    else
      run_one<float>(product, batch);
  }
}

}  // namespace simulator
