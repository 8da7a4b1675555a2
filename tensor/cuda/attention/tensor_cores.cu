// Attention in bfloat16 on tensor cores, forward: global memory is read once and written once. Softmax and
// sums are in float.
//
// A warp takes 16 tokens at a time, for each head of the block in turn: S = Q K^T over the keys that the
// tokens can see, 32 at a time (for 3x3 neighbourhoods in the 8x8 grid 32 are enough; more go by the online
// softmax), then P V with P rounded to bfloat16. The result replaces q in shared memory, from where the block
// writes whole rows.
//
// 53 KB and 128 threads a block at the student's size; docs/performance.md predicts the time.
#include <cmath>

#include "tensor/cuda/attention/fragments.h"

namespace vitral::cuda {
namespace tensor_cores {
namespace {

template <class K>
__global__ void __launch_bounds__(threads, K::units <= 9 ? 4 : 3)
    forward_kernel(bfloat16* out, float* lse, const bfloat16* qkv, Layout l, float scale) {
  constexpr int units = K::units;
  const Part part(l);
  const Lane lane;
  const int stride = K::stride(l), tile = K::rows(l) * stride, tokens = l.shape.tokens;
  Pair* const q = shared_memory<Pair>();
  Pair *const k = q + tile, *const v = k + tile;
  int* const positions = reinterpret_cast<int*>(v + tile + 4 * units);

  start_loading(q, qkv, nullptr, l, part);
  clear_rest(q, 3, l, part);
  fill_positions(positions, l);
  wait_for_copies();
  __syncthreads();

  for (int row = lane.warp * row_tile; row < tokens; row += warps * row_tile) {
    const Keys keys(row, l);
    const unsigned first_bits = visible(positions, row, keys, 0, lane, l.shape);
    const auto attend = [&](int pair, int second) {
      const Head head(pair, second, K::size(l), part.shift);
      Left a[units];
      load_left(a, q, row, head, lane, stride);
      Sums o[units] = {};
      Softmax softmax;
      for (int i = 0; i < K::tiles(keys); ++i) {
        const int key = K::tile(keys, i);
        Sums s[key_units];
        scores(s, a, k, key, head, lane, stride);
        float factor[2];
        softmax.add(s, i == 0 ? first_bits : visible(positions, row, keys, i, lane, l.shape), scale * log2_e,
                    i == 0, factor);
        if (i > 0) {
#pragma unroll
          for (auto& sums : o)
#pragma unroll
            for (int j = 0; j < 4; ++j) sums.v[j] *= factor[j / 2];
        }
        Left w[key_units];
        round_weights(w, s);
        add_weighted(o, w, v, key, head, lane, stride);
      }
      const float upper = row_sum(softmax.sum[0]), lower = row_sum(softmax.sum[1]);
      __syncwarp();  // all lanes have their numbers of q
      store_rows(q, row, Result<units>(o, reciprocal(upper), reciprocal(lower)), head, lane, stride);
      __syncwarp();
      if (lse && lane.t == 0) {
        float* at =
            lse + (part.image * l.shape.heads + part.first_head + 2 * pair + second) * tokens + row + lane.g;
        if (row + lane.g < tokens) at[0] = softmax.maximum[0] * scale + logf(upper);
        if (row + lane.g + 8 < tokens) at[8] = softmax.maximum[1] * scale + logf(lower);
      }
    };
    for (int pair = 0; 2 * pair < part.heads; ++pair)
#pragma unroll(K::all ? 2 : 1)
      for (int i = 0; i < 2; ++i)
        if (2 * pair + i < part.heads) attend(pair, i);
  }
  __syncthreads();
  write_tiles(out, q, 0, 1, 1, l, part);
}

}  // namespace
}  // namespace tensor_cores

bool tensor_core_attention(const char* operation, Tensor& out, const Tensor& lse, const Tensor& qkv,
                           const AttentionShape& shape) {
  using namespace tensor_cores;
  if (qkv.dtype() != DType::bfloat16) return false;
  const auto* from = data<const bfloat16>(qkv);
  auto* to = data<bfloat16>(out);
  constexpr std::size_t bytes_a_row = sizeof(int);
  const auto l = plan(shape, 3, bytes_a_row, 4, limits(qkv.device()), from, to);
  if (!l) return false;
  with_known(*l, [&]<class K>(K) {
    launch({operation, qkv.device(), blocks_for(shape.batch * l->groups, 1), threads,
            shared_bytes(*l, 3, bytes_a_row)},
           forward_kernel<K>, to, data<float>(lse), from, *l, scale_of<float>(shape));
  });
  return true;
}

}  // namespace vitral::cuda
