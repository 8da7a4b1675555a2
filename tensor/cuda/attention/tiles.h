// Attention on tensor cores: how a block keeps q, k, v (and dout) of some heads of one image in shared
// memory.
//
// Their columns lie together in a token's row of qkv (4 heads of 33: 264 bytes) and are copied as they are,
// in accesses of 16 bytes where rows allow it: from the last multiple of 16 bytes before them to the next one
// behind (272 bytes). A tile is one of q, k, v, dout: `rows` rows of `stride` pairs of numbers. The stride is
// 4 modulo 8, so that no two of the pairs that a warp loads at once lie in one bank (attention_fragments.h).
// A head of odd size may begin in the high half of a pair.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>

#include "tensor/cuda/async_copy.h"
#include "tensor/cuda/attention/paths.h"
#include "tensor/cuda/mma.h"

namespace vitral::cuda::tensor_cores {

constexpr int threads = 128, warps = threads / warp_size;
constexpr int row_tile = 16;  // tokens that a warp works on
constexpr int key_tile = 32;  // tokens that these see at a time
constexpr int key_units = key_tile / 8;

/// One launch: the shape, and how a block lays its tiles out.
struct Layout {
  AttentionShape shape;
  int group, groups;   // heads of a block; blocks of an image
  int rows, stride;    // of a tile: tokens, rounded up to key_tile; pairs from row to row
  int loaded, stored;  // numbers of an access to global memory
  int behind;          // pairs behind the last tile that are read, too
  bool one_tile;       // no 16 tokens see more than key_tile keys

  /// First and last + 1 of the numbers of a row that a block copies.
  constexpr int from(int first_head) const { return first_head * shape.size / loaded * loaded; }
  constexpr int to(int first_head) const {
    const int end = min(first_head + group, shape.heads) * shape.size;
    return (end + loaded - 1) / loaded * loaded;
  }

 private:
  static constexpr int min(int a, int b) { return a < b ? a : b; }
};

/// Keys that the 16 tokens from `row` on can see, as tiles of keys: those of some rows of the grid, then
/// those of the registers. Where the 16 tokens have a register among them, tiles of all tokens.
struct Keys {
  int first, tiles;  // tiles: of both
  int near;          // tiles of the grid
  int behind;        // first key of the registers' tiles
  int counted;       // keys from here on count in the registers' tiles, those before in the others
  constexpr Keys(int row, const Layout& l)
      : Keys(row / l.shape.grid_columns, minimum(row + row_tile, l.shape.tokens) - 1, l) {}

  /// First key of tile i.
  constexpr int tile(int i) const { return i < near ? first + i * key_tile : behind + (i - near) * key_tile; }

