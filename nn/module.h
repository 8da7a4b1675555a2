// Module: named parameters and sub-modules. One registration call makes a parameter a member, a key in
// checkpoints, an entry of the optimiser and a line of the printout:
//
//   struct Scale : Module {
//     Variable& factor = parameter("factor", Tensor::full({1}, 1));
//     Linear& out = child<Linear>("out", 64, 10, random);            // parameters out.weight, out.bias
//   };
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/ops.h"

namespace vitral::nn {

struct NamedParameter {
  std::string name;  // dotted, as in a PyTorch state dict
  Variable* value;
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // members refer to each other
  Module& operator=(const Module&) = delete;

  /// All parameters of this module and below, in the order of registration.
  std::vector<NamedParameter> parameters() const;
  std::int64_t parameter_count() const;
  void zero_grad();
  /// Moves all parameters; gradients are dropped.
  void to(Device device);
  void to(DType dtype);
  /// For inference: keeps weights as products in `dtype` read them fastest, where the device has such an
  /// order. load_state() and to() drop them; whoever changes weights otherwise packs again.
  void pack_weights(DType dtype = DType::float32);

  /// The values themselves (shared memory, no copies), under their names.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Copies values in by name, converting the dtype. UsageError, saying which, when a name is missing,
  /// unknown or of another shape; nothing is changed then.
  void load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);
  /// The same without copies, for weights that are only read: parameters become the given tensors, those of
  /// their dtype share the memory.
  void share_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);

  /// One line a parameter: name, shape, count.
  std::string describe() const;

 protected:
  /// Packs the weights that this module itself gives to linear().
  virtual void pack_own_weights(DType) {}
  /// UsageError where the name is taken.
  Variable& parameter(std::string name, Tensor initial);
  template <class M, class... Args>
  M& child(std::string name, Args&&... args) {
    auto module = std::make_unique<M>(std::forward<Args>(args)...);
    M& reference = *module;
    children_.emplace_back(std::move(name), std::move(module));
    return reference;
  }

 private:
  void collect(const std::string& prefix, std::vector<NamedParameter>& out) const;
  std::vector<std::pair<NamedParameter, Tensor>> matched(
      const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where) const;

  mutable std::deque<std::pair<std::string, Variable>> own_;  // a deque: references stay valid
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> children_;
};

}  // namespace vitral::nn
