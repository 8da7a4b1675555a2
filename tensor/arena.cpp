#include "tensor/arena.h"

#include <iterator>

#include "base/error.h"

namespace vitral::detail {

void Arena::set_free(Blocks::iterator block, bool free) {
  block->second.free = free;
  if (free)
    free_.insert({block->second.size, block->first});
  else
    free_.erase({block->second.size, block->first});
}

void* Arena::allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  const auto fit = free_.lower_bound({size, nullptr});
  if (fit == free_.end()) return nullptr;
  const auto block = blocks_.find(fit->second);
  set_free(block, false);
  if (const std::size_t rest = block->second.size - size; rest > 0) {
    block->second.size = size;
    set_free(blocks_.emplace(block->first + size, Block{.size = rest}).first, true);
  }
  return block->first;
}

// Both are free and not in free_.
void Arena::join_with_next(Blocks::iterator block) {
  const auto next = std::next(block);
  block->second.size += next->second.size;
  blocks_.erase(next);
}

std::size_t Arena::release(void* data) {
  auto block = blocks_.find(static_cast<char*>(data));
  VITRAL_CHECK(block != blocks_.end() && !block->second.free, "arena: released what it did not allocate");
  const std::size_t size = block->second.size;
  if (const auto next = std::next(block); next != blocks_.end() && next->second.free && !next->second.first) {
    free_.erase({next->second.size, next->first});
    join_with_next(block);
  }
  if (!block->second.first) {
    if (const auto before = std::prev(block); before->second.free) {
      free_.erase({before->second.size, before->first});
      join_with_next(before);
      block = before;
    }
  }
  set_free(block, true);
  return size;
}

void Arena::add_segment(void* data, std::size_t bytes) {
  segments_[data] = bytes;
  const auto block =
      blocks_.insert_or_assign(static_cast<char*>(data), Block{.size = bytes, .first = true}).first;
  set_free(block, true);
}

}  // namespace vitral::detail
