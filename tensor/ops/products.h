// Which of its algorithms a library multiplies with on a GPU. A library has many for a product, and its own
// order of them is an estimate; which is fastest on a device can only be measured. As they add in different
// orders, the choice decides the last bits: what was measured is therefore kept (ProductChoices), and used
// ever after.
//
// Without choices, which is the default, a product takes the library's first proposal. That one is the same
// each time for one device and one version of the library.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "tensor/kernel.h"

namespace vitral {

/// What a product does beside multiplying, with a vector of the dtype of C.
enum class Epilogue : unsigned char {
  none,
  bias,                // C[m,n] += vector[n]
  sum_of_a,            // vector[m] = sum_k A[m,k]: the gradient of a bias where A is a gradient, transposed
  quick_gelu,          // as bias, and quick_gelu(C) besides
  quick_gelu_gradient  // C[m,n] *= quick_gelu'(h[m,n])
};

/// C[M,N] = A[M,K] B[K,N], row-major and without gaps, `batch` of them one after the other.
struct Product {
  std::int64_t m = 0, n = 0, k = 0;  // none of them 0
  std::int64_t batch = 1;
  bool transpose_a = false;  // A is stored [K,M]
  bool transpose_b = false;  // B is stored [N,K]
  bool shared_b = false;     // one B for the whole batch
  bool accumulate = false;   // C += A B
  Epilogue epilogue = Epilogue::none;

  auto operator<=>(const Product&) const = default;  // NOLINT(modernize-use-nullptr): is none
};

/// All that an algorithm depends on, beside the device. Leading dimensions and the steps of a batch follow
/// from the sizes, as tensors have no gaps.
struct ProductKey {
  Product product;
  DType inputs = DType::float32, output = DType::float32;
  bool tf32 = false;
  // Of A, B, C and the vector: the largest power of two up to 256 of which the address is a multiple; 0:
  // none.
  std::array<std::int64_t, 4> alignment{};

  auto operator<=>(const ProductKey&) const = default;  // NOLINT(modernize-use-nullptr): is none
};

/// "[4096, 528] x [528, 2112] bfloat16 to float32", for people.
std::string describe(const ProductKey& key);

/// What names one of cuBLASLt's algorithms: its configuration attributes, CUBLASLT_ALGO_CONFIG_*.
struct ProductAlgorithm {
  /// The id of the library's first proposal, whatever that is: its other members are not looked at.
  static constexpr std::int64_t first_proposal = -1;
  /// With an activation: the product, and a pass over memory after it; or both in a kernel of cuDNN's, of the
  /// version in `custom` (cudnnGetVersion()).
  static constexpr std::int64_t apart = -2, cudnn = -3;

  std::int64_t id = 0, tile = 0, stages = 0;
  std::int64_t split_k = 1;    // parts of the sum over K, which are made side by side
  std::int64_t reduction = 0;  // how the parts are added, cublasLtReductionScheme_t
  std::int64_t swizzle = 0, custom = 0, inner_shape = 0, cluster_shape = 0;

  auto operator<=>(const ProductAlgorithm&) const = default;  // NOLINT(modernize-use-nullptr): is none
};

/// The parts of "128x176, stages 64xAUTO, split K 4 (float32 parts), id 66" that are names in cuBLASLt's
/// header; numbers that it does not know stay numbers.
std::string tile_name(std::int64_t tile);
std::string stages_name(std::int64_t stages);
std::string reduction_name(std::int64_t reduction);
std::string describe(const ProductAlgorithm& algorithm);

/// An algorithm, and what it was chosen by.
struct ProductChoice {
  ProductKey key;
  ProductAlgorithm algorithm;
  // Of a product; of the library's first proposal, or of product and activation apart. Both 0: not measured.
  double microseconds = 0, first_microseconds = 0;
};

/// The choices of one device and one library.
class ProductChoices {
 public:
  ProductChoices() = default;
  virtual ~ProductChoices() = default;
  ProductChoices(const ProductChoices&) = delete;
  ProductChoices& operator=(const ProductChoices&) = delete;

  /// Whose: as Backend::multiplier says it.
  virtual const std::string& multiplier() const = 0;
  /// Where the choice of a product is kept, for errors.
  virtual std::string where(const ProductKey& key) const = 0;
  virtual std::optional<ProductAlgorithm> find(const ProductKey& key) = 0;
  /// What a product without a choice is to do: measure, or take the library's first proposal.
  virtual bool measures() const = 0;
  /// Keeps one that was made now. Gives the one that holds: another's, if that was kept first.
  virtual ProductAlgorithm add(const ProductChoice& choice) = 0;
};

/// For all products of the process from now on; null: none. Devices that are not their multiplier() go
/// without.
void set_product_choices(std::shared_ptr<ProductChoices> choices);
std::shared_ptr<ProductChoices> product_choices();

/// One algorithm as it was measured.
struct MeasuredProduct {
  ProductAlgorithm algorithm;
  std::int64_t workspace = 0;  // bytes
  double seconds = 0;          // of a product, on the device's clock
};

namespace kernel {

/// Measures all algorithms that the library has for C = A B with an epilogue and that give the same bits each
/// time, and tells `each` of them as they come, the library's first proposal before all others. Overwrites c,
/// and vector with Epilogue::sum_of_a. dtypes as of gemm. Implemented on GPUs, by the module.
inline constinit Kernel<void(Tensor& c, Tensor& vector, const Tensor& a, const Tensor& b,
                             const Product& product, const std::function<void(const MeasuredProduct&)>& each)>
    measure_product{"measure_product"};

}  // namespace kernel
}  // namespace vitral
