// One dispatch for every operation. A contract header declares a Kernel; tensor/cpu/foo.cpp gives it its
// implementation on the CPU, as tensor/cuda/foo.cu does when the module vitral_cuda is loaded. There is no
// backend class and no list of stubs: calling a kernel on a device for which nobody implemented it answers
// "foo: has no CUDA kernel".
//
//   tensor/ops/foo.h        inline constinit Kernel<void(Tensor& y, const Tensor& x)> foo{"foo"};
//   tensor/cpu/foo.cpp   void foo(Tensor& y, const Tensor& x) { ... }
//                        const bool implemented = kernel::foo.implement(Device::Kind::cpu, foo);
//
// Convention: outputs first, as Tensor&, allocated by the caller; then inputs, as const Tensor&; then plain
// numbers. Kernels trust their caller (autograd/ checks shapes) and overwrite outputs unless the contract
// says "accumulates". An optional tensor may be undefined.
//
// A contract may say how many floating-point operations a call is, for profiles (tensor/profile.h): a
// function of the same arguments beside the name.
#pragma once
#include <array>
#include <cstddef>
#include <ranges>
#include <type_traits>

#include "tensor/profile.h"
#include "tensor/tensor.h"

namespace vitral {

namespace detail {

template <class T>
void find_device(const char* operation, const Tensor*& first, const T& argument) {
  if constexpr (std::is_same_v<T, Tensor>) {
    if (!argument.defined()) return;
    if (!first) first = &argument;
    VITRAL_CHECK(argument.device() == first->device(), "{}: tensors on {} and {}, move them to one device",
                 operation, first->device().str(), argument.device().str());
  }
}

// Bytes of the tensors in an argument: a tensor, something that knows its bytes() (UpdateItem), a span of
// them.
template <class T>
double bytes_of(const T& argument) {
  if constexpr (requires { argument.bytes(); }) {
    return static_cast<double>(argument.bytes());
  } else if constexpr (std::ranges::range<const T>) {
    double sum = 0;
    for (const auto& element : argument) sum += bytes_of(element);
    return sum;
  } else {
    return 0;
  }
}

}  // namespace detail

template <class Signature>
class Kernel;

template <class... Args>
class Kernel<void(Args...)> {
 public:
  using Function = void (*)(Args...);
  using Flops = double (*)(Args...);

  explicit constexpr Kernel(const char* name, Flops flops = nullptr) : name_(name), flops_(flops) {}

  bool implement(Device::Kind kind, Function function) {
    functions_[static_cast<std::size_t>(kind)] = function;
    return true;
  }

  void operator()(Args... args) const {
    const Tensor* first = nullptr;
    (detail::find_device(name_, first, args), ...);
    const Device device = first ? first->device() : cpu;
    const Function function = functions_[static_cast<std::size_t>(device.kind)];
    VITRAL_CHECK(function, "{}: has no {} kernel", name_, device.is_cpu() ? "CPU" : "CUDA");
    if (current_profile) [[unlikely]]
      return profiled(function, device, args...);
    function(args...);
  }

  const char* name() const { return name_; }
  bool implemented(Device::Kind kind) const { return functions_[static_cast<std::size_t>(kind)] != nullptr; }

 private:
  void profiled(Function function, Device device, Args... args) const {
    Profile::Call call(*current_profile, name_, device, flops_ ? flops_(args...) : 0,
                       (detail::bytes_of(args) + ... + 0.0));
    function(args...);
    call.end();
  }

  const char* name_;
  Flops flops_;
  std::array<Function, 2> functions_{};
};

}  // namespace vitral
