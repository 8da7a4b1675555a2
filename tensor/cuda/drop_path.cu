// At the speed of the memory: blocks of a sample read its number from the device, 16 bytes a thread.
#include "tensor/cuda/device.h"
#include "tensor/ops/drop_path.h"

namespace vitral {
namespace {

constexpr int threads = 256;

struct Draws {
  double rate;
  std::uint64_t seed;
  const std::int64_t* step;  // or null
  std::int64_t first_sample, layer, branch;

  __device__ double factor(std::int64_t sample) const {
    const double u = SampleDraws::uniform(seed, step ? *step : 0, first_sample + sample, layer, branch);
    return u < rate ? 0 : 1 / (1 - rate);
  }
};

template <int n, class T>
__global__ void __launch_bounds__(threads)
    drop_samples(T* y, const T* x, const Draws draws, std::int64_t packs, unsigned blocks_a_sample) {
  __shared__ cuda::acc_t<T> factor;
  const std::int64_t sample = blockIdx.x / blocks_a_sample;
  if (threadIdx.x == 0) factor = static_cast<cuda::acc_t<T>>(draws.factor(sample));
  __syncthreads();
  const std::int64_t p = static_cast<std::int64_t>(blockIdx.x % blocks_a_sample) * threads + threadIdx.x;
  if (p >= packs) return;
  const std::int64_t at = (sample * packs + p) * n;
  cuda::Pack<T, n> v = cuda::load_pack<n>(x + at);
#pragma unroll
  for (int i = 0; i < n; ++i)  // a sample that is left out is zero, also where it is not finite
    v.v[i] = cuda::store<T>(factor == 0 ? cuda::acc_t<T>(0) : cuda::load(v.v[i]) * factor);
  cuda::store_pack(y + at, v);
}

void drop_path(Tensor& y, const Tensor& x, double rate, const SampleDraws& draws) {
  cuda::dispatch("drop_path", x.dtype(), [&]<class T>(T) {
    T* to = cuda::data<T>(y);
    const T* from = cuda::data<T>(x);
    const Draws d{.rate = rate,
                  .seed = draws.seed,
                  .step = cuda::data<std::int64_t>(draws.step),
                  .first_sample = draws.first_sample,
                  .layer = draws.layer,
                  .branch = draws.branch};
    const auto run = [&]<int n>(std::integral_constant<int, n>) {
      const std::int64_t packs = x.dim(1) / n;
      const unsigned blocks = cuda::blocks_for(packs, threads);
      cuda::launch({"drop_path", x.device(), static_cast<unsigned>(x.dim(0)) * blocks, threads},
                   drop_samples<n, T>, to, from, d, packs, blocks);
    };
    constexpr int n = cuda::pack_size<T>;
    if (cuda::aligned_rows<T>(x.dim(1), n, to, from))
      run(std::integral_constant<int, n>{});
    else
      run(std::integral_constant<int, 1>{});
  });
}

const bool implemented = kernel::drop_path.implement(Device::Kind::cuda, drop_path);

}  // namespace
}  // namespace vitral
