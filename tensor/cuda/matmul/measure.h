// Which of cuBLASLt's algorithms is fastest for a product, on the device.
#pragma once
#include <functional>

#include "tensor/cuda/matmul/plan.h"

namespace vitral::cuda {

/// False while a graph is recorded: nobody may wait for the device then.
bool may_measure(const char* operation, Device device);

/// Seconds of what `start` queues, on the device's clock: the least of a few rounds, less exactly where it is
/// far from `best` (which is negative where there is none yet). Negative: start() was false. Waits for the
/// device.
double seconds_of(Device device, const std::function<bool()>& start, double best);

/// Measures cuBLASLt's proposals for the product, and them with tiles that fit widths of 176 (528 = 3 x 176),
/// and tells `each` of them: the library's first proposal before all others, and those as they come out of
/// their attributes. Waits for the device, which must not be recording; overwrites c, and vector with
/// Epilogue::sum_of_a. What the library says, where it has no algorithm: then nothing was measured.
cublasStatus_t measure(const Plan& plan, const ProductKey& key, const Operands& operands,
                       const std::function<void(const Candidate&, double seconds, bool is_first)>& each);

}  // namespace vitral::cuda
