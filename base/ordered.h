// Work in parallel, results in order: consume(i, produce(i)) for i = 0, 1, ... n - 1. produce runs on
// `workers` threads, at most `ahead` results before their turn; consume runs in the caller. The first
// exception of either (in the order of i) ends the work and reaches the caller.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace vitral {

template <class Produce, class Consume>
void parallel_ordered(std::int64_t n, int workers, std::int64_t ahead, Produce&& produce, Consume&& consume) {
  using Result = std::invoke_result_t<Produce, std::int64_t>;
  struct Slot {
    std::optional<Result> result;
    std::exception_ptr failure;
  };
  std::mutex mutex;
  std::condition_variable room, ready;
  std::vector<Slot> slots(static_cast<std::size_t>(ahead));  // result i waits in slot i % ahead
  std::int64_t claimed = 0, consumed = 0;
  bool stop = false;
  const auto slot_of = [&](std::int64_t i) -> Slot& { return slots[static_cast<std::size_t>(i % ahead)]; };

  const auto work = [&] {
    std::unique_lock lock(mutex);
    for (;;) {
      room.wait(lock, [&] { return stop || claimed == n || claimed < consumed + ahead; });
      if (stop || claimed == n) return;
      const std::int64_t i = claimed++;
      lock.unlock();
      Slot slot;
      try {
        slot.result.emplace(produce(i));
      } catch (...) {
        slot.failure = std::current_exception();
      }
      lock.lock();
      slot_of(i) = std::move(slot);
      ready.notify_one();
    }
  };

  std::vector<std::jthread> threads;
  struct Stop {  // before the threads are joined, also when consume throws
    std::mutex& mutex;
    std::condition_variable& room;
    bool& stop;
    ~Stop() {
      {
        const std::lock_guard lock(mutex);
        stop = true;
      }
      room.notify_all();
    }
  } const stopper{mutex, room, stop};
  threads.reserve(static_cast<std::size_t>(workers));
  for (int t = 0; t < workers; ++t) threads.emplace_back(work);

  for (std::int64_t i = 0; i < n; ++i) {
    Slot slot;
    {
      std::unique_lock lock(mutex);
      ready.wait(lock, [&] { return slot_of(i).result || slot_of(i).failure; });
      slot = std::exchange(slot_of(i), Slot{});
      ++consumed;
    }
    room.notify_all();
    if (slot.failure) std::rethrow_exception(slot.failure);
    consume(i, std::move(*slot.result));
  }
}

}  // namespace vitral
