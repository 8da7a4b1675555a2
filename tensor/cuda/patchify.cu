// Images cut into patches.
//
// image_patches, the way into every training step: a block takes one row of patches of one image. Its lines
// of pixels come as 16-byte accesses, wherever they begin, into shared memory, where they keep their place
// modulo 16; then each thread gathers 16 bytes of a patch from single bytes and writes them at once. 28
// lines of 224 pixels are 19 KB of shared memory, so 5 blocks of 256 threads (43 registers each) fit a
// multiprocessor and some read while others write. Larger images go in slices of fewer lines. For an image of
// 224 x 224: 150,528 bytes read, 301,056 written in bf16, 0.3 million operations.
#include "tensor/cuda/units.h"
#include "tensor/ops/patchify.h"

namespace vitral {
namespace {

using cuda::Divider;

// --- patchify and unpatchify: runs of `patch` neighbouring pixels, counted in units of memory ---

template <class Index>
struct PatchLayout {
  Divider<Index> run, patch, channels, rows, columns;  // `run` is a patch's width, `rows` of patches

  // Both go through the memory that is written, so that writes are whole lines.
  __device__ std::int64_t pixel_of(std::int64_t patch_unit) const {
    const auto [line, x] = run.split(static_cast<Index>(patch_unit));
    const auto [plane, y] = patch.split(line);
    const auto [token, ch] = channels.split(plane);
    const auto [row, c] = columns.split(token);
    const auto [b, r] = rows.split(row);
    const std::int64_t height = static_cast<std::int64_t>(rows.divisor()) * patch.divisor();
    const std::int64_t image_line =
        (static_cast<std::int64_t>(b) * channels.divisor() + ch) * height + r * patch.divisor() + y;
    return (image_line * columns.divisor() + c) * run.divisor() + x;
  }
  __device__ std::int64_t patch_of(std::int64_t pixel_unit) const {
    const auto [piece, x] = run.split(static_cast<Index>(pixel_unit));
    const auto [line, c] = columns.split(piece);
    const auto [band, y] = patch.split(line);
    const auto [plane, r] = rows.split(band);
    const auto [b, ch] = channels.split(plane);
    const std::int64_t token = (static_cast<std::int64_t>(b) * rows.divisor() + r) * columns.divisor() + c;
    const std::int64_t patch_line = (token * channels.divisor() + ch) * patch.divisor() + y;
    return patch_line * run.divisor() + x;
  }
};

template <class Index, bool into_patches>
struct PatchRoute {
  PatchLayout<Index> layout;
  __device__ cuda::Move operator()(std::int64_t i) const {
    return {i, into_patches ? layout.pixel_of(i) : layout.patch_of(i)};
  }
};

template <bool into_patches>
void move_patches(const char* operation, Tensor& to, const Tensor& from, const Tensor& images,
                  std::int64_t patch) {
  const auto element = static_cast<std::int64_t>(size_of(to.dtype()));
  if (to.numel() == 0) return;
  cuda::with_unit(
      static_cast<std::uint64_t>(patch * element) | cuda::address_bits(to) | cuda::address_bits(from),
      [&]<int unit>(std::integral_constant<int, unit>) {
        const std::int64_t count = to.numel() * element / unit;
        cuda::with_index(count, [&]<class Index>(Index) {
          using D = Divider<Index>;
          const PatchLayout<Index> layout{.run = D(patch * element / unit),
                                          .patch = D(patch),
                                          .channels = D(images.dim(1)),
                                          .rows = D(images.dim(2) / patch),
                                          .columns = D(images.dim(3) / patch)};
          cuda::copy_along<unit>(operation, to, from, PatchRoute<Index, into_patches>{layout}, count);
        });
      });
}

void patchify(Tensor& patches, const Tensor& images, std::int64_t patch) {
  move_patches<true>("patchify", patches, images, images, patch);
}

void unpatchify(Tensor& images, const Tensor& patches, std::int64_t patch) {
  move_patches<false>("unpatchify", images, patches, images, patch);
}

// --- bytes to numbers ---

constexpr int threads = 256;
constexpr int table_size = 3 * 256;

/// Numbers of the three channels; registers cannot be indexed.
struct ForChannels {
  float red, green, blue;
  __device__ float operator[](int ch) const { return ch == 0 ? red : ch == 1 ? green : blue; }
};
ForChannels for_channels(const std::array<float, 3>& a) { return {a[0], a[1], a[2]}; }

/// Each byte's value for each channel, as tensor/cpu/patchify.cpp computes it: two divisions a number would
/// take longer than the memory. The block must wait before it looks anything up.
__device__ void fill_table(float* table, const ForChannels& mean, const ForChannels& std) {
  for (int i = static_cast<int>(threadIdx.x); i < table_size; i += threads)
    table[i] = (static_cast<float>(i % 256) / 255.0F - mean[i / 256]) / std[i / 256];
}

/// How image_patches makes its numbers: by the table, or, where the result is rounded to 8 bits anyway, by
/// one multiplication and addition, which are faster than looking up 32 different entries. With CLIP's
/// statistics all 768 results are those of the table, rounded.
template <class T>
struct Normalize {
  static constexpr int shared_numbers = table_size;
  explicit Normalize(const ChannelStatistics& s) : mean(for_channels(s.mean)), std(for_channels(s.std)) {}
  __device__ void prepare(float* table) const { fill_table(table, mean, std); }

