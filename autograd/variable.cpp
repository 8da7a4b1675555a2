#include "autograd/variable.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "autograd/trace.h"
#include "tensor/ops/binary.h"

namespace vitral {

namespace detail {

// How to compute a value again, and how many recipes that runs through.
struct Recipe {
  std::function<Tensor()> compute;
  int depth = 1;
  std::shared_ptr<const void> counted;
};

struct RecomputedCount {
  std::size_t now = 0, peak = 0;  // bytes
};
constexpr int max_recipe_depth = 4;

struct Node {
  explicit Node(const char* operation_name) : operation(operation_name), id(next_id++) {}

  const char* operation;
  std::uint64_t id;  // increases along the tape: consumers come after producers
  Shape shape;       // of the value, as are:
  DType dtype = DType::float32;
  Device device;
  Tensor grad;
  std::vector<std::shared_ptr<Node>> inputs;  // null where an input wants no gradient
  Backward backward;
  std::shared_ptr<const Recipe> recipe;
  bool leaf = false;
  bool walked = false;

  // A long chain of nodes would otherwise be destroyed recursively, one stack frame a node.
  ~Node() {
    std::vector<std::shared_ptr<Node>> pending = std::move(inputs);
    backward = nullptr;
    while (!pending.empty()) {
      const std::shared_ptr<Node> node = std::move(pending.back());
      pending.pop_back();
      if (!node || node.use_count() > 1) continue;
      for (auto& input : node->inputs) pending.push_back(std::move(input));
      node->inputs.clear();
      node->backward = nullptr;
    }
  }

  void describe(const Tensor& value) {
    shape = value.shape();
    dtype = value.dtype();
    device = value.device();
  }

  void accumulate(Tensor g) {
    if (!grad.defined()) {
      // What a leaf keeps is its own: users clip and scale gradients in place.
      grad = leaf && !g.exclusive() ? g.clone() : std::move(g);
    } else if (grad.exclusive()) {
      kernel::add_to(grad, g);
    } else {
      Tensor sum(grad.shape(), grad.dtype(), grad.device());
      kernel::binary(sum, grad, g, BinaryOp::add);
      grad = std::move(sum);
    }
  }

  inline static std::atomic<std::uint64_t> next_id{0};
};

}  // namespace detail

namespace {
thread_local bool recording = true;
thread_local Keeping keeping = Keeping::no;
thread_local std::shared_ptr<detail::RecomputedCount> counting;
}  // namespace

NoGrad::NoGrad() : before_(std::exchange(recording, false)) {}
NoGrad::~NoGrad() { recording = before_; }
bool grad_enabled() { return recording; }

KeepResults::KeepResults(Keeping keep) : before_(std::exchange(keeping, keep)) {}
KeepResults::~KeepResults() { keeping = before_; }
bool results_are_kept() { return keeping != Keeping::no; }
bool results_are_always_kept() { return keeping == Keeping::always; }

RecomputedBytes::RecomputedBytes()
    : count_(std::make_shared<detail::RecomputedCount>()), before_(std::exchange(counting, count_)) {}
RecomputedBytes::~RecomputedBytes() { counting = std::move(before_); }
std::size_t RecomputedBytes::peak() const { return count_->peak; }

std::shared_ptr<const void> count_recomputed(const Tensor& result) {
  if (!counting) return nullptr;
  const auto count = counting;
  const std::size_t bytes = result.bytes();
  count->now += bytes;
  count->peak = std::max(count->peak, count->now);
  return {count.get(), [count, bytes](const void*) { count->now -= bytes; }};
}

Variable::Variable(Tensor value, bool requires_grad) : value_(std::move(value)) {
  if (!requires_grad) return;
  node_ = std::make_shared<detail::Node>("leaf");
  node_->leaf = true;
  node_->describe(value_);
}

const Tensor& Variable::grad() const {
  VITRAL_CHECK(node_, "grad: this variable does not require a gradient");
  return node_->grad;
}

void Variable::zero_grad() {
  if (node_) node_->grad = {};
}

void Variable::backward(double scale) const {
  VITRAL_CHECK(node_, "backward: nothing that this value was computed from requires a gradient");
  VITRAL_CHECK(value_.numel() == 1,
               "backward: starts from one number, this value has shape {}; reduce it with sum() or mean()",
               shape());
  VITRAL_CHECK(!node_->walked,
               "backward: this graph was walked before and its saved tensors are freed; compute it again");
  node_->accumulate(Tensor::full(shape(), scale, dtype(), device()));

  const auto older = [](const auto& a, const auto& b) { return a->id < b->id; };
  std::vector<std::shared_ptr<detail::Node>> heap{
      node_};  // the newest reached node on top: all its consumers are done
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), older);
    const std::shared_ptr<detail::Node> node = std::move(heap.back());
    heap.pop_back();
    if (node->leaf || node->walked) continue;
    VITRAL_CHECK(node->backward,
                 "backward: {} was walked before and its saved tensors are freed; compute it again",
                 node->operation);
    node->walked = true;
    Gradients gradients(*node);
    const Tensor dy = std::move(node->grad);
    node->grad = {};
    node->backward(dy, gradients);
    for (auto& input : node->inputs) {
      if (!input || input->leaf || !input->grad.defined()) continue;
      VITRAL_CHECK(!input->walked,
                   "backward: {} was walked before and its saved tensors are freed; compute it again",
                   input->operation);
      heap.push_back(std::move(input));
      std::push_heap(heap.begin(), heap.end(), older);
    }
    node->backward = nullptr;
    node->recipe = nullptr;
    node->inputs.clear();
  }
}

