// Queues, events, graphs and memory of devices. Where this machine has no GPU, what needs one is skipped; a
// build with the simulator (tests/cuda_simulator) has one.
#include "tensor/stream.h"

#include <cstdlib>
#include <numeric>
#include <stdexcept>

#include <gtest/gtest.h>

#include "tensor/backend.h"
#include "tensor/tensor.h"
#include "tests/support.h"

namespace vitral {
namespace {

using test::message_of;

constexpr Device gpu{Device::Kind::cuda, 0};

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (gpu_count(&why) == 0) GTEST_SKIP() << why;
  }
};
using StreamOnCuda = OnGpu;
using GraphsOnCuda = OnGpu;
using GpuMemoryOnCuda = OnGpu;

std::vector<double> counting(std::int64_t n, double from = 0) {
  std::vector<double> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), from);
  return values;
}
Tensor on_gpu(const std::vector<double>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())}).to(gpu);
}
Tensor pinned(const std::vector<double>& values) {
  Tensor t = Tensor::pinned({static_cast<std::int64_t>(values.size())}, DType::float64);
  std::copy(values.begin(), values.end(), t.data<double>());
  return t;
}

// --- the CPU: everything is done when a call returns ---

TEST(CpuStream, EventsAreOverAndCopiesAreCopies) {
  Tensor a = Tensor::from(counting(5), {5}), b({5}, DType::float64);
  copy_async(b, a, Queue::copy);
  Event event(cpu), later(cpu);
  event.record(Queue::copy);
  event.hold(Queue::compute);
  EXPECT_TRUE(event.done());
  event.wait();
  synchronize(cpu);
  EXPECT_EQ(later.seconds_since(event), 0);
  EXPECT_EQ(b.to_vector(), counting(5));
}

TEST(CpuStream, RecordsNoGraphs) {
  EXPECT_FALSE(Graph::supported(cpu));
  EXPECT_EQ(message_of([] { Graph(cpu, [] {}); }), "graph: cpu does not record graphs");
}

TEST(CpuStream, PinnedTensorsAreOrdinaryOnes) {
  const bool on_a_gpu = gpu_count() > 0;  // who has not asked for one has none to copy to
  Tensor t = Tensor::pinned({2, 3});
  t.fill(2);
  EXPECT_EQ(t.to_vector(), std::vector<double>(6, 2));
  EXPECT_EQ(t.device(), cpu);
  EXPECT_EQ(t.pinned(), on_a_gpu);
  EXPECT_FALSE(Tensor({2}).pinned());
  EXPECT_FALSE(Tensor().pinned());
}

// --- queues and events ---

TEST_F(StreamOnCuda, CopiesBesideTheHostArriveWhereTheComputeQueueWaits) {
  constexpr std::int64_t n = 100'000;
  const Tensor in = pinned(counting(n));
  Tensor out = pinned(counting(n, -1e6));
  Tensor staged({n}, DType::float64, gpu), result({n}, DType::float64, gpu);
  Event copied(gpu), done(gpu);
  copy_async(staged, in, Queue::copy);
  copied.record(Queue::copy);
  copied.hold(Queue::compute);
  result.copy_from(staged);
  copy_async(out, result, Queue::compute);
  done.record(Queue::compute);
  done.wait();
  EXPECT_TRUE(done.done());
  EXPECT_TRUE(copied.done());
  EXPECT_EQ(out.to_vector(), counting(n));
  EXPECT_GE(done.seconds_since(copied), 0);
  EXPECT_LT(done.seconds_since(copied), 60);
}

// Two buffers take turns, as a loader's do: one is filled while the other's copy is under way.
TEST_F(StreamOnCuda, PinnedBuffersCanBeWrittenAgainOnceTheirEventIsDone) {
  constexpr std::int64_t n = 1000;
  Tensor buffers[2] = {pinned(counting(n)), pinned(counting(n))};
  Event copied[2] = {Event(gpu), Event(gpu)};
  std::vector<Tensor> arrived;
  for (int step = 0; step < 6; ++step) {
    Tensor& buffer = buffers[step % 2];
    if (step >= 2) copied[step % 2].wait();
    const auto values = counting(n, step * 1000.0);
    std::copy(values.begin(), values.end(), buffer.data<double>());
    arrived.emplace_back(Shape{n}, DType::float64, gpu);
    copy_async(arrived.back(), buffer, Queue::copy);
    copied[step % 2].record(Queue::copy);
    copied[step % 2].hold(Queue::compute);
  }
  for (int step = 0; step < 6; ++step)
    EXPECT_EQ(arrived[static_cast<std::size_t>(step)].to_vector(), counting(n, step * 1000.0));
}

