// The CUDA simulator (tests/cuda_simulator) itself: kernels compute what a GPU computes, and what would go
// wrong there goes wrong here. Streams are in simulator_streams_test.cpp, cuBLASLt in
// simulator_matmul_test.cpp.
#include <cmath>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "tests/tensor/simulator_fixture.h"

namespace simulator::test {
namespace {

constexpr unsigned full_warp = 0xFFFFFFFFU;

using SimulatorDeath = Simulator;

// --- kernels ---

__global__ void coordinates(int* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] += static_cast<int>(block * 1000 + thread);
}

TEST_F(Simulator, EveryThreadOfEveryBlockRunsOnce) {
  int* out = device(std::vector<int>(24 * 30));
  launch(coordinates, dim3(2, 3, 4), dim3(5, 3, 2), 0, stream_, out);
  const auto values = host(out, 24 * 30);
  for (int block = 0; block < 24; ++block)
    for (int thread = 0; thread < 30; ++thread) EXPECT_EQ(values[block * 30 + thread], block * 1000 + thread);
}

// Thread i takes what its neighbour wrote before the barrier, again and again.
__global__ void rotate(int* data, int rounds) {
  __shared__ int row[1024];
  const unsigned i = threadIdx.x, n = blockDim.x;
  int mine = data[blockIdx.x * n + i];
  for (int round = 0; round < rounds; ++round) {
    row[i] = mine;
    __syncthreads();
    mine = row[(i + 1) % n];
    __syncthreads();
  }
  data[blockIdx.x * n + i] = mine;
}

TEST_F(Simulator, BarriersHoldWholeBlocksInAnyOrder) {
  for (const Order order : {Order::forward, Order::reverse, Order::random})
    for (const unsigned threads : {1U, 31U, 32U, 33U, 257U, 1024U}) {
      settings().order = order;
      std::vector<int> values(3 * threads);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i);
      int* data = device(values);
      launch(rotate, 3, threads, 0, stream_, data, 7);
      const auto rotated = host(data, values.size());
      for (unsigned i = 0; i < 3 * threads; ++i)
        ASSERT_EQ(rotated[i], values[i / threads * threads + (i % threads + 7) % threads])
            << threads << " threads";
    }
}

__global__ void forgets_the_barrier(int* data) {
  __shared__ int row[64];
  row[threadIdx.x] = data[threadIdx.x];
  data[threadIdx.x] = row[63 - threadIdx.x];
}

TEST_F(Simulator, TheOrderOfThreadsRevealsMissingBarriers) {
  std::vector<int> values(64);
  for (int i = 0; i < 64; ++i) values[i] = 100 + i;
  std::vector<int> wrong[2];
  for (const Order order : {Order::forward, Order::reverse}) {
    settings().order = order;
    int* data = device(values);
    launch(forgets_the_barrier, 1, 64, 0, stream_, data);
    wrong[order == Order::reverse] = host(data, 64);
  }
  EXPECT_NE(wrong[0], wrong[1]);
}

__global__ void counts(int* out) {
  const int small = __syncthreads_count(threadIdx.x < 5);
  const int any = __syncthreads_or(threadIdx.x == 40), all = __syncthreads_and(threadIdx.x != 40);
  out[threadIdx.x] = small * 100 + any * 10 + all;
}

TEST_F(Simulator, BarriersCount) {
  int* out = device(std::vector<int>(48));
  launch(counts, 1, 48, 0, stream_, out);
  EXPECT_EQ(host(out, 48), std::vector<int>(48, 510));
}

// --- warps ---

template <class T>
__global__ void shuffles(T* out) {
  const unsigned i = threadIdx.x, n = blockDim.x;
  const T mine = static_cast<T>(static_cast<float>(i));
  out[i] = __shfl_sync(full_warp, mine, 3);
  out[n + i] = __shfl_xor_sync(full_warp, mine, 16);
  out[2 * n + i] = __shfl_down_sync(full_warp, mine, 5);
  out[3 * n + i] = __shfl_up_sync(full_warp, mine, 5);
  out[4 * n + i] = __shfl_down_sync(full_warp, mine, 5, 8);
  out[5 * n + i] = __shfl_sync(full_warp, mine, 9, 8);
}

