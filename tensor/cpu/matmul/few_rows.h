// Products of few rows of float32, as in the embedding of one image: every number of the weight is read once
// for them, and comes from memory or a far cache while there is little to compute with it. A product that
// fetches the weights it will need next while it computes takes 0.7 of the time of oneDNN, which waits
// for them.
#pragma once
#include <cstdint>

namespace vitral::cpu_kernels {

/// With more, oneDNN is as fast: measured on AVX-512, ours takes 0.7 of its time at 64 rows, 0.85 at 128, as
/// long at 256.
constexpr std::int64_t few_rows = 192;

/// Whether this processor has the registers: AVX-512.
bool multiplies_few_rows();

/// y[R,O] = x[R,I] w + bias[O] (or null); packed is w in the order of pack_blocks(). Only where
/// multiplies_few_rows().
void multiply_few_rows(float* y, const float* x, const float* packed, const float* bias, std::int64_t rows,
                       std::int64_t in, std::int64_t out);

}  // namespace vitral::cpu_kernels
