// Variable: a Tensor that remembers how it was computed. Define-by-run: every operation of autograd/ops.h
// computes at once and, where an input wants a gradient, adds a node to the tape.
//
//   Variable w(Tensor::zeros({3, 2}), /*requires_grad=*/true);
//   Variable loss = mean(square(sub(matmul(x, w), y)));
//   loss.backward();                                          // w.grad() now holds d loss / d w
//
// backward() walks the tape once, newest node first, and frees each node's saved tensors and gradient as soon
// as it has passed: a second backward() through the same graph is an error. Gradients of leaves add up until
// zero_grad().
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "autograd/operation.h"
#include "tensor/tensor.h"

namespace vitral {

class Variable;
class Gradients;

namespace detail {
struct Node;
struct Recipe;
struct RecomputedCount;
}  // namespace detail

class Variable {
 public:
  Variable() = default;
  explicit Variable(Tensor value, bool requires_grad = false);

  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  std::int64_t dim(int axis) const { return value_.dim(axis); }
  int rank() const { return value_.rank(); }
  DType dtype() const { return value_.dtype(); }
  Device device() const { return value_.device(); }
  bool defined() const { return value_.defined(); }
  double item() const { return value_.item(); }

  bool requires_grad() const { return node_ != nullptr; }
  /// The gradient collected so far; undefined before any backward() reached this leaf.
  const Tensor& grad() const;
  void zero_grad();
  /// Starts from d loss / d loss = `scale`; this must hold one element. Throws UsageError otherwise, and when
  /// nothing here requires a gradient or the graph was walked before.
  void backward(double scale = 1.0) const;

 private:
  friend class Gradients;
  friend class Saved;
  friend struct detail::Node;
  friend Variable make_result(const Operation&, Tensor, std::vector<Variable>,
                              std::function<void(const Tensor&, Gradients&)>, std::function<Tensor()>);
  Tensor value_;
  std::shared_ptr<detail::Node> node_;  // null: no gradient wanted
};

/// While one lives, operations of this thread record nothing.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};
bool grad_enabled();

/// Whether a run keeps results for backward that are cheap to compute again: not, in these steps, or in all.
enum class Keeping : unsigned char { no, now, always };

/// While one lives, operations of this thread keep for backward also what is cheap to compute again (below):
/// more memory, less work, the same bits. KeepResults(false) is as without. With Keeping::always forward may
/// get such a result in another way than backward would, with other last bits (an activation that comes out
/// of the product before it).
class KeepResults {
 public:
  explicit KeepResults(Keeping keep);
  explicit KeepResults(bool keep = true) : KeepResults(keep ? Keeping::now : Keeping::no) {}
  ~KeepResults();
  KeepResults(const KeepResults&) = delete;
  KeepResults& operator=(const KeepResults&) = delete;

 private:
  Keeping before_;
};
bool results_are_kept();
bool results_are_always_kept();

/// Counts, while it lives, the results of this thread's operations that will be computed again in backward.
class RecomputedBytes {
 public:
  RecomputedBytes();
  ~RecomputedBytes();
  RecomputedBytes(const RecomputedBytes&) = delete;
  RecomputedBytes& operator=(const RecomputedBytes&) = delete;
  /// The most that there were at a time: no less than KeepResults would have taken besides.
  std::size_t peak() const;

 private:
  std::shared_ptr<detail::RecomputedCount> count_, before_;
};

// --- For those who write operations ---

/// What an operation keeps of an input for its backward: the tensor itself or, where the input is cheap to
/// compute again (the output of layer_norm or of a pointwise operation) and KeepResults does not say
/// otherwise, only the recipe. get() gives the tensor either way.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Variable& x);
  explicit Saved(Tensor value) : value_(std::move(value)) {}
  Tensor get() const;

 private:
  Tensor value_;
  std::shared_ptr<const detail::Recipe> recipe_;
};

/// UsageError with the operation's name unless x is defined and of a floating dtype that operations know:
/// float32, float64 or bfloat16.
void check_input(const char* operation, const Variable& x);
/// The same for all of them, which must have one dtype.
void check_inputs(const char* operation, std::initializer_list<const Variable*> inputs);
/// x as check_input wants it; weights have its dtype, or are float32 beside bfloat16. Undefined ones are left
/// out.
void check_weights(const char* operation, const Variable& x, std::initializer_list<const Variable*> weights);

/// Where a backward function delivers the gradients of its inputs, by position.
class Gradients {
 public:
  explicit Gradients(const detail::Node& node) : node_(node) {}
  /// Whether there is such an input, and it wants a gradient.
  bool needs(std::size_t input) const;
  /// Delivers a gradient of the input's shape and dtype. It may share memory with other tensors: then it is
  /// never written to.
  void add(std::size_t input, Tensor gradient);
  /// Delivers gradients that f(Tensor& gradient..., bool add), one for each of `inputs`, writes itself: new
  /// tensors to overwrite or (add), where one of them has collected something from other consumers or
  /// micro-batches, what they have so far, to add to in place. Undefined for an input that needs none.
  template <std::size_t... inputs, class F>
  void accumulate(F&& f) {
    const bool add = (collected(inputs) || ...);
    std::array<Tensor, sizeof...(inputs)> gradients{begin(inputs, add)...};
    std::apply([&](auto&... gradient) { f(gradient..., add); }, gradients);
    std::size_t i = 0;
    (end(inputs, std::move(gradients[i++])), ...);
  }

 private:
  bool collected(std::size_t input) const;
  Tensor begin(std::size_t input, bool add);
  void end(std::size_t input, Tensor gradient);

  const detail::Node& node_;
};

using Backward = std::function<void(const Tensor& dy, Gradients& gradients)>;

/// The result of an operation. Without an input that wants a gradient, or under NoGrad, it has no history and
/// `backward` is dropped. `recompute`, where given, computes the value again from what it holds; after a few
/// such operations in a row the value itself is kept, so that backward stays linear in their number.
Variable make_result(const Operation& operation, Tensor value, std::vector<Variable> inputs,
                     Backward backward, std::function<Tensor()> recompute = {});

/// For RecomputedBytes, of an operation that computes a result again by itself: held by its backward.
/// (make_result does it for recipes.)
std::shared_ptr<const void> count_recomputed(const Tensor& result);

}  // namespace vitral
