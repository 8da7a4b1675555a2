// What a network computes in: fp32; tf32, float32 whose products are rounded (tensor/ops/gemm.h); bf16,
// activations and what products read. docs/cuda.md has the table.
#pragma once
#include <string>

#include "tensor/device.h"
#include "tensor/dtype.h"

namespace vitral::models {

/// UsageError: another word than these three, or the device does not compute in it. `where` names the option;
/// why_cpu: the reason for which `auto` took the CPU, or "".
void check_precision(const std::string& precision, Device device, const std::string& where,
                     const std::string& why_cpu = "");
/// From here on products of this process are in it. Returns the dtype of activations.
DType use_precision(const std::string& precision);

}  // namespace vitral::models
