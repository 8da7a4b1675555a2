// What all that calls oneDNN shares.
#pragma once
#include <map>
#include <utility>

#include <dnnl.hpp>

#include "base/error.h"
#include "tensor/device.h"

namespace vitral::cpu_kernels::onednn {

inline const dnnl::engine& engine() {
  static const dnnl::engine cpu_engine(dnnl::engine::kind::cpu, 0);
  return cpu_engine;
}

inline dnnl::stream& stream() {
  thread_local dnnl::stream s(engine());
  return s;
}

inline dnnl::memory view(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, engine(), const_cast<void*>(data));
}

// Made once for each kind of product, for as many threads as there are then, and kept. Each thread that
// multiplies has its own: a primitive uses the scratchpad of the thread that made it, so that two at once
// would write over each other's.
template <class Key, class Value>
class Cache {
 public:
  template <class Make>
  const Value& get(const Key& key, Make&& make) {
    constexpr std::size_t capacity = 512;  // of a program whose sizes always differ
    if (values_.size() > capacity) values_.clear();
    auto found = values_.find({key, cpu_threads()});
    if (found == values_.end()) found = values_.emplace(std::pair(key, cpu_threads()), make()).first;
    return found->second;
  }

 private:
  std::map<std::pair<Key, int>, Value> values_;
};

/// Whether oneDNN finds these instructions, and may use them (ONEDNN_MAX_CPU_ISA).
inline bool has_isa(dnnl::cpu_isa wanted) {
  const auto has = static_cast<unsigned>(dnnl::get_effective_cpu_isa()), bits = static_cast<unsigned>(wanted);
  return (has & bits) == bits;
}

template <class F>
void guarded(const char* operation, F&& f) {
  try {
    f();
  } catch (const dnnl::error& e) {
    throw_error("{}: oneDNN cannot do it: {}", operation, e.what());
  }
}

}  // namespace vitral::cpu_kernels::onednn