 private:
  constexpr Keys(int grid_row, int last, const Layout& l)
      : first(0), tiles(l.rows / key_tile), near(tiles), behind(0), counted(l.shape.tokens) {
    const AttentionShape& s = l.shape;
    if (s.registers > 0 && last >= s.grid_tokens()) return;
    const int columns = s.grid_columns, far = s.reach_rows * s.dilation, top = grid_row - far;
    const int bottom = minimum(last / columns + far + 1, s.grid_rows);
    first = (top > 0 ? top : 0) * columns / 8 * 8;
    tiles = near = (bottom * columns - first + key_tile - 1) / key_tile;
    first = minimum(first, l.rows - near * key_tile);
    if (s.registers == 0) return;
    counted = s.grid_tokens();
    behind = counted / 8 * 8;
    tiles += (s.tokens - behind + key_tile - 1) / key_tile;
    behind = minimum(behind, l.rows - (tiles - near) * key_tile);
  }
  static constexpr int minimum(int a, int b) { return a < b ? a : b; }
};

// --- the host's side ---

/// Units of 8 numbers that hold a head with the number before it: 0 where there is no kernel for the size.
inline int units_for(int size) {
  const int needed = (size + size % 2 + 7) / 8;
  for (const int units : {2, 3, 4, 5, 8, 9, 16})
    if (needed <= units) return units;
  return 0;
}

/// What the compiler knows of a launch: units of 8 numbers that hold a head, and for the student in its 3x3
/// neighbourhoods the rest of what addresses and loops are made of; 0 where it is for the layout to say.
template <int units_, int size_ = 0, int stride_ = 0, int rows_ = 0>
struct Known {
  static constexpr int units = units_;
  static constexpr bool all = size_ > 0;
  static constexpr bool is(const Layout& l) {
    return l.shape.size == size_ && l.stride == stride_ && l.rows == rows_ && l.one_tile;
  }
  static constexpr int size(const Layout& l) { return all ? size_ : l.shape.size; }
  static constexpr int stride(const Layout& l) { return all ? stride_ : l.stride; }
  static constexpr int rows(const Layout& l) { return all ? rows_ : l.rows; }
  static constexpr int tiles(const Keys& keys) { return all ? 1 : keys.tiles; }
  static constexpr int tile(const Keys& keys, int i) { return all ? keys.first : keys.tile(i); }
};
using Student = Known<5, 33, 68, 64>;

/// Calls f with a Known for the layout.
template <class F>
void with_known(const Layout& l, F&& f) {
  if (Student::is(l)) return f(Student{});
  switch (units_for(l.shape.size)) {
    case 2:
      return f(Known<2>{});
    case 3:
      return f(Known<3>{});
    case 4:
      return f(Known<4>{});
    case 5:
      return f(Known<5>{});
    case 8:
      return f(Known<8>{});
    case 9:
      return f(Known<9>{});
    default:
      return f(Known<16>{});
  }
}

inline std::size_t shared_bytes(const Layout& l, int tiles, std::size_t bytes_a_row) {
  return static_cast<std::size_t>(tiles * l.rows * l.stride + l.behind) * sizeof(Pair) +
         static_cast<std::size_t>(l.rows) * bytes_a_row;
}

/// Numbers of an access to tensors where every row and part begins at a multiple of all of `widths`.
template <class... P>
int access_for(std::initializer_list<int> widths, const P*... pointers) {
  for (const int n : {8, 4, 2})
    if (std::all_of(widths.begin(), widths.end(), [&](int w) { return w % n == 0; }) &&
        aligned_rows<bfloat16>(n, n, pointers...))
      return n;
  return 1;
}

/// Pairs from row to row of a tile.
inline int stride_of(const Layout& l) {
  int widest = 0;
  for (int head = 0; head < l.shape.heads; head += l.group)
    widest = std::max(widest, l.to(head) - l.from(head));
  const int pairs = (widest + 1) / 2;
  return pairs + (12 - pairs % 8) % 8;
}

/// As many heads a block as leave room for `blocks` of them on a multiprocessor, at least the fewest whose
/// columns begin at a pair. Nothing where not even these fit, or on a GPU without bfloat16.
template <class... P>
std::optional<Layout> plan(const AttentionShape& s, int tiles, std::size_t bytes_a_row, int blocks,
                           const DeviceLimits& limits, const P*... pointers) {
  const int units = units_for(s.size);
  const std::int64_t numbers = std::int64_t{3} * s.tokens * s.width();  // of an image, counted in 32 bits
  const int most_tokens = s.dilation == 1 ? 0x4000 : 0x1000;  // what fill_positions() can tell apart
  if (units == 0 || limits.major < 8 || s.tokens >= most_tokens || numbers > std::numeric_limits<int>::max())
    return {};
  constexpr std::size_t reserved = 1024;  // of every block, by the system
  const auto limit = static_cast<std::size_t>(limits.shared_memory);
  const std::size_t wanted = (limit + reserved) / static_cast<std::size_t>(blocks) - reserved;
  std::optional<Layout> best;
  for (int group = 1; group <= s.heads; ++group) {
    if (group < s.heads && group * s.size % 2 != 0) continue;
    const int step = group < s.heads ? group * s.size : 0;
    Layout l{.shape = s,
             .group = group,
             .groups = (s.heads + group - 1) / group,
             .rows = (s.tokens + key_tile - 1) / key_tile * key_tile,
             .stride = 0,
             .loaded = access_for({s.width()}, pointers...),
             .stored = access_for({s.width(), step}, pointers...),
             .behind = 4 * units,
             .one_tile = true};
    l.stride = stride_of(l);
    if (shared_bytes(l, tiles, bytes_a_row) > (best ? wanted : limit)) break;
    best = l;
  }
  for (int row = 0; best && row < s.tokens; row += row_tile)
    best->one_tile = best->one_tile && Keys(row, *best).tiles == 1;
  return best;
}

// --- who works on what ---

/// Where a head lies in a row of a tile; `second` of a pair of heads, which begins at a pair of numbers.
struct Head {
  int first;       // pair
  int begin, end;  // of its numbers, counted from that pair
  __device__ Head(int pair, int second, int size, int shift)
      : first(shift + pair * size + second * size / 2), begin(second * size % 2), end(begin + size) {}
  /// The halves of a pair that are the head's.
  __device__ Pair mask(int pair) const { return half(2 * pair, 0xFFFFU) | half(2 * pair + 1, 0xFFFF0000U); }

