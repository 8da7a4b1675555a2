// What the tests of the CUDA simulator share.
#pragma once
#include <algorithm>
#include <vector>

#include <cuda_runtime.h>
#include <gtest/gtest.h>

namespace simulator::test {

/// Every test has a stream and memory of its own, begins with the default settings and leaves no error.
class Simulator : public testing::Test {
 protected:
  void SetUp() override {
    settings() = {};
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  }
  void TearDown() override {
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    cudaStreamDestroy(stream_);
    for (void* data : memory_) cudaFree(data);
    for (void* data : pinned_) cudaFreeHost(data);
    settings() = before_;
  }

  template <class T>
  T* device(const std::vector<T>& values) {
    T* data = nullptr;
    EXPECT_EQ(cudaMalloc(&data, values.size() * sizeof(T)), cudaSuccess);
    memory_.push_back(data);
    cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyDefault);
    return data;
  }
  template <class T>
  T* pinned(const std::vector<T>& values) {
    T* data = nullptr;
    EXPECT_EQ(cudaHostAlloc(&data, values.size() * sizeof(T), cudaHostAllocDefault), cudaSuccess);
    pinned_.push_back(data);
    std::copy(values.begin(), values.end(), data);
    return data;
  }
  template <class T>
  std::vector<T> host(const T* data, std::size_t count) {
    cudaStreamSynchronize(stream_);
    std::vector<T> values(count);
    cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDefault);
    return values;
  }

  cudaStream_t stream_ = nullptr;
  Settings before_ = settings();
  std::vector<void*> memory_, pinned_;
};

}  // namespace simulator::test
