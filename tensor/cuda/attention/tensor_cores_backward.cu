// Attention in bfloat16 on tensor cores, backward: global memory is read once and written once. Softmax and
// sums are in float.
//
// As tensor_cores.cu, with dout beside q, k and v in shared memory. First each warp's 16 tokens are
// queries: S and dP = dO V^T give dq = dS K and two numbers a query, the softmax's denominator and
// rowsum(P dP). Then they are keys: weights are computed again, transposed, for dv = P^T dO and dk = dS^T Q.
// So every sum is made by one warp, in one order, and nothing of size N x N leaves the registers.
//
// 71 KB and 128 threads a block at the student's size; docs/performance.md predicts the time.
#include <cmath>

#include "tensor/cuda/attention/fragments.h"

namespace vitral::cuda {
namespace tensor_cores {
namespace {

/// What a query tells its keys: p = 2^(scale s - base), ds = p (scale dp - mean), mean = scale sum p dp.
struct Stats {
  float base, mean;
};

/// What both passes read.
struct Tiles {
  Pair *q, *k, *v, *dout;
  const int* positions;
};

/// dq of 16 tokens, and their stats.
template <class K, int units = K::units>
__device__ __forceinline__ Result<units> query_pass(Stats* stats, const Tiles& tiles, int row,
                                                    const Keys& keys, unsigned first_bits, const Head& head,
                                                    const Lane& lane, const Layout& l, int stride,
                                                    float scale) {
  Left q[units], dout[units];
  load_left(q, tiles.q, row, head, lane, stride);
  load_left(dout, tiles.dout, row, head, lane, stride);
  Sums s[key_units], dp[key_units];
  const auto bits_of = [&](int i) {
    return i == 0 ? first_bits : visible(tiles.positions, row, keys, i, lane, l.shape);
  };

  Softmax softmax;
  float mean[2] = {};
  for (int i = 0; i < K::tiles(keys); ++i) {
    const int key = K::tile(keys, i);
    scores(s, q, tiles.k, key, head, lane, stride);
    scores(dp, dout, tiles.v, key, head, lane, stride);
    float factor[2];
    softmax.add(s, bits_of(i), scale * log2_e, i == 0, factor);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (i > 0) mean[r] *= factor[r];
#pragma unroll
      for (int j = 0; j < 2 * key_units; ++j) mean[r] += Softmax::score(s, r, j) * Softmax::score(dp, r, j);
    }
  }
  float base[2], slope[2];  // ds = 2^(scale s - base) (slope dp - mean)
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = row_sum(softmax.sum[r]), inverse = sum == 0 ? 0.0F : reciprocal(sum);  // 0: no token
    base[r] = softmax.base(r, scale * log2_e);
    slope[r] = inverse * scale;
    mean[r] = row_sum(mean[r]) * inverse * scale;
    if (lane.t == 0) stats[row + lane.g + 8 * r] = {sum == 0 ? 0.0F : base[r] + __log2f(sum), mean[r]};
    mean[r] *= inverse;
  }

  Sums dq[units] = {};
  for (int i = 0; i < K::tiles(keys); ++i) {
    const int key = K::tile(keys, i);
    if (K::tiles(keys) > 1) {  // a single tile's weights are still here
      scores(s, q, tiles.k, key, head, lane, stride);
      scores(dp, dout, tiles.v, key, head, lane, stride);
      const unsigned bits = bits_of(i);
#pragma unroll
      for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int j = 0; j < 2 * key_units; ++j) {
          float& x = Softmax::score(s, r, j);
          x = bits >> Softmax::bit(r, j) & 1U ? power_of_two(x * (scale * log2_e) - base[r]) : 0.0F;
        }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int j = 0; j < 2 * key_units; ++j)
        Softmax::score(s, r, j) *= slope[r] * Softmax::score(dp, r, j) - mean[r];
    Left w[key_units];
    round_weights(w, s);
    add_weighted(dq, w, tiles.k, key, head, lane, stride);
  }
  return Result<units>(dq);
}

/// dk and dv of 16 tokens, in place of k and v, whose rows nobody else reads any more. Scores are transposed:
/// rows are keys, columns queries.
template <class K, int units = K::units>
__device__ __forceinline__ void key_pass(const Stats* stats, const Tiles& tiles, int row, const Keys& queries,
                                         unsigned first_bits, const Head& head, const Lane& lane,
                                         const Layout& l, int stride, float scale) {
  Left k[units], v[units];
  load_left(k, tiles.k, row, head, lane, stride);
  load_left(v, tiles.v, row, head, lane, stride);
  Sums dk[units] = {}, dv[units] = {};
  for (int i = 0; i < K::tiles(queries); ++i) {
    const int query = K::tile(queries, i);
    const unsigned bits =
        i == 0 ? first_bits : visible(tiles.positions, row, queries, i, lane, l.shape, true);
    Sums s[key_units], dp[key_units];
    scores(s, k, tiles.q, query, head, lane, stride);
    scores(dp, v, tiles.dout, query, head, lane, stride);
#pragma unroll
    for (int u = 0; u < key_units; ++u)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const Stats of = stats[query + 8 * u + 2 * lane.t + j];
#pragma unroll
        for (int c = j; c < 4; c += 2) {
          float &x = s[u].v[c], &y = dp[u].v[c];
          x = bits >> (4 * u + c) & 1U ? power_of_two(x * (scale * log2_e) - of.base) : 0.0F;
          y = x * (scale * y - of.mean);
        }
      }
    Left w[key_units];
    round_weights(w, s);
    add_weighted(dv, w, tiles.dout, query, head, lane, stride);
    round_weights(w, dp);
    add_weighted(dk, w, tiles.q, query, head, lane, stride);
  }
  __syncwarp();  // all lanes have their numbers of k and v
  store_rows(tiles.k, row, Result<units>(dk), head, lane, stride);
  store_rows(tiles.v, row, Result<units>(dv), head, lane, stride);
  __syncwarp();
}