 private:
  __device__ Pair half(int number, Pair bits) const { return number >= begin && number < end ? bits : 0U; }
};

struct Lane {
  int warp, g, t;
  __device__ Lane()
      : warp(static_cast<int>(threadIdx.x) / warp_size),
        g(static_cast<int>(threadIdx.x) % warp_size / 4),
        t(static_cast<int>(threadIdx.x) % 4) {}
};

// --- tiles: global memory <-> shared memory ---

template <int n, class F>
__device__ __forceinline__ void for_each_access(int tokens, int columns, const F& f) {
  for (Walk at(columns / n); at.row < tokens; at.step()) f(at.row, at.column * n);
}
template <class F>
__device__ __forceinline__ void with_access(int numbers, const F& f) {
  switch (numbers) {
    case 8:
      return f(std::integral_constant<int, 8>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    default:
      return f(std::integral_constant<int, 1>{});
  }
}

/// The image and the heads that a block works on.
struct Part {
  std::int64_t image;
  int first_head, heads;
  int first, shift;  // number of a row that tiles begin with; pairs from there to the first head
  int loaded;        // numbers of a row of a tile
  __device__ explicit Part(const Layout& l)
      : image(blockIdx.x / static_cast<unsigned>(l.groups)),
        first_head(static_cast<int>(blockIdx.x % static_cast<unsigned>(l.groups)) * l.group),
        heads(min(l.group, l.shape.heads - first_head)),
        first(l.from(first_head)),
        shift((first_head * l.shape.size - first) / 2),
        loaded(l.to(first_head) - first) {}
  /// The image's first number in a tensor of rows of `width` numbers.
  __device__ std::int64_t offset(const Layout& l, int width) const { return image * l.shape.tokens * width; }
};

/// Zeros wherever a tile has no numbers, and behind the last one, where the last head's pairs are read on:
/// what is multiplied by 0 must be finite.
__device__ inline void clear_rest(Pair* tiles, int count, const Layout& l, const Part& part) {
  for (int row = static_cast<int>(threadIdx.x); row < l.rows; row += threads)
    for (int i = 0; i < count; ++i) {
      Pair* at = tiles + (i * l.rows + row) * l.stride;
      int number = row < l.shape.tokens ? part.loaded : 0;
      if (number % 2 != 0) reinterpret_cast<bfloat16*>(at)[number++] = store<bfloat16>(0.0F);
      for (int pair = number / 2; pair < l.stride; ++pair) at[pair] = 0;
    }
  for (int i = static_cast<int>(threadIdx.x); i < l.behind; i += threads)
    tiles[count * l.rows * l.stride + i] = 0;
}

/// q, k, v and, where it is given, dout.
__device__ inline void start_loading(Pair* tiles, const bfloat16* qkv, const bfloat16* dout, const Layout& l,
                                     const Part& part) {
  const int width = l.shape.width(), tile = 2 * l.rows * l.stride;
  auto* to = reinterpret_cast<bfloat16*>(tiles);
  qkv += part.offset(l, 3 * width) + part.first;
  if (dout) dout += part.offset(l, width) + part.first;
  with_access(l.loaded, [&]<int n>(std::integral_constant<int, n>) {
    for_each_access<n>(l.shape.tokens, part.loaded, [&](int row, int column) {
      const bfloat16* from = qkv + (row * 3 * width + column);
      bfloat16* at = to + row * 2 * l.stride + column;
      start_copy<n>(at, from);
      start_copy<n>(at + tile, from + width);
      start_copy<n>(at + 2 * tile, from + 2 * width);
      if (dout) start_copy<n>(at + 3 * tile, dout + (row * width + column));
    });
  });
}

/// Tiles first..first+count-1 as parts of the same numbers of a tensor of `parts` parts a row.
__device__ inline void write_tiles(bfloat16* to, const Pair* tiles, int first, int count, int parts,
                                   const Layout& l, const Part& part) {
  const int width = l.shape.width(), tile = 2 * l.rows * l.stride;
  const auto* from = reinterpret_cast<const bfloat16*>(tiles + part.shift);
  to += part.offset(l, parts * width) + part.first_head * l.shape.size;
  with_access(l.stored, [&]<int n>(std::integral_constant<int, n>) {
    for_each_access<n>(l.shape.tokens, part.heads * l.shape.size, [&](int row, int column) {
      bfloat16* at = to + (row * parts * width + column);
      for (int i = first; i < first + count; ++i)
        store_pack(at + i * width, load_pack<n>(from + i * tile + row * 2 * l.stride + column));
    });
  });
}

// --- who sees whom ---

/// Places that are a multiple of the dilation apart, side by side; those of other remainders far away.
__device__ inline int sorted(int place, int length, int reach, int dilation) {
  return place % dilation * ((length + dilation - 1) / dilation + reach) + place / dilation;
}

/// Place of each row of a tile in the grid, row << 16 | column, so that Reach tells who is a neighbour; rows
/// without a token of the grid are far away.
__device__ inline void fill_positions(int* positions, const Layout& l) {
  const AttentionShape& s = l.shape;
  for (int i = static_cast<int>(threadIdx.x); i < l.rows; i += threads) {
    const int row = i / s.grid_columns, column = i - row * s.grid_columns;
    positions[i] = i < s.grid_tokens() ? sorted(row, s.grid_rows, s.reach_rows, s.dilation) << 16 |
                                             sorted(column, s.grid_columns, s.reach_columns, s.dilation)
                                       : 0x4000 << 16;
  }
}

/// How far a token sees, or (seeing) from where it is seen, which differs where attention is causal.
struct Reach {
  int rows, before, after;
  __device__ Reach(const AttentionShape& s, bool seeing)
      : rows(s.reach_rows),
        before(s.causal && seeing ? 0 : s.reach_columns),
        after(s.causal && !seeing ? 0 : s.reach_columns) {}
  __device__ __forceinline__ bool has(int own, int other) const {
    const int down = (own >> 16) - (other >> 16), columns = (own & 0xFFFF) - (other & 0xFFFF);
    return abs(down) <= rows && columns <= before && -columns <= after;
  }
};

/// For 16 tokens and tile number `tile` of those that they see, or (seeing) that see them: bit 4 u + i is set
/// where number i of unit u of the scores is one of such two.
__device__ inline unsigned visible(const int* positions, int row, const Keys& keys, int tile,
                                   const Lane& lane, const AttentionShape& s, bool seeing = false) {
  const Reach reach(s, seeing);
  const int key = keys.tile(tile);
  const int upper = positions[row + lane.g], lower = positions[row + lane.g + 8];
  unsigned bits = 0;
  if (s.registers > 0) {
    const int begin = tile < keys.near ? 0 : keys.counted, end = tile < keys.near ? keys.counted : s.tokens;
    const auto sees = [&](int token, int place, int other) {
      return token < s.tokens && other >= begin && other < end &&
             (token >= s.grid_tokens() || other >= s.grid_tokens() || reach.has(place, positions[other]));
    };
#pragma unroll
    for (int u = 0; u < key_units; ++u)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int other = key + 8 * u + 2 * lane.t + i;
        bits |= (sees(row + lane.g, upper, other) ? 1U : 0U) << (4 * u + i);
        bits |= (sees(row + lane.g + 8, lower, other) ? 1U : 0U) << (4 * u + 2 + i);
      }
    return bits;
  }
#pragma unroll
  for (int u = 0; u < key_units; ++u)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int other = positions[key + 8 * u + 2 * lane.t + i];
      bits |= (reach.has(upper, other) ? 1U : 0U) << (4 * u + i);
      bits |= (reach.has(lower, other) ? 1U : 0U) << (4 * u + 2 + i);
    }
  return bits;
}

}  // namespace vitral::cuda::tensor_cores