  struct Channel {
    const float* table;
    __device__ T operator()(unsigned char byte) const { return static_cast<T>(table[byte]); }
  };
  __device__ Channel channel(const float* table, int ch) const { return {table + ch * 256}; }

  ForChannels mean, std;
};
template <>
struct Normalize<cuda::bfloat16> {
  static constexpr int shared_numbers = 0;
  explicit Normalize(const ChannelStatistics& s) {
    std::array<float, 3> factors{}, shifts{};
    for (std::size_t ch = 0; ch < 3; ++ch) {
      const auto mean = static_cast<double>(s.mean[ch]), std = static_cast<double>(s.std[ch]);
      factors[ch] = static_cast<float>(1 / (255 * std));
      shifts[ch] = static_cast<float>(-mean / std);
    }
    factor = for_channels(factors);
    shift = for_channels(shifts);
  }
  __device__ void prepare(float*) const {}

  struct Channel {
    float factor, shift;
    __device__ cuda::bfloat16 operator()(unsigned char byte) const {
      return __float2bfloat16(fmaf(static_cast<float>(byte), factor, shift));
    }
  };
  __device__ Channel channel(const float*, int ch) const { return {factor[ch], shift[ch]}; }

  ForChannels factor, shift;
};

// --- image_patches ---

/// Sizes in pixels; lines and slices are those of one row of patches.
struct Cut {
  Cut(const Tensor& images, const PatchGrid& grid, std::int64_t p)
      : begin(cuda::data<unsigned char>(images)),
        end(begin + images.numel()),
        side(static_cast<int>(grid.side)),
        columns(static_cast<int>(grid.columns)),
        patch(static_cast<int>(p)),
        lines(patch) {
    // 16 bytes lie between two lines, so that no window holds bytes of both, and lines stand in shared memory
    // as they do in the image, modulo 16.
    pitch = 3 * side + 16;
    windows = Divider<std::uint32_t>((3 * side + 15 + 15) / 16);
  }
  std::size_t line_bytes() const {
    return 16 + static_cast<std::size_t>(lines) * static_cast<std::size_t>(pitch);
  }

