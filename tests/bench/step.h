// Steps of training in a row, timed.
#pragma once
#include <algorithm>
#include <functional>
#include <vector>

#include "tests/bench/process.h"
#include "tests/bench/timing.h"
#include "train/step.h"

namespace vitral::bench {

struct Measured {
  double median = 0, min = 0;  // seconds of a step
  double first = 0;            // seconds from the start of the process to the end of the first one
  double data_wait = 0;        // part of the time that the host waited for the loader
};

// On the CPU each step by itself. On a GPU steps overlap with what the host does: the mean over all.
inline Measured measure(train::TrainStep& step, Device device, int warmup, int steps,
                        const std::function<data::Inputs()>& next, const std::function<double()>& waited) {
  std::vector<double> seconds;
  double start = now(), wait = waited(), first = 0;
  const auto take = [&] {
    if (step.take().skipped) throw_error("a step was skipped: its loss is not finite");
  };
  for (int i = 0; i < warmup + steps; ++i) {
    if (device.is_cpu() || i == warmup) {
      while (step.pending() > 0) take();
      start = now();
      if (i <= warmup) wait = waited();
    }
    if (step.pending() == train::TrainStep::max_pending) take();
    step.submit(next(), 1e-4);
    if (i > 0 && !device.is_cpu()) continue;
    take();
    if (i == 0) first = seconds_since_start();
    if (!device.is_cpu()) continue;
    if (i >= warmup) seconds.push_back(now() - start);
  }
  while (step.pending() > 0) take();
  if (!device.is_cpu()) seconds.push_back((now() - start) / steps);
  std::sort(seconds.begin(), seconds.end());
  Measured m{.median = seconds[seconds.size() / 2], .min = seconds.front(), .first = first};
  m.data_wait = (waited() - wait) / (m.median * steps);
  return m;
}

}  // namespace vitral::bench
