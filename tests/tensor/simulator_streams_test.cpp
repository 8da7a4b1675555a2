// The CUDA simulator's streams, events, graphs and memory.
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "tests/tensor/simulator_fixture.h"

namespace simulator::test {
namespace {

__global__ void add(int* data, int n, int what) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) data[i] += what;
}

class SimulatorStreams : public Simulator {
 protected:
  void SetUp() override {
    Simulator::SetUp();
    cudaStreamCreateWithFlags(&other_, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event_, cudaEventDefault);
  }
  void TearDown() override {
    cudaEventDestroy(event_);
    cudaStreamDestroy(other_);
    Simulator::TearDown();
  }
  void queue_add(int* data, int what, cudaStream_t stream) { launch(add, 1, 32, 0, stream, data, 1, what); }

  cudaStream_t other_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

// --- lazy streams ---

TEST_F(SimulatorStreams, NothingRunsBeforeSomebodyWaits) {
  int* data = device(std::vector<int>{1});
  queue_add(data, 10, stream_);
  EXPECT_EQ(*data, 1);  // the simulator's device memory is the host's
  cudaStreamSynchronize(other_);
  EXPECT_EQ(*data, 1);
  cudaStreamSynchronize(stream_);
  EXPECT_EQ(*data, 11);
  queue_add(data, 10, stream_);
  cudaDeviceSynchronize();
  EXPECT_EQ(*data, 21);
}

TEST_F(SimulatorStreams, EagerStreamsRunAtOnce) {
  settings().eager = true;
  int* data = device(std::vector<int>{1});
  queue_add(data, 10, stream_);
  EXPECT_EQ(*data, 11);
}

TEST_F(SimulatorStreams, AHostThatOverwritesPinnedMemoryTooEarlyIsSeen) {
  int* data = device(std::vector<int>{0});
  int* source = pinned(std::vector<int>{5});
  cudaMemcpyAsync(data, source, sizeof(int), cudaMemcpyDefault, stream_);
  *source = 7;  // wrong: before the copy is done
  EXPECT_EQ(host(data, 1)[0], 7);
}

TEST_F(SimulatorStreams, PageableMemoryIsCopiedAtTheCallBehindWhatWasQueued) {
  int* data = device(std::vector<int>{1});
  queue_add(data, 10, stream_);
  int value = 0;
  cudaMemcpyAsync(&value, data, sizeof value, cudaMemcpyDefault, stream_);
  EXPECT_EQ(value, 11);
}

TEST_F(SimulatorStreams, ArgumentsAreThoseOfTheLaunch) {
  int* data = device(std::vector<int>{0});
  int what = 3;
  launch(add, 1, 1, 0, stream_, data, 1, what);
  what = 4;
  EXPECT_EQ(host(data, 1)[0], 3);
}

// --- events ---

TEST_F(SimulatorStreams, EventsHoldOtherStreams) {
  int* data = device(std::vector<int>{1});
  int* copy = device(std::vector<int>{0});
  queue_add(data, 10, stream_);
  cudaEventRecord(event_, stream_);
  queue_add(data, 100, stream_);
  cudaStreamWaitEvent(other_, event_);
  cudaMemcpyAsync(copy, data, sizeof(int), cudaMemcpyDefault, other_);
  cudaStreamSynchronize(other_);
  EXPECT_EQ(*copy, 11);  // as far as the event, and no further
  EXPECT_EQ(*data, 11);
  cudaEventSynchronize(event_);
  EXPECT_EQ(*data, 11);
  EXPECT_EQ(host(data, 1)[0], 111);
}

TEST_F(SimulatorStreams, AStreamThatWaitsKeepsTheEventsPlace) {
  int* data = device(std::vector<int>{1});
  queue_add(data, 10, stream_);
  cudaEventRecord(event_, stream_);
  cudaStreamWaitEvent(other_, event_);
  queue_add(data, 100, stream_);
  cudaEventRecord(event_, stream_);  // the wait above is for the first record
  cudaStreamSynchronize(other_);
  EXPECT_EQ(*data, 11);
}

TEST_F(SimulatorStreams, EventsAreDoneAfterSomeQuestions) {
  int* data = device(std::vector<int>{1});
  EXPECT_EQ(cudaEventQuery(event_), cudaSuccess);  // never recorded
  queue_add(data, 10, stream_);
  cudaEventRecord(event_, stream_);
  int questions = 1;
  while (cudaEventQuery(event_) == cudaErrorNotReady) ++questions;
  EXPECT_EQ(questions, 3);
  EXPECT_EQ(*data, 11);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
}

TEST_F(SimulatorStreams, EventsMeasureTime) {
  cudaEvent_t end = nullptr;
  cudaEventCreate(&end);
  cudaEventRecord(event_, stream_);
  cudaEventRecord(end, stream_);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event_, end), cudaErrorNotReady);
  cudaEventSynchronize(end);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, event_, end), cudaSuccess);
  EXPECT_GE(milliseconds, 0);
  cudaEventDestroy(end);
  cudaGetLastError();
}

