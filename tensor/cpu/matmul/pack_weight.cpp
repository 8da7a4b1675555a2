#include "tensor/cpu/matmul/pack_weight.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector.h"

namespace vitral::cpu_kernels {
namespace {

// A number, or a pair of bfloat16, which is moved as one.
struct Word {
  char bytes[4];
};

// Of weight[O,I]: `columns` of its rows to columns of to[in,64].
VITRAL_CLONES void pack_transposed(Word* __restrict to, const Word* __restrict weight, std::int64_t in,
                                   std::int64_t columns) {
  constexpr std::int64_t rows = 16;  // a line of the cache from each row of the weight
  std::int64_t i = 0;
  for (; i + rows <= in; i += rows) {
    std::int64_t o = 0;
    for (; o + lanes <= columns; o += lanes)
      for (std::int64_t half = i; half < i + rows; half += lanes) {
        Vector<float> v[lanes];
        for (int k = 0; k < lanes; ++k) std::memcpy(&v[k], weight + (o + k) * in + half, sizeof(v[k]));
        transpose<float>(v);
        for (int k = 0; k < lanes; ++k) std::memcpy(to + (half + k) * pack_columns + o, &v[k], sizeof(v[k]));
      }
    for (; o < columns; ++o)
      for (std::int64_t k = i; k < i + rows; ++k) to[k * pack_columns + o] = weight[o * in + k];
  }
  for (; i < in; ++i)
    for (std::int64_t o = 0; o < columns; ++o) to[i * pack_columns + o] = weight[o * in + i];
}

// Two rows of weight[I,O], the second perhaps behind its end.
VITRAL_CLONES void pack_pairs(Word* __restrict to, const std::uint16_t* __restrict first,
                              const std::uint16_t* __restrict second, std::int64_t columns) {
  for (std::int64_t o = 0; o < columns; ++o) {
    const std::uint32_t pair = first[o] | (second ? std::uint32_t{second[o]} << 16 : 0);
    std::memcpy(to + o, &pair, sizeof(pair));
  }
}

}  // namespace

void pack_blocks(void* packed, const void* weight, bool transposed, std::int64_t in, std::int64_t out,
                 DType dtype) {
  const bool pairs = dtype == DType::bfloat16;
  VITRAL_CHECK(!pairs || !transposed || in % 2 == 0, "pack_blocks: {} rows are no pairs", in);
  const std::int64_t rows = pairs ? (in + 1) / 2 : in, padded = (rows + 15) / 16 * 16;
  parallel_chunks(out, pack_columns, [=](std::int64_t chunk, std::int64_t begin, std::int64_t end) {
    Word* to = static_cast<Word*>(packed) + chunk * padded * pack_columns;
    const std::int64_t columns = end - begin;
    std::fill(to + (columns < pack_columns ? 0 : rows * pack_columns), to + padded * pack_columns, Word{});
    if (transposed)
      return pack_transposed(to, static_cast<const Word*>(weight) + begin * rows, rows, columns);
    for (std::int64_t i = 0; i < rows; ++i, to += pack_columns) {
      if (pairs) {
        const auto* row = static_cast<const std::uint16_t*>(weight) + 2 * i * out + begin;
        pack_pairs(to, row, 2 * i + 1 < in ? row + out : nullptr, columns);
      } else {
        std::memcpy(to, static_cast<const float*>(weight) + i * out + begin,
                    static_cast<std::size_t>(columns) * sizeof(float));
      }
    }
  });
}

}  // namespace vitral::cpu_kernels
