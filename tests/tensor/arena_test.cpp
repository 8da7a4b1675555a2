#include "tensor/arena.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/support.h"

namespace vitral::detail {
namespace {

constexpr std::size_t kilobyte = 1024;

TEST(Arena, SplitsAndJoins) {
  std::vector<char> memory(64 * kilobyte);
  Arena arena;
  EXPECT_EQ(arena.allocate(1), nullptr);
  arena.add_segment(memory.data(), memory.size());
  void* a = arena.allocate(16 * kilobyte);
  void* b = arena.allocate(16 * kilobyte - 1);
  void* c = arena.allocate(32 * kilobyte);
  EXPECT_EQ(a, memory.data());
  EXPECT_EQ(b, memory.data() + 16 * kilobyte);
  EXPECT_EQ(c, memory.data() + 32 * kilobyte);
  EXPECT_EQ(arena.allocate(1), nullptr);
  EXPECT_EQ(arena.release(b), 16 * kilobyte);
  EXPECT_EQ(arena.allocate(17 * kilobyte), nullptr);
  EXPECT_EQ(arena.release(a), 16 * kilobyte);
  EXPECT_EQ(arena.allocate(32 * kilobyte), memory.data());  // a and b together
  EXPECT_EQ(test::message_of([&] { arena.release(b); }), "arena: released what it did not allocate");
}

TEST(Arena, TakesTheSmallestThatFitsAndNeverJoinsSegments) {
  std::vector<char> memory(24 * kilobyte);
  Arena arena;
  // Two segments that happen to be neighbours.
  arena.add_segment(memory.data(), 16 * kilobyte);
  arena.add_segment(memory.data() + 16 * kilobyte, 8 * kilobyte);
  EXPECT_EQ(arena.allocate(20 * kilobyte), nullptr);
  void* small = arena.allocate(6 * kilobyte);
  EXPECT_EQ(small, memory.data() + 16 * kilobyte);
  void* large = arena.allocate(16 * kilobyte);
  EXPECT_EQ(large, memory.data());
  arena.release(large);
  arena.release(small);
  EXPECT_EQ(arena.allocate(20 * kilobyte), nullptr);
  std::size_t total = 0;
  arena.clear([&](void*, std::size_t bytes) { total += bytes; });
  EXPECT_EQ(total, 24 * kilobyte);
  EXPECT_EQ(arena.allocate(1), nullptr);
}

TEST(Arena, ForgetsSegmentsThatAreFree) {
  std::vector<char> memory(48 * kilobyte);
  Arena arena;
  for (const std::size_t at : {0, 16, 32}) arena.add_segment(memory.data() + at * kilobyte, 16 * kilobyte);
  std::vector<void*> blocks;
  for (int i = 0; i < 6; ++i) blocks.push_back(arena.allocate(8 * kilobyte));
  for (const std::size_t i : {0, 1, 2, 4, 5}) arena.release(blocks[i]);
  std::vector<void*> gone;
  arena.clear_free([&](void* data, std::size_t bytes) {
    EXPECT_EQ(bytes, 16 * kilobyte);
    gone.push_back(data);
  });
  EXPECT_EQ(gone, (std::vector<void*>{memory.data(), memory.data() + 32 * kilobyte}));
  EXPECT_EQ(arena.allocate(9 * kilobyte), nullptr);
  EXPECT_EQ(arena.allocate(8 * kilobyte), blocks[2]);
  arena.release(blocks[2]);
  arena.release(blocks[3]);
  EXPECT_EQ(arena.allocate(16 * kilobyte), blocks[2]);
}

// Blocks never overlap, and when all are back the segment is whole again.
TEST(Arena, RandomUse) {
  std::vector<char> memory(1024 * kilobyte);
  Arena arena;
  arena.add_segment(memory.data(), memory.size());
  Random random(5);
  std::vector<std::pair<char*, std::size_t>> used;
  for (int i = 0; i < 4000; ++i) {
    if (random.below(2) == 0 && !used.empty()) {
      const std::size_t k = random.below(used.size());
      EXPECT_EQ(arena.release(used[k].first), Arena::rounded(used[k].second));
      used.erase(used.begin() + static_cast<std::ptrdiff_t>(k));
      continue;
    }
    const std::size_t bytes = random.below(40 * kilobyte);
    if (auto* data = static_cast<char*>(arena.allocate(bytes))) used.emplace_back(data, bytes);
    if (i % 100 != 0) continue;
    auto sorted = used;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t k = 1; k < sorted.size(); ++k)
      ASSERT_LE(sorted[k - 1].first + Arena::rounded(sorted[k - 1].second), sorted[k].first);
  }
  EXPECT_GT(used.size(), 5U);
  for (const auto& block : used) arena.release(block.first);
  EXPECT_EQ(arena.allocate(memory.size()), memory.data());
}

}  // namespace
}  // namespace vitral::detail