TEST_F(SimulatorStreams, HostThreadsQueueSideBySide) {
  int* data = device(std::vector<int>(4));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      cudaStream_t mine = nullptr;
      cudaStreamCreate(&mine);
      for (int i = 0; i < 50; ++i) {
        queue_add(data + t, 1, mine);
        if (i % 7 == 0) cudaStreamSynchronize(mine);
      }
      cudaStreamDestroy(mine);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(host(data, 4), std::vector<int>(4, 50));
}

// --- graphs ---

class SimulatorGraphs : public SimulatorStreams {
 protected:
  template <class F>
  cudaGraphExec_t capture(F&& work) {
    cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed);
    work();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    result_ = cudaStreamEndCapture(stream_, &graph);
    if (result_ != cudaSuccess) return nullptr;
    cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    return exec;
  }
  cudaError_t result_ = cudaSuccess;
};

TEST_F(SimulatorGraphs, ReplayWhatWasQueuedOnTheMemoryOfNow) {
  int* data = device(std::vector<int>{1});
  int* sum = device(std::vector<int>{0});
  int* scratch = nullptr;
  int what = 10;
  const cudaGraphExec_t graph = capture([&] {
    cudaStreamCaptureStatus status{};
    cudaStreamIsCapturing(stream_, &status);
    EXPECT_EQ(status, cudaStreamCaptureStatusActive);
    EXPECT_EQ(cudaMalloc(&scratch, sizeof(int)), cudaSuccess);  // as relaxed capture allows
    cudaMemsetAsync(scratch, 0, sizeof(int), stream_);
    queue_add(data, what, stream_);
    cudaMemcpyAsync(sum, data, sizeof(int), cudaMemcpyDefault, stream_);
  });
  ASSERT_NE(graph, nullptr);
  what = 1000;
  EXPECT_EQ(*data, 1);
  cudaDeviceSynchronize();
  EXPECT_EQ(*data, 1);  // nothing of it ran
  cudaGraphLaunch(graph, stream_);
  EXPECT_EQ(*data, 1);  // lazy as everything else
  EXPECT_EQ(host(sum, 1)[0], 11);
  const int changed = 5;
  cudaMemcpy(data, &changed, sizeof changed, cudaMemcpyDefault);
  cudaGraphLaunch(graph, stream_);
  cudaGraphLaunch(graph, stream_);
  EXPECT_EQ(host(sum, 1)[0], 25);
  EXPECT_EQ(host(scratch, 1)[0], 0);
  cudaGraphExecDestroy(graph);
  cudaFree(scratch);
}

TEST_F(SimulatorGraphs, TakeInStreamsThatWaitForThem) {
  int* data = device(std::vector<int>{1});
  cudaEvent_t back = nullptr;
  cudaEventCreate(&back);
  const auto fork = [&](bool join) {
    return capture([&] {
      queue_add(data, 10, stream_);
      cudaEventRecord(event_, stream_);
      cudaStreamWaitEvent(other_, event_);
      queue_add(data, 100, other_);
      cudaEventRecord(back, other_);
      if (join) cudaStreamWaitEvent(stream_, back);
    });
  };
  EXPECT_EQ(fork(false), nullptr);
  EXPECT_EQ(result_, cudaErrorStreamCaptureUnjoined);
  cudaGetLastError();
  const cudaGraphExec_t graph = fork(true);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(cudaEventQuery(event_), cudaErrorCapturedEvent);
  cudaGetLastError();
  cudaGraphLaunch(graph, stream_);
  EXPECT_EQ(host(data, 1)[0], 111);
  cudaGraphExecDestroy(graph);
  cudaEventDestroy(back);
}

TEST_F(SimulatorGraphs, WhatWouldWaitEndsTheRecording) {
  int* data = device(std::vector<int>{1});
  int pageable = 0;
  cudaEventRecord(event_, other_);
  const auto refused = [&](cudaError_t error, const auto& call) {
    EXPECT_EQ(capture([&] { EXPECT_EQ(call(), error); }), nullptr);
    EXPECT_EQ(result_, cudaErrorStreamCaptureInvalidated);
  };
  refused(cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(stream_); });
  refused(cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamQuery(stream_); });
  refused(cudaErrorStreamCaptureUnsupported, [] { return cudaDeviceSynchronize(); });
  refused(cudaErrorStreamCaptureUnsupported,
          [&] { return cudaMemcpyAsync(&pageable, data, sizeof(int), cudaMemcpyDefault, stream_); });
  refused(cudaErrorStreamCaptureIsolation, [&] { return cudaStreamWaitEvent(stream_, event_); });
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureUnmatched);
  cudaGetLastError();
}

