// Bytes and values between a process and its child, through a socket.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/files/descriptor.h"
#include "base/wire.h"

namespace vitral {

/// The other end is gone, or has been silent for too long.
struct ChannelClosed {
  bool silent = false;
};

class Channel {
 public:
  explicit Channel(Descriptor socket) : socket_(std::move(socket)) {}

  /// What is written waits until flush() or read(). All three throw ChannelClosed.
  void write(const void* from, std::size_t bytes);
  void flush();
  /// Exactly so many bytes.
  void read(void* to, std::size_t bytes);
  /// The other end then finds it closed.
  void shut_down();
  /// How long flush() and read() wait for the other end.
  void set_patience(int seconds);

 private:
  Descriptor socket_;
  std::vector<char> waiting_;
  std::array<char, 1 << 14> ahead_{};  // read from the socket, not yet asked for
  std::size_t ahead_at_ = 0, ahead_end_ = 0;
};

}  // namespace vitral
