// How a product is put to cuBLASLt: its descriptors, and the algorithms that the library has for it.
//
// What is row-major for us is column-major and transposed for cuBLASLt: the row-major C = A B is its
// C^T = B^T A^T, so that our B is its first operand, "A", and our A its second, "B"; M and N change places.
#pragma once
#include <memory>
#include <source_location>
#include <type_traits>
#include <vector>

#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/algorithm.h"

namespace vitral::cuda {

/// cuBLASLt on one device, started at the first call and kept to the end of the process, as the streams are.
struct Blas {
  cublasLtHandle_t handle = nullptr;
  std::uint64_t workspace_limit = 0;  // bytes
  std::string multiplier;             // Backend::multiplier
};
const Blas& blas(Device device);

/// UsageError for dtypes that do not go together.
ProductKey key_of(const char* operation, const Product& product, const Tensor& c, const Tensor& a,
                  const Tensor& b, const Tensor& vector);

/// Throws "gemm: CUBLAS_STATUS_NOT_SUPPORTED for [4096, 528] x [528, 2112] bfloat16
/// (tensor/cuda/matmul/plan.cu:123)" unless the status is a success.
void check_blas(cublasStatus_t status, const char* operation, const ProductKey& key,
                const std::source_location& where = std::source_location::current());

struct Candidate {
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace = 0;  // bytes that it needs
};

/// The tensors of a product.
struct Operands {
  Tensor& c;
  const Tensor &a, &b, &vector;
};

/// Sums over K that are split. The parts are kept in float32 (float64) and added in a step of their own. Left
/// out are adding in place, for which no order is promised where results must be the same bits in every run,
/// and parts of the output's type, which would round a bfloat16 result once a part.
constexpr std::uint32_t first_reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
/// Those among which measuring chooses: where the output's type is that of the sums, parts of it are as
/// exact.
std::uint32_t exact_reductions(const ProductKey& key);

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* descriptor) const {
    (cublas_lt().*destroy)(descriptor);
  }
};
template <class Handle, auto destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<destroy>>;

/// The descriptors of one kind of product on one device.
class Plan {
 public:
  /// The alignment of `vector` counts. Errors name `operation`.
  Plan(const char* operation, const ProductKey& key, Device device, void* vector);

  static constexpr int most_proposals = 64;
  /// At most `most` of those that cuBLASLt proposes, the one that it expects to be fastest first; none, and
  /// its status, where it has none.
  cublasStatus_t propose(int most, std::uint32_t reductions, std::vector<Candidate>& out) const;
  /// The algorithm with these attributes, or why the library does not have it for this product.
  cublasStatus_t rebuild(const ProductAlgorithm& attributes, Candidate& out) const;

  /// Queues it; `workspace` has the bytes that the candidate needs, or is undefined where it needs none.
  cublasStatus_t start(const Candidate& candidate, const Operands& operands, const Tensor& workspace) const;

 private:
  using Description = Owned<cublasLtMatmulDesc_t, &CublasLt::cublasLtMatmulDescDestroy>;
  using Layout = Owned<cublasLtMatrixLayout_t, &CublasLt::cublasLtMatrixLayoutDestroy>;

  void require(cublasStatus_t status,
               const std::source_location& where = std::source_location::current()) const {
    check_blas(status, operation_, key_, where);
  }
  cublasStatus_t check(const cublasLtMatmulAlgo_t& algorithm, Candidate& out) const;
  Description description(void* vector) const;
  Layout layout(DType dtype, std::int64_t rows, std::int64_t columns, bool shared = false) const;

  const char* operation_;
  ProductKey key_;
  const Blas& blas_;
  Description product_;
  Layout first_, second_, result_;
};

}  // namespace vitral::cuda
