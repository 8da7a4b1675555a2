// Weights in the order in which oneDNN's products read them on processors with AVX-512, where that is the one
// known here: oneDNN's own reorder takes 1.6 times as long in float32 and 2.7 times in bfloat16, which is
// 0.3 and 0.9 % of a training step.
#pragma once
#include <cstdint>

#include "tensor/dtype.h"

namespace vitral::cpu_kernels {

constexpr std::int64_t pack_columns = 64;

/// The matrix w[I,O] in blocks of 64 columns, of each all rows one after the other: [O/64, I, 64], bfloat16
/// in pairs of rows, [O/64, I/2, 64, 2]; zeros to whole blocks and to 16 (bfloat16: 32) rows. w is stored as
/// weight[O,I] where transposed, else as weight[I,O]; float32 or bfloat16, that transposed with an even I. In
/// oneDNN's words BA16a64b and BA16a64b2a.
void pack_blocks(void* packed, const void* weight, bool transposed, std::int64_t in, std::int64_t out,
                 DType dtype);

}  // namespace vitral::cpu_kernels