  const unsigned char *begin, *end;
  int side, columns, patch, lines, slices = 1, pitch = 0;
  Divider<std::uint32_t> windows;  // of 16 bytes that a line may touch
};

/// 16 bytes at an address that is a multiple of 16; zero where they are not the tensor's.
__device__ cuda::Unit<16> load_window(const unsigned char* from, const Cut& cut) {
  if (from >= cut.begin && from + 16 <= cut.end) return *reinterpret_cast<const cuda::Unit<16>*>(from);
  cuda::Unit<16> window{};
  for (int i = 0; i < 16; ++i)
    if (from + i >= cut.begin && from + i < cut.end)
      window.v[i / 4] |= static_cast<std::uint32_t>(from[i]) << (i % 4 * 8);
  return window;
}

/// The lines that begin at `line`, side pixels of each, into shared memory: `first` bytes behind `bytes`.
__device__ void load_lines(unsigned char* bytes, int first, const unsigned char* line, int lines,
                           const Cut& cut) {
  constexpr int at_once = 4;
  const int count = lines * static_cast<int>(cut.windows.divisor());
  for (int i = static_cast<int>(threadIdx.x); i < count; i += at_once * threads) {
    cuda::Unit<16> window[at_once];
    int place[at_once];
#pragma unroll
    for (int k = 0; k < at_once; ++k) {
      place[k] = -1;
      if (i + k * threads >= count) continue;
      const auto [y, w] = cut.windows.split(static_cast<std::uint32_t>(i + k * threads));
      const int at = first + static_cast<int>(y) * cut.pitch;
      const int offset = static_cast<int>(w) * 16 - at % 16;  // from the first pixel
      if (offset >= 3 * cut.side) continue;
      place[k] = at + offset;
      window[k] = load_window(line + static_cast<std::int64_t>(y) * cut.side * 3 + offset, cut);
    }
#pragma unroll
    for (int k = 0; k < at_once; ++k)
      if (place[k] >= 0) *reinterpret_cast<cuda::Unit<16>*>(bytes + place[k]) = window[k];
  }
}

/// How the numbers of a slice are dealt to threads: n at once, `runs` times in a channel of a patch.
struct Deal {
  Divider<std::uint32_t> runs, patch;
};

template <int n, class T>
__global__ void __launch_bounds__(threads)
    image_patches_kernel(T* patches, Cut cut, Deal deal, Normalize<T> normalize) {
  float* table = cuda::shared_memory<float>();
  auto* bytes = reinterpret_cast<unsigned char*>(table + Normalize<T>::shared_numbers);
  const int slice = static_cast<int>(blockIdx.x % cut.slices) * cut.lines;
  const std::int64_t patch_row = blockIdx.x / cut.slices;
  const int lines = min(cut.lines, cut.patch - slice);
  const unsigned char* line = cut.begin + (patch_row * cut.patch + slice) * cut.side * 3;
  const int first = static_cast<int>(reinterpret_cast<std::uintptr_t>(line) % 16);
  normalize.prepare(table);
  load_lines(bytes, first, line, lines, cut);
  __syncthreads();

  const int count = cut.columns * 3 * static_cast<int>(deal.runs.divisor());
  const std::int64_t channel_size = std::int64_t{cut.patch} * cut.patch;
  T* out = patches + patch_row * cut.columns * 3 * channel_size + std::int64_t{slice} * cut.patch;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += threads) {
    const auto [plane, run] = deal.runs.split(static_cast<std::uint32_t>(i));
    auto [y, x] = deal.patch.split(run * n);
    if (static_cast<int>(y) >= lines) continue;  // the last slice is shorter
    const int c = static_cast<int>(plane / 3), ch = static_cast<int>(plane % 3);
    int at = first + static_cast<int>(y) * cut.pitch + (c * cut.patch + static_cast<int>(x)) * 3 + ch;
    const auto number = normalize.channel(table, ch);
    cuda::Pack<T, n> numbers;
#pragma unroll
    for (int j = 0; j < n; ++j) {
      numbers.v[j] = number(bytes[at]);
      at += 3;
      if (++x == deal.patch.divisor()) {
        x = 0;
        at += cut.pitch - cut.patch * 3;
      }
    }
    cuda::store_pack(out + plane * channel_size + run * n, numbers);
  }
}

/// Lines that fit into shared memory, all of them where 48 KB suffice.
template <class T>
void slice_lines(Cut& cut, Device device) {
  constexpr std::size_t table = Normalize<T>::shared_numbers * sizeof(float), usual = 48 * 1024;
  const auto largest = static_cast<std::size_t>(cuda::limits(device).shared_memory);
  while (cut.lines > 1 && table + cut.line_bytes() > usual) cut.lines = (cut.lines + 1) / 2;
  VITRAL_CHECK(table + cut.line_bytes() <= largest, "image_patches: lines of {} pixels are too long",
               cut.side);
  cut.slices = (cut.patch + cut.lines - 1) / cut.lines;
}

template <class T>
void cut_patches(Tensor& patches, Cut cut, const ChannelStatistics& statistics, std::int64_t images) {
  slice_lines<T>(cut, patches.device());
  constexpr std::size_t table = Normalize<T>::shared_numbers * sizeof(float);
  const int slice_size = cut.lines * cut.patch, channel_size = cut.patch * cut.patch;
  const std::int64_t blocks = images * cut.columns * cut.slices;
  T* out = cuda::data<T>(patches);
  const auto run = [&]<int n>(std::integral_constant<int, n>) {
    const Deal deal{Divider<std::uint32_t>(slice_size / n), Divider<std::uint32_t>(cut.patch)};
    cuda::launch(
        {"image_patches", patches.device(), cuda::blocks_for(blocks, 1), threads, table + cut.line_bytes()},
        image_patches_kernel<n, T>, out, cut, deal, Normalize<T>(statistics));
  };
  // A run must not reach into the next channel or slice.
  const auto fits = [&](int n) { return slice_size % n == 0 && cuda::aligned_rows<T>(channel_size, n, out); };
  if constexpr (sizeof(T) == 2)
    if (fits(8)) return run(std::integral_constant<int, 8>{});
  if constexpr (sizeof(T) <= 4)
    if (fits(4)) return run(std::integral_constant<int, 4>{});
  if (fits(2)) return run(std::integral_constant<int, 2>{});
  run(std::integral_constant<int, 1>{});
}

void image_patches(Tensor& patches, const Tensor& images, ChannelStatistics statistics, std::int64_t patch) {
  const PatchGrid grid = patch_grid(images, patches.dim(1), patch);
  if (patches.numel() == 0) return;
  constexpr std::int64_t longest = 32768;  // pixels: a patch's numbers are counted in 32 bits
  VITRAL_CHECK(grid.side <= longest, "image_patches: lines of {} pixels are too long", grid.side);
  cuda::dispatch("image_patches", patches.dtype(), [&]<class T>(T) {
    cut_patches<T>(patches, Cut(images, grid, patch), statistics, images.dim(0));
  });
}

// --- normalize_images ---

// n neighbouring pixels a thread, 16 times; the table pays from a few hundred pixels on.
constexpr int groups = 16;

template <int n>
__global__ void __launch_bounds__(threads)
    normalize_kernel(float* y, const unsigned char* x, Divider<std::uint64_t> pixels, std::int64_t count,
                     ForChannels mean, ForChannels std) {
  __shared__ float table[table_size];
  fill_table(table, mean, std);
  __syncthreads();
  for (int k = 0; k < groups; ++k) {
    const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * groups + k) * threads + threadIdx.x;
    if (i >= count) return;
    const auto [b, pixel] = pixels.split(static_cast<std::uint64_t>(i) * n);
    cuda::Pack<unsigned char, n> bytes[3];
#pragma unroll
    for (int part = 0; part < 3; ++part) bytes[part] = cuda::load_pack<n>(x + (i * 3 + part) * n);
#pragma unroll
    for (int ch = 0; ch < 3; ++ch) {
      cuda::Pack<float, n> numbers;
#pragma unroll
      for (int j = 0; j < n; ++j) {
        const int at = j * 3 + ch;
        numbers.v[j] = table[ch * 256 + bytes[at / n].v[at % n]];
      }
      cuda::store_pack(y + (b * 3 + ch) * pixels.divisor() + pixel, numbers);
    }
  }
}

