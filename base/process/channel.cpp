#include "base/process/channel.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/time.h>

namespace vitral {
namespace {

constexpr std::size_t most_waiting = 1 << 16;

// A call that moves some bytes; how many.
template <class Call>
std::size_t moved(Call&& call) {
  for (;;) {
    const ssize_t n = call();
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0 || errno != EINTR) throw ChannelClosed{n < 0 && errno == EAGAIN};
  }
}

void send_all(int socket, const void* from, std::size_t bytes) {
  const auto* next = static_cast<const char*>(from);
  while (bytes > 0) {
    const std::size_t n = moved([&] { return ::send(socket, next, bytes, MSG_NOSIGNAL); });
    next += n;
    bytes -= n;
  }
}

}  // namespace

void Channel::write(const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  if (waiting_.size() + bytes > most_waiting) flush();
  if (bytes > most_waiting) return send_all(socket_, from, bytes);
  const auto* p = static_cast<const char*>(from);
  waiting_.insert(waiting_.end(), p, p + bytes);
}

void Channel::flush() {
  send_all(socket_, waiting_.data(), waiting_.size());
  waiting_.clear();
}

void Channel::read(void* to, std::size_t bytes) {
  flush();
  auto* next = static_cast<char*>(to);
  const auto receive = [&](char* into, std::size_t room) {
    return moved([&] { return ::recv(socket_, into, room, 0); });
  };
  while (bytes > 0) {
    std::size_t n = 0;
    if (ahead_at_ == ahead_end_ && bytes >= ahead_.size()) {
      n = receive(next, bytes);
    } else {
      if (ahead_at_ == ahead_end_) {
        ahead_at_ = 0;
        ahead_end_ = 0;
        ahead_end_ = receive(ahead_.data(), ahead_.size());
      }
      n = std::min(bytes, ahead_end_ - ahead_at_);
      std::memcpy(next, ahead_.data() + ahead_at_, n);
      ahead_at_ += n;
    }
    next += n;
    bytes -= n;
  }
}

void Channel::shut_down() { ::shutdown(socket_, SHUT_RDWR); }

void Channel::set_patience(int seconds) {
  const timeval time{seconds, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

}  // namespace vitral
