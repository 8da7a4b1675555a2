// Rotary position embedding. A block takes a token of an image: its first threads compute by which angles the
// pairs of a head are turned, which is the same for all heads, then all of them read and write the row. In
// float64 the angles cost as much as for the others: there are only as many of them as half a head has
// numbers.
#include "tensor/cuda/device.h"
#include "tensor/ops/rope.h"

namespace vitral {
namespace {

using cuda::acc_t;

constexpr int most_threads = 256;

struct Shape3 {
  int tokens, grid_tokens, columns;
  int heads, size, frequencies;
};

template <class T>
__global__ void __launch_bounds__(most_threads) rope_kernel(T* out, const T* qkv, Shape3 s, bool back) {
  using A = acc_t<T>;
  A* const cosines = cuda::shared_memory<A>();
  const int pairs = 2 * s.frequencies;
  A* const sines = cosines + pairs;
  const int token = static_cast<int>(blockIdx.x % static_cast<unsigned>(s.tokens)),
            step = static_cast<int>(blockDim.x);
  for (int t = static_cast<int>(threadIdx.x); t < pairs; t += step) {
    const bool of_row = t < s.frequencies;
    const int place = of_row ? token / s.columns : token % s.columns,
              frequency = of_row ? t : t - s.frequencies;
    const double angle =
        token < s.grid_tokens ? place * pow(100.0, -static_cast<double>(frequency) / s.frequencies) : 0.0;
    cosines[t] = static_cast<A>(cos(angle));
    sines[t] = static_cast<A>(back ? -sin(angle) : sin(angle));
  }
  __syncthreads();
  const int width = s.heads * s.size;
  qkv += std::int64_t{blockIdx.x} * 3 * width;
  out += std::int64_t{blockIdx.x} * 3 * width;
  for (int i = static_cast<int>(threadIdx.x); i < 3 * width; i += step) {
    const int d = i % s.size, pair = d / 2;
    if (i >= 2 * width || pair >= pairs) {
      out[i] = qkv[i];
      continue;
    }
    const bool second = d % 2 != 0;
    const A own = cuda::load(qkv[i]), other = cuda::load(qkv[second ? i - 1 : i + 1]);
    out[i] = cuda::store<T>(own * cosines[pair] + (second ? other : -other) * sines[pair]);
  }
}

void forward(Tensor& out, const Tensor& qkv, std::int64_t heads, TokenGrid grid, bool back) {
  if (qkv.numel() == 0) return;
  const std::int64_t size = qkv.dim(2) / 3 / heads;
  const Shape3 s{.tokens = static_cast<int>(qkv.dim(1)),
                 .grid_tokens = static_cast<int>(grid.size()),
                 .columns = static_cast<int>(grid.columns),
                 .heads = static_cast<int>(heads),
                 .size = static_cast<int>(size),
                 .frequencies = static_cast<int>(rope_frequencies(size))};
  cuda::dispatch("rope", qkv.dtype(), [&]<class T>(T) {
    const auto bytes = static_cast<std::size_t>(4 * s.frequencies) * sizeof(acc_t<T>);
    cuda::launch({"rope", qkv.device(), cuda::blocks_for(qkv.dim(0) * s.tokens, 1), most_threads, bytes},
                 rope_kernel<T>, cuda::data<T>(out), cuda::data<const T>(qkv), s, back);
  });
}

const bool implemented = kernel::rope.implement(Device::Kind::cuda, forward);

}  // namespace
}  // namespace vitral
