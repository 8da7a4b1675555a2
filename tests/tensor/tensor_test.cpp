#include "tensor/tensor.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace vitral {
namespace {

using test::message_of;

TEST(Tensor, CopiesShareMemoryAndCloneDoesNot) {
  Tensor a = Tensor::full({2, 3}, 1.5);
  Tensor b = a, c = a.clone();
  b.data<float>()[0] = 7;
  EXPECT_EQ(a.data<float>()[0], 7);
  EXPECT_EQ(c.data<float>()[0], 1.5f);
  EXPECT_FALSE(a.exclusive());
  EXPECT_TRUE(c.exclusive());
}

TEST(Tensor, RowsAndReshapeShareMemory) {
  Tensor a = Tensor::from(std::vector<float>{0, 1, 2, 3, 4, 5}, {3, 2});
  EXPECT_EQ(a.rows(1, 3).to_vector(), (std::vector<double>{2, 3, 4, 5}));
  EXPECT_EQ(a.reshape({-1, 3}).shape(), (Shape{2, 3}));
  EXPECT_EQ(message_of([&] {
              static_cast<void>(a.reshape({4, 2}));
            }),
            "reshape: [3, 2] has 6 elements, [4, 2] has 8");
  EXPECT_EQ(message_of([&] { static_cast<void>(a.rows(2, 4)); }), "rows: [2, 4) is out of range for [3, 2]");
}

TEST(Tensor, ConvertsBetweenAllTypes) {
  const Tensor a = Tensor::from(std::vector<float>{0, 1, 2, 200}, {4});
  for (DType t : {DType::float64, DType::float16, DType::bfloat16, DType::uint8, DType::int64})
    EXPECT_EQ(a.cast(t).to_vector(), a.to_vector()) << name(t);
}

TEST(Tensor, LiesOverMemoryOfAnOwner) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::weak_ptr<std::vector<float>> alive = owner;
  float* memory = owner->data();
  const std::size_t in_use = allocator_stats(cpu).bytes_in_use;
  Tensor whole = Tensor::over(memory, {3, 2}, DType::float32, std::move(owner));
  EXPECT_EQ(whole.raw(), memory);
  EXPECT_EQ(whole.device(), cpu);
  EXPECT_EQ(allocator_stats(cpu).bytes_in_use, in_use);
  Tensor row = whole.rows(1, 2);
  EXPECT_EQ(row.to_vector(), (std::vector<double>{3, 4}));
  EXPECT_TRUE(row.shares_memory_with(whole));
  whole = {};
  EXPECT_FALSE(alive.expired());
  EXPECT_TRUE(row.exclusive());
  row = {};
  EXPECT_TRUE(alive.expired());
  alignas(8) char bytes[16] = {};
  EXPECT_EQ(test::message_of([&] { Tensor::over(bytes + 2, {1}, DType::float32, nullptr); }),
            "tensor: memory of float32 elements must lie at a multiple of 4 bytes");
}

TEST(Tensor, DataAsksForItsOwnType) {
  EXPECT_EQ(message_of([] { Tensor({2}).data<double>(); }),
            "tensor: asked for float64 data of a float32 tensor");
}

TEST(Allocator, ReusesFreedBlocks) {
  { Tensor warm({1000, 100}); }
  const auto before = allocator_stats(cpu).system_calls;
  for (int i = 0; i < 5; ++i) Tensor again({1000, 99});
  EXPECT_EQ(allocator_stats(cpu).system_calls, before);
}

// Batches of many sizes leave blocks of many sizes behind.
TEST(Allocator, KeepsAtMostAboutTwiceWhatWasInUse) {
  release_cached(cpu);
  reset_peak(cpu);
  const auto before = allocator_stats(cpu).bytes_reserved;
  for (std::int64_t rows = 1; rows <= 64; ++rows) Tensor t({rows, 1 << 16});
  const auto stats = allocator_stats(cpu);
  EXPECT_LE(stats.bytes_reserved - before, 3 * stats.peak_in_use);
}

TEST(Allocator, AFailedRequestIsNotCounted) {
  const auto before = allocator_stats(cpu);
  EXPECT_NE(message_of([] { Tensor({std::int64_t{1} << 50}); }).find("cpu: out of memory asking for"),
            std::string::npos);
  EXPECT_EQ(allocator_stats(cpu).bytes_in_use, before.bytes_in_use);
  EXPECT_EQ(allocator_stats(cpu).peak_in_use, before.peak_in_use);
}

TEST(Shape, RefusesSizesThatOverflow) {
  EXPECT_EQ(message_of([] {
              Tensor({1LL << 32, 1LL << 32});
            }),
            "shape: [4294967296, 4294967296] has more elements than any memory");
  EXPECT_EQ(message_of([] {
              Tensor({0, 1LL << 62});
            }),
            "shape: [0, 4611686018427387904] has more elements than any memory");
}

TEST(Device, UnknownNamesAndMissingGpus) {
  EXPECT_EQ(message_of([] { parse_device("tpu"); }),
            "device: 'tpu' is unknown, choose cpu, cuda, cuda:N or auto");
  EXPECT_EQ(message_of([] { parse_device("cuda:x"); }),
            "device: 'cuda:x' is unknown, choose cpu, cuda, cuda:N or auto");
  std::string why;
  if (gpu_count(&why) > 0) GTEST_SKIP() << "there is a GPU";
  if (!::dlopen("libcuda.so.1", RTLD_LAZY)) {
    EXPECT_EQ(why, "this machine has no NVIDIA driver");
  }
  EXPECT_FALSE(why.empty());
  EXPECT_EQ(message_of([] { parse_device("cuda:1"); }), "device cuda:1: " + why + "; use --device cpu");
  std::string why_cpu;
  EXPECT_EQ(parse_device("auto", &why_cpu), cpu);
  EXPECT_EQ(why_cpu, why);
}

// Whoever has a tensor's device may come before who asks for a GPU by name.
TEST(Device, ATensorOnAMissingGpuSaysWhy) {
  std::string why;
  if (gpu_count(&why) > 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(message_of([] {
              Tensor({1}, DType::float32, Device{Device::Kind::cuda, 0});
            }),
            "cuda: " + why + "; use --device cpu");
}

}  // namespace
}  // namespace vitral