template <class T>
class SimulatorShuffle : public Simulator {};
using Types = testing::Types<int, float, double, __nv_bfloat16>;
TYPED_TEST_SUITE(SimulatorShuffle, Types);

TYPED_TEST(SimulatorShuffle, LanesGetWhatCudaGivesThem) {
  for (const unsigned n : {32U, 96U}) {
    TypeParam* out = this->device(std::vector<TypeParam>(6 * n));
    launch(shuffles<TypeParam>, 1, n, 0, this->stream_, out);
    const auto got = this->host(out, 6 * n);
    for (unsigned i = 0; i < n; ++i) {
      const unsigned warp = i / 32 * 32, lane = i % 32;
      const unsigned expected[6] = {
          warp + 3,     i ^ 16U, lane + 5 < 32 ? i + 5 : i, lane >= 5 ? i - 5 : i, i % 8 + 5 < 8 ? i + 5 : i,
          i / 8 * 8 + 1};
      for (unsigned k = 0; k < 6; ++k)
        ASSERT_EQ(static_cast<float>(got[k * n + i]), static_cast<float>(expected[k]));
    }
  }
}

__global__ void votes(unsigned* out) {
  const unsigned i = threadIdx.x;
  const unsigned odd = __ballot_sync(full_warp, i % 2 == 1);
  const int any = __any_sync(full_warp, i == 33), all = __all_sync(full_warp, i != 33);
  __syncwarp();
  out[i] = odd;
  out[64 + i] = static_cast<unsigned>(any * 2 + all);
}

TEST_F(Simulator, WarpsVote) {
  unsigned* out = device(std::vector<unsigned>(128));
  launch(votes, 1, 40, 0, stream_, out);
  const auto got = host(out, 128);
  EXPECT_EQ(got[0], 0xAAAAAAAAU);
  EXPECT_EQ(got[32], 0xAAU);  // the last warp has eight lanes
  EXPECT_EQ(got[64], 1U);
  EXPECT_EQ(got[64 + 32], 2U);
}

// --- shared memory ---

__global__ void reads_shared(float* out, int floats) {
  auto* const shared = static_cast<float*>(dynamic_shared());
  bool fresh = reinterpret_cast<std::uintptr_t>(shared) % 128 == 0;
  for (int i = 0; i < floats; ++i) fresh = fresh && std::isnan(shared[i]);
  shared[0] = 1;
  out[blockIdx.x] = fresh ? 1 : 0;
}

TEST_F(Simulator, DynamicSharedMemoryIsFreshInEachBlock) {
  float* out = device(std::vector<float>(3));
  launch(reads_shared, 3, 1, 40, stream_, out, 10);
  EXPECT_EQ(host(out, 3), std::vector<float>(3, 1));
}