/// dq straight to global memory, where a warp has more tokens than it can keep in registers.
template <int units>
__device__ __forceinline__ void write_rows(bfloat16* to, int row, const Result<units>& result,
                                           const Head& head, const Lane& lane, const Layout& l) {
#pragma unroll
  for (int i = 0; i < units; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int pair = Result<units>::result_pair(i, lane), number = 2 * pair + j % 2;
      const int token = row + lane.g + j / 2 * 8;
      const Pair value = j < 2 ? result.pairs[i].upper : result.pairs[i].lower;
      if ((head.mask(pair) >> j % 2 * 16 & 1U) && token < l.shape.tokens)
        reinterpret_cast<unsigned short*>(to)[token * 3 * l.shape.width() + number - head.begin] =
            static_cast<unsigned short>(value >> j % 2 * 16);
    }
}

/// `one_each`: a warp has 16 tokens and keeps their dq in registers until nobody needs q any more. Heads go
/// in pairs, which share no word of a row with the next pair.
template <class K, bool one_each>
__global__ void __launch_bounds__(threads, K::units <= 5 ? 3 : 2)
    backward_kernel(bfloat16* dqkv, const bfloat16* dout, const bfloat16* qkv, Layout l, float scale) {
  constexpr int units = K::units;
  const Part part(l);
  const Lane lane;
  const int stride = K::stride(l), rows = K::rows(l), tile = rows * stride, tokens = l.shape.tokens;
  Pair* const first = shared_memory<Pair>();
  int* const positions = reinterpret_cast<int*>(first + 4 * tile + 4 * units);
  Stats* const stats = reinterpret_cast<Stats*>(positions + rows);
  const Tiles tiles{first, first + tile, first + 2 * tile, first + 3 * tile, positions};

  start_loading(first, qkv, dout, l, part);
  clear_rest(first, 4, l, part);
  fill_positions(positions, l);
  for (int i = static_cast<int>(threadIdx.x); i < 2 * rows; i += threads) stats[i] = {};  // rows of no token
  wait_for_copies();
  __syncthreads();

  const int own = lane.warp * row_tile, step = one_each ? rows : warps * row_tile;
  unsigned own_bits = 0;
  if (one_each && own < tokens) own_bits = visible(positions, own, Keys(own, l), 0, lane, l.shape);
  // But for causal attention, who sees whom is the same either way.
  const auto first_bits = [&](int row, const Keys& keys, bool seeing) {
    return one_each && !(seeing && l.shape.causal) ? own_bits
                                                   : visible(positions, row, keys, 0, lane, l.shape, seeing);
  };
  for (int pair = 0; 2 * pair < part.heads; ++pair) {
    Result<units> dq[2];
    for (int row = own; row < tokens; row += step) {
      const Keys keys(row, l);
      const unsigned bits = first_bits(row, keys, false);
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (2 * pair + i < part.heads) {
          const Head head(pair, i, K::size(l), part.shift);
          dq[i] = query_pass<K>(stats + i * rows, tiles, row, keys, bits, head, lane, l, stride, scale);
          if constexpr (!one_each)
            write_rows(
                dqkv + part.offset(l, 3 * l.shape.width()) + (part.first_head + 2 * pair + i) * l.shape.size,
                row, dq[i], head, lane, l);
        }
    }
    __syncthreads();
    for (int row = own; row < tokens; row += step) {
      const Keys keys(row, l);
      const unsigned bits = first_bits(row, keys, true);
#pragma unroll(K::all ? 2 : 1)
      for (int i = 0; i < 2; ++i)
        if (2 * pair + i < part.heads)
          key_pass<K>(stats + i * rows, tiles, row, keys, bits, Head(pair, i, K::size(l), part.shift), lane,
                      l, stride, scale);
    }
    __syncthreads();
    if (one_each && own < tokens) {
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (2 * pair + i < part.heads) {
          store_rows(tiles.q, own, dq[i], Head(pair, i, K::size(l), part.shift), lane, stride);
          __syncwarp();  // both write the pair that they share
        }
    }
  }
  __syncthreads();
  if (one_each)
    write_tiles(dqkv, first, 0, 3, 3, l, part);
  else
    write_tiles(dqkv, first, 1, 2, 3, l, part);
}

}  // namespace
}  // namespace tensor_cores

bool tensor_core_attention_backward(const char* operation, Tensor& dqkv, const Tensor& dout,
                                    const Tensor& qkv, const AttentionShape& shape) {
  using namespace tensor_cores;
  if (qkv.dtype() != DType::bfloat16) return false;
  const auto *from = data<const bfloat16>(qkv), *gradient = data<const bfloat16>(dout);
  auto* to = data<bfloat16>(dqkv);
  constexpr std::size_t bytes_a_row = sizeof(int) + 2 * sizeof(Stats);
  const auto l = plan(shape, 4, bytes_a_row, 3, limits(qkv.device()), from, gradient, to);
  if (!l) return false;
  with_known(*l, [&]<class K>(K) {
    // Heads of many units fill the registers without dq.
    const bool one_each = K::units <= 9 && shape.tokens <= warps * row_tile;
    launch({operation, qkv.device(), blocks_for(shape.batch * l->groups, 1), threads,
            shared_bytes(*l, 4, bytes_a_row)},
           one_each ? backward_kernel<K, K::units <= 9> : backward_kernel<K, K::all>, to, gradient, from, *l,
           scale_of<float>(shape));
  });
  return true;
}

}  // namespace vitral::cuda
