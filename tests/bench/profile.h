// Where the time of some work goes, operation by operation.
#pragma once
#include <functional>
#include <optional>

#include <fmt/format.h>

#include "tensor/profile.h"

namespace vitral::bench {

/// Prints a JSON object a line for each operation, the slowest first, over `steps` calls. On a GPU every
/// kernel is waited for.
inline void print_profile(int warmup, int steps, const std::function<void()>& work) {
  Profile profile;
  for (int i = 0; i < warmup + steps; ++i) {
    std::optional<Profile::Use> use;
    if (i >= warmup) use.emplace(profile);
    work();
  }
  for (const OperationProfile& o : profile.operations())
    fmt::print(
        "{{\"operation\": \"{}\", \"calls_a_step\": {:.2f}, \"seconds_a_step\": {:.6f}, \"share\": {:.4f}, "
        "\"gb_per_second\": {:.1f}, \"tflops\": {:.3f}}}\n",
        o.name, static_cast<double>(o.calls) / steps, o.seconds / steps, o.seconds / profile.seconds(),
        o.bytes / o.seconds / 1e9, o.flops / o.seconds / 1e12);
}

}  // namespace vitral::bench