Saved::Saved(const Variable& x) {
  if (x.node_ && x.node_->recipe)
    recipe_ = x.node_->recipe;
  else
    value_ = x.value();
}

Tensor Saved::get() const { return recipe_ ? recipe_->compute() : value_; }

void check_input(const char* operation, const Variable& x) {
  VITRAL_CHECK(x.defined(), "{}: an input is undefined", operation);
  const bool known =
      x.dtype() == DType::float32 || x.dtype() == DType::float64 || x.dtype() == DType::bfloat16;
  VITRAL_CHECK(known, "{}: input {} is {}, cast it to float32, float64 or bfloat16", operation, x.shape(),
               x.dtype());
}

void check_inputs(const char* operation, std::initializer_list<const Variable*> inputs) {
  const Variable* first = nullptr;
  for (const Variable* x : inputs) {
    check_input(operation, *x);
    if (!first) first = x;
    VITRAL_CHECK(x->dtype() == first->dtype(), "{}: {} {} and {} {} differ in dtype, cast one of them",
                 operation, first->dtype(), first->shape(), x->dtype(), x->shape());
  }
}

void check_weights(const char* operation, const Variable& x, std::initializer_list<const Variable*> weights) {
  check_input(operation, x);
  for (const Variable* w : weights) {
    if (!w->defined()) continue;
    check_input(operation, *w);
    VITRAL_CHECK(w->dtype() == x.dtype() || (w->dtype() == DType::float32 && x.dtype() == DType::bfloat16),
                 "{}: {} {} and {} {} differ in dtype, cast one of them", operation, x.dtype(), x.shape(),
                 w->dtype(), w->shape());
  }
}

bool Gradients::needs(std::size_t input) const {
  return input < node_.inputs.size() && node_.inputs[input] != nullptr;
}

void Gradients::add(std::size_t input, Tensor gradient) {
  if (!needs(input)) return;
  detail::Node& node = *node_.inputs[input];
  VITRAL_CHECK(gradient.shape() == node.shape && gradient.dtype() == node.dtype,
               "{}: gradient {} {} of input {} is not {} {} as the input is", node_.operation,
               gradient.dtype(), gradient.shape(), input, node.dtype, node.shape);
  node.accumulate(std::move(gradient));
}

bool Gradients::collected(std::size_t input) const {
  return needs(input) && node_.inputs[input]->grad.defined();
}

// Taken away from the node meanwhile, so that the operation alone holds it.
Tensor Gradients::begin(std::size_t input, bool add) {
  if (!needs(input)) return {};
  detail::Node& node = *node_.inputs[input];
  if (!add) return Tensor(node.shape, node.dtype, node.device);
  Tensor so_far = std::exchange(node.grad, {});
  if (!so_far.defined()) return Tensor::zeros(node.shape, node.dtype, node.device);
  return so_far.exclusive() ? so_far : so_far.clone();
}

void Gradients::end(std::size_t input, Tensor gradient) {
  if (needs(input)) node_.inputs[input]->accumulate(std::move(gradient));
}

Variable make_result(const Operation& operation, Tensor value, std::vector<Variable> inputs,
                     Backward backward, std::function<Tensor()> recompute) {
  Variable result(std::move(value));
  if (Trace::active()) Trace::record(operation, inputs, result.value());
  const bool wanted = recording && std::any_of(inputs.begin(), inputs.end(),
                                               [](const Variable& x) { return x.requires_grad(); });
  if (!wanted) return result;
  result.node_ = std::make_shared<detail::Node>(operation.name);
  result.node_->describe(result.value_);
  for (auto& x : inputs) result.node_->inputs.push_back(x.node_);
  result.node_->backward = std::move(backward);
  if (!recompute || results_are_kept()) return result;
  int depth = 1;
  for (const auto& input : result.node_->inputs)
    if (input && input->recipe) depth = std::max(depth, input->recipe->depth + 1);
  if (depth <= detail::max_recipe_depth)
    result.node_->recipe = std::make_shared<const detail::Recipe>(
        detail::Recipe{std::move(recompute), depth, count_recomputed(result.value_)});
  return result;
}

}  // namespace vitral
