// An MLP's activation beside the products before and after it. QuickGELU in bfloat16 may be made in the
// product itself (tensor/cuda/matmul/fused.h), where train.products has found that faster.
#include <map>
#include <mutex>
#include <utility>

#include "tensor/cuda/launch.h"
#include "tensor/cuda/matmul/fused.h"
#include "tensor/cuda/matmul/matmul.h"
#include "tensor/cuda/matmul/measure.h"
#include "tensor/cuda/matmul/plan.h"
#include "tensor/ops/linear.h"

namespace vitral {
namespace cuda {
namespace {

/// A product with its activation, in both ways. Results are written by either.
struct Ways {
  const char* operation;
  ProductKey key;
  const Tensor& result;
  std::function<bool()> fused;  // false: it cannot be
  std::function<void()> apart;
};

/// Which of them the choices say; measures where they have none and want it.
class ChosenWay {
 public:
  ChosenWay(const Ways& ways, ProductChoices& choices)
      : w_(ways), choices_(choices), device_(ways.result.device()) {}

  bool is_fused() {
    if (const auto stored = choices_.find(w_.key)) return take(*stored);
    if (!choices_.measures()) return false;
    ProductChoice choice{.key = w_.key, .algorithm = {.id = ProductAlgorithm::apart}};
    // While a graph is recorded nobody may wait: what is taken now is what later runs take, too.
    if (may_measure(w_.operation, device_)) measure_both(choice);
    return take(choices_.add(choice));
  }

 private:
  /// 0: there is none.
  std::int64_t version() const { return fused_products ? fused_products->version(device_) : 0; }

  void measure_both(ProductChoice& choice) {
    const std::function<bool()> apart = [this] {
      w_.apart();
      return true;
    };
    const double seconds = seconds_of(device_, apart, -1);
    choice.microseconds = choice.first_microseconds = 1e6 * seconds;
    if (version() == 0) return;
    const double fused_seconds = seconds_of(device_, w_.fused, seconds);
    if (fused_seconds < 0 || fused_seconds >= seconds) return;
    choice.microseconds = 1e6 * fused_seconds;
    choice.algorithm = {.id = ProductAlgorithm::cudnn, .custom = version()};
  }

  bool take(const ProductAlgorithm& a) const {
    if (a.id == ProductAlgorithm::apart) return false;
    const bool is_of_cudnn = a.id == ProductAlgorithm::cudnn;
    if (is_of_cudnn && version() != 0 && a.custom == version()) return true;
    throw_error("{}: {} with QuickGELU cannot be {}{}; remove the line, and the product is measured again",
                choices_.where(w_.key), describe(w_.key), describe(a),
                !is_of_cudnn     ? ""
                : version() == 0 ? ", which is missing"
                                 : ", there is another one here");
  }

  const Ways& w_;
  ProductChoices& choices_;
  const Device device_;
};

/// Whether the product is to be made with its activation in one kernel. Kept by device and product as long as
/// the choices are these.
bool is_fused(const Ways& ways) {
  struct Known {
    std::mutex mutex;
    std::shared_ptr<ProductChoices> choices;
    std::map<std::pair<int, ProductKey>, bool> fused;
  };
  static auto* known = new Known;
  const auto choices = product_choices();
  const Device device = ways.result.device();
  if (!choices || choices->multiplier() != blas(device).multiplier) return false;
  const std::lock_guard lock(known->mutex);
  if (choices != known->choices) {
    known->fused.clear();
    known->choices = choices;
  }
  const std::pair key{device.index, ways.key};
  auto found = known->fused.find(key);
  if (found == known->fused.end())
    found = known->fused.emplace(key, ChosenWay(ways, *choices).is_fused()).first;
  return found->second;
}

/// One after the other, or both at once.
void run(const Ways& ways) {
  if (!is_fused(ways))
    ways.apart();
  else if (!ways.fused())
    throw_error("{}: cuDNN has no kernel for {} with QuickGELU any more", ways.operation, describe(ways.key));
}

bool can_be_fused(const ActivationKernels& f, const Tensor& result, const Tensor& a, const Tensor& b) {
  return &f.value == &kernel::quick_gelu && result.numel() > 0 && a.dim(1) > 0 &&
         result.dtype() == DType::bfloat16 && a.dtype() == result.dtype() && b.dtype() == result.dtype();
}

}  // namespace
}  // namespace cuda

namespace {

void linear_activation(Tensor& y, Tensor& activation, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, const ActivationKernels& f) {
  const auto apart = [&] {
    kernel::linear(y, x, weight, bias);
    f.value(activation, y);
  };
  if (!bias.defined() || !cuda::can_be_fused(f, y, x, weight)) return apart();
  const Product p{
      .m = y.dim(0), .n = y.dim(1), .k = x.dim(1), .transpose_b = true, .epilogue = Epilogue::quick_gelu};
  constexpr auto operation = "linear_activation";
  cuda::run({operation, cuda::key_of(operation, p, y, x, weight, bias), y,
             [&] { return cuda::fused_products->forward(y, activation, x, weight, bias); }, apart});
}

void activation_forward(Tensor& y, Tensor& activation, const Tensor& h, const Tensor& weight,
                        const Tensor& bias, const Tensor&, const ActivationKernels& f) {
  Tensor a = activation.defined() ? activation : Tensor(h.shape(), h.dtype(), h.device());
  f.value(a, h);
  kernel::linear(y, a, weight, bias);
}

// The gradient goes through the product first, so that one pass over h gives what is needed of the activation
// and of its derivative.
void activation_backward(Tensor& dh, Tensor& dweight, Tensor& dbias, const Tensor& dy, const Tensor& h,
                         const Tensor& activation, const Tensor& weight, const ActivationKernels& f,
                         bool accumulate) {
  Tensor a = activation.defined() ? activation : Tensor(h.shape(), h.dtype(), h.device());
  const auto apart = [&] {
    kernel::gemm(dh, dy, weight, {});
    activation.defined() ? f.backward(dh, dh, h) : f.both(a, dh, dh, h);
  };
  if (cuda::can_be_fused(f, dh, dy, weight)) {
    const Product p{
        .m = dh.dim(0), .n = dh.dim(1), .k = dy.dim(1), .epilogue = Epilogue::quick_gelu_gradient};
    const auto fused = [&] {
      if (!cuda::fused_products->backward(dh, dy, weight, h)) return false;
      if (!activation.defined()) f.value(a, h);
      return true;
    };
    constexpr auto operation = "activation_linear_backward";
    cuda::run({operation, cuda::key_of(operation, p, dh, dy, weight, {}), dh, fused, apart});
  } else {
    apart();
  }
  kernel::linear_backward(dweight, dbias, dy, a, accumulate);
}

const bool implemented =
    kernel::linear_activation.implement(Device::Kind::cuda, linear_activation) &&
    kernel::activation_linear.implement(Device::Kind::cuda, activation_forward) &&
    kernel::activation_linear_backward.implement(Device::Kind::cuda, activation_backward);

}  // namespace
}  // namespace vitral