TEST_F(StreamOnCuda, WhoAsksAgainAndAgainSeesTheEventDone) {
  const Tensor in = pinned(counting(10));
  Tensor there({10}, DType::float64, gpu);
  Event event(gpu);
  EXPECT_TRUE(event.done());  // nothing recorded
  copy_async(there, in, Queue::copy);
  event.record(Queue::copy);
  while (!event.done()) {
  }
  EXPECT_EQ(there.to_vector(), counting(10));
  EXPECT_EQ(Tensor::full({2}, 3, DType::float64, gpu).to_vector(),
            std::vector<double>(2, 3));  // no error is left
}

TEST_F(StreamOnCuda, SynchronizeWaitsForAllQueues) {
  const Tensor in = pinned(counting(10));
  Tensor out = pinned(counting(10, 5));
  Tensor there({10}, DType::float64, gpu);
  copy_async(there, in, Queue::copy);
  synchronize(gpu);
  copy_async(out, there, Queue::compute);
  synchronize(gpu);
  EXPECT_EQ(std::vector<double>(out.data<double>(), out.data<double>() + 10), counting(10));
}

TEST_F(StreamOnCuda, CopiesAreCheckedByName) {
  const Tensor plain = Tensor::from(counting(4), {4});
  Tensor there({4}, DType::float64, gpu), narrow({4}, DType::float32, gpu);
  EXPECT_EQ(message_of([&] { copy_async(there, plain, Queue::copy); }),
            "copy_async: the host's tensor [4] must be pinned");
  EXPECT_EQ(message_of([&] { copy_async(narrow, pinned(counting(4)), Queue::copy); }),
            "copy_async: float64 [4] does not fit float32 [4]");
}

TEST_F(StreamOnCuda, TensorsMoveBetweenGpus) {
  if (gpu_count() < 2) GTEST_SKIP() << "this machine has one GPU";
  const Device second{Device::Kind::cuda, 1};
  Tensor a({1000}, DType::float64, gpu);
  a.copy_from(on_gpu(counting(1000)));  // queued on the first
  Tensor b = a.to(second);
  a.fill(0);
  EXPECT_EQ(b.to_vector(), counting(1000));
  b = Tensor();
  release_cached(second);
  EXPECT_EQ(on_gpu(counting(3)).to_vector(), counting(3));
}

// --- graphs ---

TEST_F(GraphsOnCuda, ReplayWhatWasRecordedOnTheMemoryOfNow) {
  const MemoryPool pool(gpu);
  Tensor in = on_gpu(counting(50)), out({50}, DType::float64, gpu);
  out.fill(-1);
  const Graph graph(gpu, [&] {
    const MemoryPool::Use use(pool);
    Tensor between({50}, DType::float64, gpu);
    between.copy_from(in);
    out.copy_from(between);
  });
  EXPECT_EQ(out.to_vector(), std::vector<double>(50, -1));  // recorded, not run
  graph.launch();
  EXPECT_EQ(out.to_vector(), counting(50));
  in.copy_from(on_gpu(counting(50, 7)));
  Tensor elsewhere = Tensor::full({50}, 99, DType::float64, gpu);  // must not get the graph's memory
  graph.launch();
  EXPECT_EQ(out.to_vector(), counting(50, 7));
  EXPECT_EQ(elsewhere.to_vector(), std::vector<double>(50, 99));
}

TEST_F(GraphsOnCuda, RunInTheOrderOfTheQueue) {
  Tensor a = on_gpu(counting(10)), b({10}, DType::float64, gpu);
  const Graph graph(gpu, [&] { b.copy_from(a); });
  graph.launch();
  Tensor first = b.clone();
  a.fill(3);
  graph.launch();
  EXPECT_EQ(first.to_vector(), counting(10));
  EXPECT_EQ(b.to_vector(), std::vector<double>(10, 3));
}

TEST_F(GraphsOnCuda, WhatWaitsCannotBeRecorded) {
  const Tensor a = on_gpu(counting(10));
  const std::string message = message_of([&] { Graph(gpu, [&] { a.to_vector(); }); });
  EXPECT_EQ(message.substr(0, message.find(',')),
            "copy: operation not permitted when stream is capturing (cudaErrorStreamCaptureUnsupported");
  EXPECT_EQ(a.to_vector(), counting(10));  // and the device goes on
}

TEST_F(GraphsOnCuda, AnErrorWhileRecordingLeavesTheDeviceAsItWas) {
  Tensor a = on_gpu(counting(10)), b = on_gpu(counting(10, 5));
  EXPECT_THROW(Graph(gpu,
                     [&] {
                       b.copy_from(a);
                       throw std::runtime_error("no");
                     }),
               std::runtime_error);
  EXPECT_EQ(b.to_vector(), counting(10, 5));
  b.copy_from(a);
  EXPECT_EQ(b.to_vector(), counting(10));
}

