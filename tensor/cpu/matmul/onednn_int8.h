// Products of bytes by oneDNN: uint8 tokens and int8 weights, summed in int32. A thread computes its product
// alone; who calls divides the work.
#pragma once
#include "tensor/tensor.h"

namespace vitral::cpu_kernels::onednn {

/// Whether this processor has instructions that sum bytes exactly (VNNI, AMX) and oneDNN uses them. Without,
/// it adds pairs of products in 16 bits, which saturate.
bool multiplies_int8();

/// How the matrix w[I,O] of a weight [O,I] is packed: in blocks of columns one behind the other.
struct Int8Order {
  std::int64_t block = 0;  // columns of a block; all of them where blocks do not lie apart
  std::size_t block_bytes = 0;
  std::int64_t blocks = 0;
  std::size_t bytes() const { return block_bytes * static_cast<std::size_t>(blocks); }
};
Int8Order int8_order(std::int64_t in, std::int64_t out);

/// weight int8 [O,I], which is not empty.
void pack_int8(void* packed, const std::int8_t* weight, std::int64_t in, std::int64_t out);

/// sums[R,C] = x[R,I] w, of w the C columns from that block on where `packed` points; C reaches to the end of
/// a block or of w.
void multiply_int8(std::int32_t* sums, const std::uint8_t* x, const void* packed, std::int64_t rows,
                   std::int64_t in, std::int64_t columns, std::int64_t out);

}  // namespace vitral::cpu_kernels::onednn
