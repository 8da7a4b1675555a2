// Work that is begun some time before its result is wanted, so that who does it (a device, a thread) always
// has some to do.
#pragma once
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

namespace vitral {

/// Of blocks first, first + step, ... below count, in this order, as share_blocks() gives them to a process.
template <class Begun>
class Ahead {
 public:
  /// ahead: how many blocks are begun before the one that is asked for.
  Ahead(std::int64_t first, std::int64_t step, std::int64_t count, std::size_t ahead,
        std::function<Begun(std::int64_t block)> begin)
      : next_(first), step_(step), count_(count), ahead_(ahead), begin_(std::move(begin)) {}

  /// The next block, begun; those behind it, too. What its begin() has thrown is thrown here.
  Begun take() {
    while (begun_.size() <= ahead_ && next_ < count_) {
      begun_.push_back(begin(next_));
      next_ += step_;
    }
    Entry entry = std::move(begun_.front());
    begun_.pop_front();
    if (entry.second) std::rethrow_exception(entry.second);
    return std::move(*entry.first);
  }

 private:
  using Entry = std::pair<std::optional<Begun>, std::exception_ptr>;

  Entry begin(std::int64_t block) const {
    try {
      return {begin_(block), nullptr};
    } catch (...) {
      return {std::nullopt, std::current_exception()};
    }
  }

  std::int64_t next_, step_, count_;
  std::size_t ahead_;
  std::function<Begun(std::int64_t)> begin_;
  std::deque<Entry> begun_;
};

}  // namespace vitral
