// Fibers: stacks between which one thread of the system switches by itself, in a few nanoseconds.
#pragma once
#include <cstddef>

namespace simulator {

using Entry = void (*)();

/// A stack and where its execution stands. Stacks are kept for the next fiber, never given back.
class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to it calls `entry`, which must never return but leave by finish().
  void start(Entry entry);
  /// Leaves what runs now, in `from`, until somebody switches to it again.
  static void change(Fiber& from, Fiber& to);
  /// Leaves for good and never returns; `from` may be started again. (Declared so, AddressSanitizer would
  /// make a system call before each.)
  static void finish(Fiber& from, Fiber& to);
  /// False when the stack was too small for what ran on it.
  bool intact() const;

 private:
  static void arrive(Fiber& self);
  static void enter();

  unsigned char* stack_ = nullptr;  // null for the thread's own stack
  std::size_t size_ = 0;
  void* context_ = nullptr;
  Entry entry_ = nullptr;
  const void* bottom_ = nullptr;  // what AddressSanitizer must know
  void* fake_stack_ = nullptr;
};

}  // namespace simulator
