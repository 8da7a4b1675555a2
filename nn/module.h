// Module: named parameters and sub-modules. One registration call makes a parameter a member, a key in
// checkpoints, an entry of the optimiser and a line of the printout:
//
//   struct Scale : Module {
//     Parameter& factor = parameter("factor", Tensor::full({1}, 1));
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
#include "nn/parameter.h"

namespace vitral::nn {

struct NamedParameter {
  std::string name;  // dotted, as in a PyTorch state dict
  Parameter* value;
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // members refer to each other
  Module& operator=(const Module&) = delete;

  /// All parameters of this module and below, in the order of registration: own ones (those of parts first),
  /// then those of children.
  std::vector<NamedParameter> parameters() const;
  std::int64_t parameter_count() const;
  void zero_grad();
  /// Moves all parameters; gradients are dropped. int8 weights become floats for a device that does not
  /// multiply with them, and by a dtype.
  void to(Device device);
  void to(DType dtype);
  /// Keeps each parameter in `dtype` beside its value (Parameter::keep_copy): for computing in bfloat16.
  void keep_copies(DType dtype);
  /// For inference: packs what linear_weight() registered (Parameter::pack). Changed weights are packed anew
  /// by another call.
  void pack_weights();
  /// For inference: what linear_weight() registered becomes int8 (tensor/ops/linear_int8.h), on the CPU.
  void quantize_weights();

  /// The values themselves (shared memory, no copies), under their names; behind int8 ones NAME.scale.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Copies values in by name, converting the dtype. UsageError, saying which, when a name is missing,
  /// unknown or of another shape; nothing is changed then. int8 weights [O,...] come with NAME.scale, float32
  /// [O], and stay so: only those of linear_weight() may be.
  void load_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);
  /// The same without copies, for weights that are only read: parameters become the given tensors, those of
  /// their dtype share the memory.
  void share_state(const std::vector<std::pair<std::string, Tensor>>& state, const std::string& where);

  /// One line a parameter: name, shape, count.
  std::string describe() const;

 protected:
  /// UsageError where the name is taken.
  Parameter& parameter(std::string name, Tensor initial);
  /// The same for a weight [O,...] that linear() multiplies with.
  Parameter& linear_weight(std::string name, Tensor initial);
  /// UsageError where the name is taken.
  template <class M, class... Args>
  M& child(std::string name, Args&&... args) {
    return child(std::move(name), std::make_unique<M>(std::forward<Args>(args)...));
  }
  template <class M>
  M& child(std::string name, std::unique_ptr<M> module) {
    check_name("child", name);
    M& reference = *module;
    children_.emplace_back(std::move(name), std::move(module));
    return reference;
  }
  /// A child without a name: what it registered stands among this module's own parameters and children.
  /// UsageError where one of its names is taken.
  template <class M, class... Args>
  M& part(Args&&... args) {
    auto module = std::make_unique<M>(std::forward<Args>(args)...);
    M& reference = *module;
    for (const auto& name : module->names()) check_name("part", name);
    children_.emplace_back("", std::move(module));
    return reference;
  }

 private:
  std::vector<std::string> names() const;  // of parameters and children
  void check_name(const char* what, const std::string& name) const;
  void collect(const std::string& prefix, std::vector<NamedParameter>& out) const;
  void collect_own(const std::string& prefix, std::vector<NamedParameter>& out) const;
  void collect_children(const std::string& prefix, std::vector<NamedParameter>& out) const;
  struct Match {
    NamedParameter parameter;
    Tensor value, scale;
  };
  std::vector<Match> matched(const std::vector<std::pair<std::string, Tensor>>& state,
                             const std::string& where) const;

  mutable std::deque<std::pair<std::string, Parameter>> own_;  // a deque: references stay valid
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> children_;
};

}  // namespace vitral::nn
