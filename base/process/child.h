// A process of its own for work on what nobody can vouch for: if that crashes, hangs or takes all memory, it
// is the child that ends, and the parent can say so.
//
//   Child child(file, [&](Channel& parent) { for (;;) ... get<int>(parent) ... put(parent, answer) ... });
//   child.allow({.cpu_seconds = 10, .bytes = 1 << 30});
//   put(child.channel(), 7);
//   ... get<std::string>(child.channel()) ...                  // ChannelClosed: child.end() says why
//
// It is a fork without exec, also of a program with threads: the work must hold to what is safe there. No
// OpenMP, no GPU, no lock that another thread may have held when it was forked.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include <sys/types.h>

#include "base/process/channel.h"

namespace vitral {

class Child {
 public:
  /// What it may use from here on, beyond what it has used.
  struct Limits {
    std::uint64_t cpu_seconds = 0;
    std::uint64_t bytes = 0;  // of address space, beyond what it began with
  };
  struct End {
    enum class Why { crashed, too_slow, killed } why = Why::crashed;
    std::string how;  // "signal 11"
  };

  /// `work` runs in the child, which ends when `work` returns, throws, or finds the channel closed. Of all
  /// open files it keeps `descriptor`; it can open nothing (sandbox.h), leaves no core file, and signals from
  /// the terminal are not for it. ReadError: the system starts no process.
  Child(int descriptor, const std::function<void(Channel& parent)>& work);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  Channel& channel() { return channel_; }
  pid_t pid() const { return pid_; }
  void allow(const Limits& limits);
  /// Ends it, if it has not ended, and says why it did: for who has caught `closed`.
  const End& end(const ChannelClosed& closed);

 private:
  void reap();

  pid_t pid_ = -1;
  Channel channel_;
  std::uint64_t first_bytes_ = 0;                   // of address space; 0: unknown
  std::uint64_t cpu_limit_ = 0, memory_limit_ = 0;  // as they are set
  bool running_ = true;
  End end_;
};

}  // namespace vitral