void normalize_images(Tensor& y, const Tensor& x, ChannelStatistics statistics) {
  const std::int64_t pixels = x.dim(1) * x.dim(2);
  float* out = cuda::data<float>(y);
  const auto* in = cuda::data<const unsigned char>(x);
  const auto run = [&]<int n>(std::integral_constant<int, n>) {
    const std::int64_t count = x.dim(0) * pixels / n;
    cuda::launch({"normalize_images", x.device(), cuda::blocks_for(count, threads * groups), threads},
                 normalize_kernel<n>, out, in, Divider<std::uint64_t>(pixels), count,
                 for_channels(statistics.mean), for_channels(statistics.std));
  };
  if (x.numel() == 0) return;
  if (cuda::aligned_rows<float>(pixels, 4, out) && cuda::aligned_rows<unsigned char>(4, 4, in))
    run(std::integral_constant<int, 4>{});
  else
    run(std::integral_constant<int, 1>{});
}

const bool implemented = kernel::patchify.implement(Device::Kind::cuda, patchify) &&
                         kernel::unpatchify.implement(Device::Kind::cuda, unpatchify) &&
                         kernel::normalize_images.implement(Device::Kind::cuda, normalize_images) &&
                         kernel::image_patches.implement(Device::Kind::cuda, image_patches);

}  // namespace
}  // namespace vitral
