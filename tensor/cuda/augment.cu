// Augmentation in two launches, whatever the records of the images say.
//
// look_at_images: a block an image, which finds what an operation must know of the whole: the mean for
// contrast, the range for autocontrast. Blocks of images without either end at once. augment_tiles: a block
// for each 32 x 32 pixels of a result computes them from the image as it came, all operations in registers;
// where the image is blurred, rows of floats that are blurred along x lie in shared memory. Sums over an
// image are of whole numbers, so that their order does not matter. For an image of 300 x 300 of which 224 x
// 224 stay: 270,000 and 150,528 bytes read, 150,528 written, about 15 million operations, which take longer.
#include "tensor/cuda/device.h"
#include "tensor/ops/augment.h"
#ifndef __CUDACC__
#include "base/exact_float.h"
#endif
#include "tensor/ops/pixel_formulas.h"

namespace vitral {
namespace {

constexpr int threads = 256;
constexpr int blends = 4;
constexpr int tile_height = 32;

/// What is known of a whole image.
struct Known {
  unsigned char mean;             // L, where it is blended with
  unsigned char low[3], high[3];  // of each channel, where they are stretched
  unsigned char unused;
};

struct Batch {
  const unsigned char *images, *records;
  unsigned char* to;
  std::int64_t record_bytes;
  int height, width, to_height, to_width;
  int weights;
  int tile_shift;  // tiles are 2^tile_shift pixels wide

  __host__ __device__ int tile_width() const { return 1 << tile_shift; }
};

struct Pixel {
  int v[3];
};

/// An image and what is done to it.
struct Source {
  const unsigned char* pixels;
  const float* weights;
  Augmentation a;
  int height, width, count, mean = 0;

  __device__ Source(const Batch& batch, std::int64_t image)
      : pixels(batch.images + image * batch.height * batch.width * 3),
        height(batch.height),
        width(batch.width),
        count(batch.weights) {
    const unsigned char* record = batch.records + image * batch.record_bytes;
    a = *reinterpret_cast<const Augmentation*>(record);
    weights = reinterpret_cast<const float*>(record + sizeof a);
  }

  /// The place of the blend with the mean, `blends` where there is none.
  __device__ int mean_blend() const {
    int found = blends;
#pragma unroll
    for (int k = blends - 1; k >= 0; --k)
      if (a.bases[k] == Augmentation::mean) found = k;
    return found;
  }

  /// The pixel in row-major order, after the first blends.
  __device__ Pixel blended(int number, int first = blends) const {
    const unsigned char* from = pixels + std::int64_t{number} * 3;
    Pixel p{{from[0], from[1], from[2]}};
#pragma unroll
    for (int k = 0; k < blends; ++k) {
      if (k >= first || a.bases[k] == Augmentation::none) continue;
      const int base = a.bases[k] == Augmentation::luma   ? pixel::luma(p.v)
                       : a.bases[k] == Augmentation::mean ? mean
                                                          : 0;
#pragma unroll
      for (int c = 0; c < 3; ++c) p.v[c] = pixel::blend(base, p.v[c], a.factors[k]);
    }
    return p;
  }
  /// The same where the image has been mirrored, if it is.
  __device__ Pixel blended_at(int y, int x) const {
    return blended(y * width + (a.mirrored ? width - 1 - x : x));
  }
};

/// A part of an image, of the size of a tile; what of it is outside of the image is not computed.
struct Tile {
  int top, left, shift;

  __device__ int size() const { return tile_height << shift; }
  __device__ int y(int i) const { return top + (i >> shift); }
  __device__ int x(int i) const { return left + (i & ((1 << shift) - 1)); }
};

/// Rows of the tile, and as many above and below as a blur along y takes, blurred along x. [rows, width, 3]
__device__ void blur_along_x(float* rows, const Source& s, const Tile& tile) {
  const int border = s.count / 2, numbers = (tile_height + 2 * border) << tile.shift;
  for (int i = static_cast<int>(threadIdx.x); i < numbers; i += threads) {
    const int row = tile.y(i) - border, x = tile.x(i);
    if (row >= s.height + border || x >= s.width) continue;
    const int y = pixel::reflected(row, s.height);
    float sums[3] = {0, 0, 0};
    for (int k = 0; k < s.count; ++k) {
      const Pixel p = s.blended_at(y, pixel::reflected(x + k - border, s.width));
#pragma unroll
      for (int c = 0; c < 3; ++c)
        sums[c] = pixel::add_product(sums[c], s.weights[k], static_cast<float>(p.v[c]));
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) rows[i * 3 + c] = sums[c];
  }
}

/// Pixel i of the tile after posterisation.
__device__ Pixel pixel_of(const Source& s, const float* rows, const Tile& tile, int i) {
  Pixel p;
  if (s.a.blurred) {
    float sums[3] = {0, 0, 0};
    for (int k = 0; k < s.count; ++k)
#pragma unroll
      for (int c = 0; c < 3; ++c)
        sums[c] = pixel::add_product(sums[c], s.weights[k], rows[(i + (k << tile.shift)) * 3 + c]);
#pragma unroll
    for (int c = 0; c < 3; ++c) p.v[c] = pixel::round_to_byte(sums[c]);
  } else {
    p = s.blended_at(tile.y(i), tile.x(i));
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) p.v[c] &= s.a.mask;
  return p;
}

__device__ int mean_of(const Source& s, int first) {
  __shared__ unsigned long long scratch[cuda::warp_size + 1];
  const int pixels = s.height * s.width;
  unsigned long long sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < pixels; i += threads) {
    const Pixel p = s.blended(i, first);
    sum += static_cast<unsigned>(pixel::luma(p.v));
  }
  return pixel::mean_luma(cuda::block_sum(sum, scratch), pixels);
}

/// low[c] and high[c], in shared memory, become those of channel c.
__device__ void find_range(int* low, int* high, const Source& s, float* rows, int shift) {
  if (threadIdx.x < 3) low[threadIdx.x] = 255, high[threadIdx.x] = 0;
  int own_low[3] = {255, 255, 255}, own_high[3] = {0, 0, 0};
  for (Tile tile{0, 0, shift}; tile.top < s.height; tile.top += tile_height)
    for (tile.left = 0; tile.left < s.width; tile.left += 1 << shift) {
      if (s.a.blurred) blur_along_x(rows, s, tile);
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < tile.size(); i += threads) {
        if (tile.y(i) >= s.height || tile.x(i) >= s.width) continue;
        const Pixel p = pixel_of(s, rows, tile, i);
#pragma unroll
        for (int c = 0; c < 3; ++c)
          own_low[c] = min(own_low[c], p.v[c]), own_high[c] = max(own_high[c], p.v[c]);
      }
      __syncthreads();  // the rows may be used again
    }
#pragma unroll
  for (int c = 0; c < 3; ++c) atomicMin(low + c, own_low[c]), atomicMax(high + c, own_high[c]);
  __syncthreads();
}

