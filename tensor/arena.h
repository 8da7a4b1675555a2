// Memory cut out of a few large segments: best fit, split where a free block is larger than what is asked
// for, joined again with free neighbours. Slower than lists by size but nearly without loss, for steps that
// fill a device: a block that four small tensors have left can be the next large one.
#pragma once
#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace vitral::detail {

class Arena {
 public:
  /// Blocks are multiples of this, and so aligned to it within a segment.
  static constexpr std::size_t granule = 512;
  static constexpr std::size_t rounded(std::size_t bytes) {
    return bytes == 0 ? granule : (bytes + granule - 1) / granule * granule;
  }

  /// nullptr where no free block is large enough: then add_segment() and ask again.
  void* allocate(std::size_t bytes);
  /// A block of allocate(); returns its size.
  std::size_t release(void* data);
  void add_segment(void* data, std::size_t bytes);
  /// Calls f(data, bytes) for every segment and forgets them all.
  template <class F>
  void clear(F&& f) {
    for (const auto& [data, bytes] : segments_) f(data, bytes);
    segments_.clear();
    blocks_.clear();
    free_.clear();
  }
  /// The same of those that are free from end to end.
  template <class F>
  void clear_free(F&& f) {
    std::erase_if(segments_, [&](const auto& segment) {
      const auto [data, bytes] = segment;
      const auto block = blocks_.find(static_cast<char*>(data));
      if (!block->second.free || block->second.size != bytes) return false;
      set_free(block, false);
      blocks_.erase(block);
      f(data, bytes);
      return true;
    });
  }

 private:
  struct Block {
    std::size_t size = 0;
    bool free = true;
    bool first = false;  // of its segment: never joined with what lies before
  };
  using Blocks = std::map<char*, Block>;

  void set_free(Blocks::iterator block, bool free);
  void join_with_next(Blocks::iterator block);

  std::map<void*, std::size_t> segments_;
  Blocks blocks_;                                 // by address
  std::set<std::pair<std::size_t, char*>> free_;  // by size, then address
};

}  // namespace vitral::detail