// --- memory ---

TEST_F(GpuMemoryOnCuda, BlocksAreUsedAgain) {
  { Tensor warm({1000, 100}, DType::float32, gpu); }
  const auto before = allocator_stats(gpu);
  for (int i = 0; i < 5; ++i) Tensor again({1000, 99}, DType::float32, gpu);
  EXPECT_EQ(allocator_stats(gpu).system_calls, before.system_calls);
  EXPECT_EQ(allocator_stats(gpu).bytes_in_use, before.bytes_in_use);
}

TEST_F(GpuMemoryOnCuda, StatisticsCountUseAndPeak) {
  reset_peak(gpu);
  const auto before = allocator_stats(gpu);
  constexpr std::size_t bytes = std::size_t{3} << 20;
  { const Tensor t({std::int64_t{bytes}}, DType::uint8, gpu); }
  const auto after = allocator_stats(gpu);
  EXPECT_EQ(after.bytes_in_use, before.bytes_in_use);
  EXPECT_EQ(after.peak_in_use, before.bytes_in_use + bytes);
  reset_peak(gpu);
  EXPECT_EQ(allocator_stats(gpu).peak_in_use, before.bytes_in_use);
  release_cached(gpu);
  EXPECT_EQ(allocator_stats(gpu).bytes_reserved, after.bytes_in_use);
}

TEST_F(GpuMemoryOnCuda, BlocksOfAPoolGoToNobodyElse) {
  release_cached(gpu);
  const auto before = allocator_stats(gpu);
  const Shape shape{5000};
  {
    const MemoryPool pool(gpu);
    void* mine = nullptr;
    {
      const MemoryPool::Use use(pool);
      const Tensor t(shape, DType::float64, gpu), on_host(shape, DType::float64);
      mine = t.raw();
      EXPECT_EQ(on_host.device(), cpu);
    }
    const Tensor other(shape, DType::float64, gpu);
    EXPECT_NE(other.raw(), mine);
    release_cached(gpu);  // not the pool's
    const MemoryPool::Use use(pool);
    const Tensor again(shape, DType::float64, gpu);
    EXPECT_EQ(again.raw(), mine);
  }
  release_cached(gpu);
  EXPECT_EQ(allocator_stats(gpu).bytes_reserved, before.bytes_reserved);
  EXPECT_EQ(allocator_stats(gpu).bytes_in_use, before.bytes_in_use);
}

TEST_F(GpuMemoryOnCuda, TensorsMayOutliveTheirPool) {
  Tensor t;
  {
    const MemoryPool pool(gpu);
    const MemoryPool::Use use(pool);
    t = on_gpu(counting(10));
  }
  EXPECT_EQ(t.to_vector(), counting(10));
}

TEST_F(GpuMemoryOnCuda, APoolGivesBackWhereNoTensorLies) {
  release_cached(gpu);
  const auto before = allocator_stats(gpu);
  const std::size_t free = device_memory(gpu).free;
  const Shape shape{8 << 20};
  const MemoryPool pool(gpu);
  const MemoryPool::Use use(pool);
  const Tensor stays = Tensor::full(shape, 7, DType::uint8, gpu);
  { const Tensor goes(shape, DType::uint8, gpu); }
  EXPECT_EQ(allocator_stats(gpu).bytes_reserved, before.bytes_reserved + (16 << 20));
  pool.release_free();
  EXPECT_EQ(allocator_stats(gpu).bytes_reserved, before.bytes_reserved + (8 << 20));
  if (test::gpu_is_simulated()) {
    EXPECT_EQ(device_memory(gpu).free, free - (8 << 20));
  }
  EXPECT_EQ(stays.to_vector()[99], 7);
  const Tensor again = Tensor::full(shape, 3, DType::uint8, gpu);
  EXPECT_EQ(again.to_vector()[99], 3);
}