// --- memory ---

TEST_F(SimulatorStreams, NewMemoryHoldsNan) {
  float* data = nullptr;
  ASSERT_EQ(cudaMalloc(&data, 12 * sizeof(float)), cudaSuccess);
  for (const float x : host(data, 12)) EXPECT_TRUE(std::isnan(x));
  cudaFree(data);
}

TEST_F(SimulatorStreams, MemoryHasAnEnd) {
  std::size_t before = 0, free = 0, total = 0;
  cudaMemGetInfo(&before, &total);
  EXPECT_EQ(total, 80'000'000'000U);
  settings().memory = total - before + 1000;
  void *one = nullptr, *two = nullptr;
  EXPECT_EQ(cudaMalloc(&one, 600), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&two, 401), cudaErrorMemoryAllocation);
  EXPECT_EQ(two, nullptr);
  cudaMemGetInfo(&free, &total);
  EXPECT_EQ(free, 400U);
  EXPECT_EQ(cudaMalloc(&two, 400), cudaSuccess);
  EXPECT_EQ(cudaFree(one), cudaSuccess);
  EXPECT_EQ(cudaFree(one), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(two), cudaSuccess);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
}

TEST_F(SimulatorStreams, HugeMemoryCostsNothingUntilItIsWritten) {
  std::vector<void*> blocks(7);
  for (void*& block : blocks) ASSERT_EQ(cudaMalloc(&block, 10'000'000'000), cudaSuccess);
  for (void* block : blocks) cudaFree(block);
}

TEST_F(SimulatorStreams, CopiesStayInTheirBlocks) {
  int* data = device(std::vector<int>(4));
  std::vector<int> values(5);
  EXPECT_EQ(cudaMemcpy(data, values.data(), 5 * sizeof(int), cudaMemcpyDefault), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemsetAsync(data + 1, 0, 4 * sizeof(int), stream_), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemsetAsync(values.data(), 0, sizeof(int), stream_), cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_F(SimulatorStreams, ADryRunOnlyCountsMemory) {
  int* data = device(std::vector<int>{1});
  int* copy = pinned(std::vector<int>{3});
  settings().dry = true;
  queue_add(data, 10, stream_);
  cudaMemcpyAsync(copy, data, sizeof(int), cudaMemcpyDefault, stream_);
  cudaMemsetAsync(data, 0, sizeof(int), stream_);
  cudaStreamSynchronize(stream_);
  EXPECT_EQ(*copy, 0);
  EXPECT_EQ(*data, 1);
}

TEST_F(SimulatorStreams, ProtectedMemoryIsTheDevicesOnly) {
  settings().protect = true;
  int* data = device(std::vector<int>{1});
  queue_add(data, 10, stream_);
  EXPECT_EQ(host(data, 1)[0], 11);
  EXPECT_DEATH(*data = 5, "the host touched device memory, at .* block of 4 bytes");
  const auto run_beyond = [&] {
    launch(add, 1, 1024, 0, stream_, data, 1024, 1);
    cudaStreamSynchronize(stream_);
  };
  EXPECT_DEATH(run_beyond(), "memory that is not there, at .* behind a block of 4 bytes");
  cudaFree(std::exchange(memory_.back(), nullptr));  // before the settings change
}

// --- devices ---

TEST_F(SimulatorStreams, IsAnH200) {
  int value = 0;
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0), cudaSuccess);
  EXPECT_EQ(value, 132);
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_STREQ(properties.name, "NVIDIA H200 (simulated)");
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&value, add, 256, 100 * 1024), cudaSuccess);
  EXPECT_EQ(value, 2);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidDevice), "cudaErrorInvalidDevice");
  EXPECT_STREQ(cudaGetErrorString(cudaGetLastError()), "invalid device ordinal");
}

TEST_F(SimulatorStreams, AMachineMayHaveNoneOrSeveral) {
  int count = 0;
  settings().devices = 2;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  int* data = device(std::vector<int>{1});
  std::size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  EXPECT_EQ(total - free, sizeof(int));
  EXPECT_EQ(host(data, 1)[0], 1);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  settings().devices = 0;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNoDevice);
}

}  // namespace
}  // namespace simulator::test