__global__ void __launch_bounds__(threads) look_at_images(Known* known, const Batch batch) {
  Source s(batch, blockIdx.x);
  const int mean_blend = s.mean_blend();
  if (mean_blend == blends && !s.a.autocontrast) return;
  __shared__ int low[3], high[3];
  if (mean_blend < blends) s.mean = mean_of(s, mean_blend);
  if (s.a.autocontrast) find_range(low, high, s, cuda::shared_memory<float>(), batch.tile_shift);
  if (threadIdx.x > 0) return;
  Known& k = known[blockIdx.x];
  k.mean = static_cast<unsigned char>(s.mean);
  if (!s.a.autocontrast) return;
  for (int c = 0; c < 3; ++c) {
    k.low[c] = static_cast<unsigned char>(low[c]);
    k.high[c] = static_cast<unsigned char>(high[c]);
  }
}

__global__ void __launch_bounds__(threads)
    augment_tiles(const Known* known, const Batch batch, int columns, int tiles) {
  const std::int64_t image = blockIdx.x / static_cast<unsigned>(tiles);
  const int number = static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles));
  const int top = number / columns * tile_height, left = number % columns << batch.tile_shift;
  Source s(batch, image);
  const Known k = known[image];
  s.mean = k.mean;
  const Tile tile{s.a.top + top, s.a.left + left, batch.tile_shift};
  auto* rows = cuda::shared_memory<float>();
  if (s.a.blurred) {
    blur_along_x(rows, s, tile);
    __syncthreads();
  }
  for (int i = static_cast<int>(threadIdx.x); i < tile.size(); i += threads) {
    const int y = tile.y(i) - s.a.top, x = tile.x(i) - s.a.left;
    if (y >= batch.to_height || x >= batch.to_width) continue;
    Pixel p = pixel_of(s, rows, tile, i);
    if (s.a.autocontrast)
#pragma unroll
      for (int c = 0; c < 3; ++c) p.v[c] = pixel::stretch(p.v[c], k.low[c], k.high[c]);
    unsigned char* to = batch.to + ((image * batch.to_height + y) * batch.to_width + x) * 3;
#pragma unroll
    for (int c = 0; c < 3; ++c) to[c] = static_cast<unsigned char>(p.v[c]);
  }
}

void augment(Tensor& to, const Tensor& images, const Tensor& records) {
  check_augment_shapes(to, images, records);
  if (to.numel() == 0) return;
  const auto size = [](std::int64_t n) { return static_cast<int>(n); };
  constexpr std::int64_t most = 1LL << 29;  // pixels: they are counted in 32 bits
  VITRAL_CHECK(images.dim(1) * images.dim(2) <= most, "augment: images {} are too large", images.shape());
  Batch batch{.images = cuda::data<unsigned char>(images),
              .records = cuda::data<unsigned char>(records),
              .to = cuda::data<unsigned char>(to),
              .record_bytes = records.dim(1),
              .height = size(images.dim(1)),
              .width = size(images.dim(2)),
              .to_height = size(to.dim(1)),
              .to_width = size(to.dim(2)),
              .weights = size(augmentation_weights(records)),
              .tile_shift = 5};
  // Narrow tiles where many rows must fit into shared memory: 27 KB with the largest blur, of 255 pixels.
  const auto shared = [&]() -> std::size_t {
    if (batch.weights == 0) return 0;
    return static_cast<std::size_t>(tile_height + batch.weights - 1) * 3 * sizeof(float) << batch.tile_shift;
  };
  while (batch.tile_shift > 0 && shared() > 48 * 1024) --batch.tile_shift;

  Tensor known({images.dim(0), static_cast<std::int64_t>(sizeof(Known))}, DType::uint8, images.device());
  cuda::launch({"augment", images.device(), static_cast<unsigned>(images.dim(0)), threads, shared()},
               look_at_images, static_cast<Known*>(known.raw()), batch);
  const int columns = size(cuda::blocks_for(batch.to_width, batch.tile_width()));
  const int tiles = columns * size(cuda::blocks_for(batch.to_height, tile_height));
  cuda::launch({"augment", images.device(), cuda::blocks_for(images.dim(0) * tiles, 1), threads, shared()},
               augment_tiles, static_cast<const Known*>(known.raw()), batch, columns, tiles);
}

const bool implemented = kernel::augment.implement(Device::Kind::cuda, augment);

}  // namespace
}  // namespace vitral