TEST_F(GpuMemoryOnCuda, SpareMemoryIsAskedForBeforeMemoryIsOut) {
  const char* limit = std::getenv("VITRAL_SIMULATOR_MEMORY");
  if (!limit) GTEST_SKIP() << "VITRAL_SIMULATOR_MEMORY is not set";
  release_cached(gpu);
  EXPECT_EQ(device_memory(gpu).total, static_cast<std::size_t>(std::atoll(limit)));
  const std::int64_t bytes = std::atoll(limit) / 5 * 3;
  std::optional<MemoryPool> pool(gpu);
  Tensor mine;
  {
    const MemoryPool::Use use(*pool);
    mine = Tensor({bytes}, DType::uint8, gpu);
  }
  int asked = 0;
  {
    const SpareMemory none(gpu, [&] {
      ++asked;
      return false;
    });
    EXPECT_NE(message_of([&] { Tensor({bytes}, DType::uint8, gpu); }).find("out of memory"),
              std::string::npos);
    EXPECT_EQ(asked, 1);
    const SpareMemory all(gpu, [&] {
      mine = Tensor();
      pool->release_free();
      return true;
    });
    EXPECT_NO_THROW(Tensor({bytes}, DType::uint8, gpu));
    EXPECT_EQ(asked, 2);
  }
  const Tensor most({bytes}, DType::uint8, gpu);
  EXPECT_NE(message_of([&] { Tensor({bytes}, DType::uint8, gpu); }).find("out of memory"), std::string::npos);
  EXPECT_EQ(asked, 2) << "nobody is there any more";
}

TEST(GpuMemory, OnlyAGpuIsAskedForIt) {
  EXPECT_EQ(message_of([] { device_memory(cpu); }),
            "device_memory: cpu is not asked for its memory, only a GPU is");
}

TEST_F(GpuMemoryOnCuda, OutOfMemorySaysWhatWasAskedAndWhatToDo) {
  const auto before = allocator_stats(gpu);
  const std::string message = message_of([] { Tensor({std::int64_t{1} << 40}, DType::uint8, gpu); });
  EXPECT_EQ(message, "cuda:0: out of memory asking for 1099511627776 bytes with " +
                         std::to_string(before.bytes_in_use) + " in use; use a smaller batch_size");
  EXPECT_EQ(allocator_stats(gpu).bytes_in_use, before.bytes_in_use);
  EXPECT_EQ(on_gpu(counting(3)).to_vector(), counting(3));  // and the device goes on
}

// The simulator's memory is as large as its variable says.
TEST_F(GpuMemoryOnCuda, CachedBlocksAreGivenBackBeforeMemoryIsOut) {
  const char* limit = std::getenv("VITRAL_SIMULATOR_MEMORY");
  if (!limit) GTEST_SKIP() << "VITRAL_SIMULATOR_MEMORY is not set";
  const std::int64_t bytes = std::atoll(limit) / 5 * 3;
  { const Tensor most({bytes}, DType::uint8, gpu); }
  EXPECT_NO_THROW(Tensor({bytes / 16 * 17}, DType::uint8, gpu));  // of another class
  const Tensor most({bytes}, DType::uint8, gpu);
  EXPECT_NE(message_of([&] { Tensor({bytes}, DType::uint8, gpu); }).find("out of memory"), std::string::npos);
}

TEST_F(GpuMemoryOnCuda, CachedBlocksAreGivenBackBeforeAGraphIsRecorded) {
  const char* limit = std::getenv("VITRAL_SIMULATOR_MEMORY");
  if (!limit) GTEST_SKIP() << "VITRAL_SIMULATOR_MEMORY is not set";
  const std::int64_t bytes = std::atoll(limit) / 5 * 3;
  { const Tensor most({bytes}, DType::uint8, gpu); }
  const MemoryPool pool(gpu);
  const MemoryPool::Use use(pool);
  EXPECT_NO_THROW(Graph(gpu, [&] { Tensor({bytes}, DType::uint8, gpu).fill(1); }));
}

// What is in the way cannot be given back while a graph is recorded; that must not hide what is wrong.
TEST_F(GpuMemoryOnCuda, OutOfMemoryWhileAGraphIsRecordedSaysSo) {
  const char* limit = std::getenv("VITRAL_SIMULATOR_MEMORY");
  if (!limit) GTEST_SKIP() << "VITRAL_SIMULATOR_MEMORY is not set";
  const std::int64_t bytes = std::atoll(limit) / 5 * 3;
  Tensor a = on_gpu(counting(10)), b({10}, DType::float64, gpu);
  const MemoryPool pool(gpu);
  const std::string message = message_of([&] {
    Graph(gpu, [&] {
      { const Tensor before({bytes}, DType::uint8, gpu); }
      const MemoryPool::Use use(pool);
      const Tensor more({bytes}, DType::uint8, gpu);
      b.copy_from(a);
    });
  });
  EXPECT_EQ(message.find("cuda:0: out of memory asking for 60"), 0U) << message;
  EXPECT_NO_THROW(
      Tensor({bytes / 16 * 17}, DType::uint8, gpu));  // and the device goes on, with all its memory
  b.copy_from(a);
  EXPECT_EQ(b.to_vector(), counting(10));
}

}  // namespace
}  // namespace vitral