TEST_F(Simulator, LargeSharedMemoryMustBeAskedFor) {
  float* out = device(std::vector<float>(1));
  const auto error_of = [&](std::size_t bytes) {
    launch(reads_shared, 1, 1, bytes, stream_, out, 1);
    return cudaGetLastError();
  };
  EXPECT_EQ(error_of(48 * 1024), cudaSuccess);
  EXPECT_EQ(error_of(48 * 1024 + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reads_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024),
            cudaSuccess);
  EXPECT_EQ(error_of(227 * 1024), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(reads_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024 + 1),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
}

TEST_F(Simulator, LaunchesBeyondTheHardwareFail) {
  int* out = device(std::vector<int>(1));
  const auto error_of = [&](dim3 grid, dim3 block) {
    launch(coordinates, grid, block, 0, stream_, out);
    return cudaGetLastError();
  };
  EXPECT_EQ(error_of(1, 1025), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of(1, dim3(1, 1, 65)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of(1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of(0, 1), cudaErrorInvalidConfiguration);
  EXPECT_EQ(error_of(dim3(1, 65536), 1), cudaErrorInvalidConfiguration);
}

#ifdef __SANITIZE_ADDRESS__
__global__ void writes_shared(int at) { static_cast<char*>(dynamic_shared())[at] = 1; }

TEST_F(SimulatorDeath, AddressSanitizerKnowsTheEndsOfMemory) {
  const auto run = [&](int at) {
    launch(writes_shared, 1, 1, 10, stream_, at);
    cudaStreamSynchronize(stream_);
  };
  run(9);
  EXPECT_DEATH(run(10), "heap-buffer-overflow");
  int* data = device(std::vector<int>(3));
  EXPECT_DEATH(
      {
        launch(coordinates, 1, 4, 0, stream_, data);
        cudaStreamSynchronize(stream_);
      },
      "heap-buffer-overflow");
}
#endif

// --- threads that go apart ---

__global__ void half_waits() {
  if (threadIdx.x % 2 == 0) __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x % 2 == 0)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void half_shuffles(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(full_warp, 1, 1);
  __syncthreads();
}
__global__ void two_masks(int* out) {
  out[threadIdx.x] = __shfl_sync(threadIdx.x < 16 ? full_warp : 0xFFFF8000U, 1, 1);
}
__global__ void lacks_itself() { __syncwarp(2); }

// Frames that are written in full, down to a little more than the stack holds.
[[gnu::noinline]] int descend(const volatile char* top) {
  volatile char frame[64];
  for (volatile char& byte : frame) byte = 1;
  if (top - frame > (249 << 10)) return frame[0];
  return descend(top) + frame[63];
}
__global__ void deep(int* out) {
  volatile char top = 0;
  *out = descend(&top);
}

TEST_F(SimulatorDeath, DivergenceEndsTheProgramWithTheReason) {
  int* out = device(std::vector<int>(64));
  const auto run = [&](auto kernel, unsigned threads, auto... arguments) {
    launch("stray", kernel, 2, threads, 0, stream_, arguments...);
    cudaStreamSynchronize(stream_);
  };
  EXPECT_DEATH(run(half_waits, 64),
               "threads of a block diverge: thread \\(0,0,0\\) waits at __syncthreads "
               "\\(.*simulator_test.cpp:[0-9]+\\), but thread \\(1,0,0\\) has returned"
               "(.|\n)*in kernel 'stray', grid \\(2,1,1\\), block \\(0,0,0\\) of \\(64,1,1\\) threads");
  EXPECT_DEATH(run(two_barriers, 64),
               "thread \\(0,0,0\\) waits at __syncthreads .*, but thread \\(1,0,0\\) waits at");
  EXPECT_DEATH(
      run(half_shuffles, 32, out),
      "threads of a warp diverge: thread \\(0,0,0\\) waits at __shfl_xor_sync of lanes 0xffffffff .*, "
      "but thread \\(16,0,0\\) waits at __syncthreads");
  EXPECT_DEATH(run(two_masks, 32, out),
               "threads of a warp diverge: .* of lanes 0xffff8000 .* of lanes 0xffffffff");
  EXPECT_DEATH(run(lacks_itself, 1), "__syncwarp: lane 0 calls it with mask 0x00000002, which lacks it");
}

TEST_F(SimulatorDeath, StackOverflowEndsTheProgram) {
  int* out = device(std::vector<int>(1));
  EXPECT_DEATH(
      {
        launch("deep", deep, 1, 1, 0, stream_, out);
        cudaStreamSynchronize(stream_);
      },
      "stack overflow(.|\n)*in kernel 'deep'");
}

// --- bfloat16 ---

TEST(SimulatorBfloat16, RoundsToNearestEvenAndKeepsWhatIsNoNumber) {
  const auto bits = [](float x) { return __bfloat16_as_ushort(__float2bfloat16(x)); };
  EXPECT_EQ(bits(1.0F), 0x3F80);
  EXPECT_EQ(bits(-2.5F), 0xC020);
  EXPECT_EQ(bits(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // half way, to even
  EXPECT_EQ(bits(std::bit_cast<float>(0x3F818000U)), 0x3F82);
  EXPECT_EQ(bits(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(bits(std::numeric_limits<float>::max()), 0x7F80);  // infinity
  EXPECT_EQ(bits(std::bit_cast<float>(0x7F800001U)), 0x7FFF);
  EXPECT_EQ(bits(-INFINITY), 0xFF80);
  // By way of a float, which would round up first, this would become 0x3F82.
  EXPECT_EQ(__bfloat16_as_ushort(__double2bfloat16(1 + 0x1p-7 + 0x1p-8 - 0x1p-40)), 0x3F81);
}

}  // namespace
}  // namespace simulator::test
