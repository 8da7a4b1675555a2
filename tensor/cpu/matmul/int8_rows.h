// The loops around products of bytes (tensor/ops/linear_int8.h), and such products themselves for processors
// without instructions for them. T is float or BFloat16. Nothing is fused: all processors give the same bits.
#pragma once
#include "tensor/cpu/number.h"

namespace vitral::cpu_kernels {

/// What is added to each byte of a token: 128 makes it the uint8 that instructions take it for.
enum class Offset : std::uint8_t { none = 0, half = 128 };

/// q [rows,n] = round(x (127 / m)) + offset and s = m / 127 [rows], as in linear_int8.h; the offset of bytes
/// in two's complement, so that without one q are int8.
template <class T>
void quantize_rows(std::uint8_t* q, float* s, const T* x, std::int64_t rows, std::int64_t n, Offset offset);

/// sums[rows,columns] = q weight^T for q int8 [rows,n], weight [columns,n].
void multiply_bytes(std::int32_t* sums, const std::int8_t* q, const std::int8_t* weight, std::int64_t rows,
                    std::int64_t n, std::int64_t columns);

/// y[r,o] = s[r] scale[o] (sums[r,o] - excess[o]) + bias[o]; the rows of y are `step` apart.
template <class T>
void dequantize_rows(T* y, std::int64_t step, const std::int32_t* sums, const std::int32_t* excess,
                     const float* s, const float* scale, const float* bias, std::int64_t rows,
                     std::int64_t columns);

/// excess[o] = 128 sum_i weight[o,i]: what sums of products with x + 128 have too much.
void excess_of_half(std::int32_t* excess, const std::int8_t* weight, std::int64_t rows, std::int64_t n);

}  // namespace vitral::cpu_kernels
