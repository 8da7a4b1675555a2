// Time of work on a device, for the programs of this folder.
#pragma once
#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "tensor/stream.h"

namespace vitral::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Times {
  double median, least;  // seconds of one call
};

/// Over `rounds` of as many calls as last `shortest` seconds; on a GPU by the device's own clock between two
/// events around each round.
inline Times times_of(Device device, const std::function<void()>& work, int rounds = 5,
                      double shortest = 0.02) {
  const auto round = [&](int calls) {
    if (device.is_cpu()) {
      const double start = now();
      for (int i = 0; i < calls; ++i) work();
      return now() - start;
    }
    Event begin(device), end(device);
    begin.record(Queue::compute);
    for (int i = 0; i < calls; ++i) work();
    end.record(Queue::compute);
    end.wait();
    return end.seconds_since(begin);
  };
  round(2);  // warm: kernels loaded, algorithms chosen
  const double once = std::max(round(1), 1e-7);
  const int calls = static_cast<int>(std::clamp(shortest / once, 1.0, 1000.0));
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) times.push_back(round(calls) / calls);
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times.front()};
}

inline double seconds_of(Device device, const std::function<void()>& work) {
  return times_of(device, work).median;
}

}  // namespace vitral::bench
