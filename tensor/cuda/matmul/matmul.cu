// Plans are made once for each kind of product (ProductKey) and kept as long as the choices that they follow:
// choosing takes the host longer than starting.
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tensor/cuda/matmul/matmul.h"
#include "tensor/cuda/matmul/measure.h"
#include "tensor/cuda/matmul/plan.h"

namespace vitral::cuda {
namespace {

/// Once for each epilogue: what is computed is the same, in more passes over memory.
void note_missing_epilogue(const char* operation, const ProductKey& key) {
  static std::once_flag bias, sums;
  const bool adds = key.product.epilogue == Epilogue::bias;
  std::call_once(adds ? bias : sums, [&] {
    std::fprintf(stderr,
                 "vitral: %s: cuBLASLt has no epilogue %s for %s; %s a pass of its own, which is slower\n",
                 operation, adds ? "BIAS" : "BGRADB", describe(key).c_str(),
                 adds ? "the bias is added in" : "the bias's gradient is");
  });
}

struct Planned {
  Plan plan;
  Candidate chosen{};
  bool supported = true;
};

/// How one product is to be computed: as the choices say, or as the library proposes first.
class Choosing {
 public:
  Choosing(const char* operation, const ProductKey& key, const Operands& operands, ProductChoices* choices)
      : operation_(operation), key_(key), operands_(operands), choices_(choices) {}

  Planned choose() {
    Planned out{Plan(operation_, key_, operands_.c.device(), data<void>(operands_.vector))};
    if (const auto stored = choices_ ? choices_->find(key_) : std::nullopt)
      take(*stored, out);
    else if (choices_ && choices_->measures())
      measure_all(out);
    else
      take_first(out);
    if (!out.supported) note_missing_epilogue(operation_, key_);
    return out;
  }

 private:
  void take(const ProductAlgorithm& algorithm, Planned& out) {
    if (algorithm.id == ProductAlgorithm::first_proposal) return take_first(out);
    const cublasStatus_t status = out.plan.rebuild(algorithm, out.chosen);
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw_error("{}: cuBLASLt refuses {} for {} ({}); remove the line, and the product is measured again",
                choices_->where(key_), describe(algorithm), describe(key_),
                cublas_lt().cublasLtGetStatusName(status));
  }

  // The one that cuBLASLt expects to be fastest. Where it has none, only an epilogue may be the reason.
  void take_first(Planned& out) {
    std::vector<Candidate> proposed;
    settle(out.plan.propose(1, first_reductions, proposed), out);
    if (out.supported) out.chosen = proposed.front();
  }

  void settle(cublasStatus_t status, Planned& out) {
    if (key_.product.epilogue == Epilogue::none) check_blas(status, operation_, key_);
    out.supported = status == CUBLAS_STATUS_SUCCESS;
  }

  void measure_all(Planned& out) {
    ProductChoice choice{.key = key_, .algorithm = {.id = ProductAlgorithm::first_proposal}};
    // While a graph is recorded nobody may wait: what is taken now is what later runs take, too.
    if (!may_measure(operation_, operands_.c.device()) || !measure_now(out, choice)) take_first(out);
    if (!out.supported) return;
    const ProductAlgorithm holds = choices_->add(choice);
    if (holds != choice.algorithm) take(holds, out);
  }

  // False where there is nothing to choose from.
  bool measure_now(Planned& out, ProductChoice& choice) {
    Tensor scratch;  // a product that adds to C must do so once
    if (key_.product.accumulate)
      scratch = Tensor::zeros(operands_.c.shape(), key_.output, operands_.c.device());
    const Operands measured{scratch.defined() ? scratch : operands_.c, operands_.a, operands_.b,
                            operands_.vector};
    return measure(out.plan, key_, measured, [&](const Candidate& c, double seconds, bool is_first) {
             const double microseconds = 1e6 * seconds;
             if (is_first) choice.first_microseconds = microseconds;
             if (choice.microseconds != 0 && microseconds >= choice.microseconds) return;
             choice.microseconds = microseconds;
             if (!is_first) choice.algorithm = attributes_of(c.algorithm);
             out.chosen = c;
           }) == CUBLAS_STATUS_SUCCESS;
  }

  const char* operation_;
  const ProductKey& key_;
  const Operands& operands_;
  ProductChoices* choices_;
};

/// The products of one device.
struct Products {
  std::mutex mutex;
  std::map<ProductKey, Planned> plans;
  std::shared_ptr<ProductChoices> choices;  // that the plans follow
};

// Kept to the end of the process, as the streams are.
Products& products(Device device) {
  static auto* mutex = new std::mutex;
  static auto* all = new std::map<int, Products>;
  const std::lock_guard lock(*mutex);
  return (*all)[device.index];
}

Planned& planned(Products& products, const char* operation, const ProductKey& key, const Operands& operands) {
  auto choices = product_choices();
  if (choices && choices->multiplier() != blas(operands.c.device()).multiplier) choices.reset();
  if (choices != products.choices) {
    products.plans.clear();
    products.choices = std::move(choices);
  }
  auto found = products.plans.find(key);
  if (found == products.plans.end())
    found = products.plans.emplace(key, Choosing(operation, key, operands, products.choices.get()).choose())
                .first;
  return found->second;
}

}  // namespace

bool multiply(const char* operation, const Product& product, Tensor& c, const Tensor& a, const Tensor& b,
              const Tensor& vector) {
  const ProductKey key = key_of(operation, product, c, a, b, vector);
  const Operands operands{c, a, b, vector};
  Products& all = products(c.device());
  // Held to the end: the pointer to the vector is in the plan's descriptor.
  const std::lock_guard lock(all.mutex);
  Planned& p = planned(all, operation, key, operands);
  if (!p.supported) return false;
  // A tensor of this call: a graph that is recorded finds it in its own pool (tensor/storage.h).
  Tensor workspace;
  if (p.chosen.workspace > 0)
    workspace = Tensor({static_cast<std::int64_t>(p.chosen.workspace)}, DType::uint8, c.device());
  const cublasStatus_t status = p.plan.start(p.chosen, operands, workspace);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED && product.epilogue != Epilogue::none) {
    note_missing_epilogue(operation, key);
    return p.supported = false;
  }
  check_blas(status, operation, key);
  return true;
}

}  // namespace vitral::cuda
