// Bytes and values between a process and its child, through a socket.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "base/files/descriptor.h"

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

/// How a type travels: numbers, texts, vectors, optionals, and structs whose fields() ties what they hold.
/// Other types specialise it. What get() makes of any bytes is a valid value.
template <class T>
struct Wire {
  static_assert(std::is_arithmetic_v<T>, "no Wire for this type");
  static void put(Channel& channel, const T& value) { channel.write(&value, sizeof value); }
  static T get(Channel& channel) {
    std::array<char, sizeof(T)> bytes;
    channel.read(bytes.data(), bytes.size());
    if constexpr (std::is_same_v<T, bool>)
      return bytes[0] != 0;
    else
      return std::bit_cast<T>(bytes);
  }
};

template <class T>
void put(Channel& channel, const T& value) {
  Wire<T>::put(channel, value);
}
template <class T>
T get(Channel& channel) {
  return Wire<T>::get(channel);
}

namespace detail {
// Memory grows with what comes: the length alone is not believed.
template <class Container>
Container get_numbers(Channel& channel) {
  using T = typename Container::value_type;
  constexpr std::uint64_t block = (1 << 20) / sizeof(T);
  auto left = get<std::uint64_t>(channel);
  Container out;
  while (left > 0) {
    const auto n = static_cast<std::size_t>(std::min(left, block)), at = out.size();
    out.resize(at + n);
    channel.read(out.data() + at, n * sizeof(T));
    left -= n;
  }
  return out;
}
}  // namespace detail

template <>
struct Wire<std::string> {
  static void put(Channel& channel, const std::string& text) {
    vitral::put<std::uint64_t>(channel, text.size());
    channel.write(text.data(), text.size());
  }
  static std::string get(Channel& channel) { return detail::get_numbers<std::string>(channel); }
};

template <class T>
struct Wire<std::vector<T>> {
  static void put(Channel& channel, const std::vector<T>& values) {
    vitral::put<std::uint64_t>(channel, values.size());
    if constexpr (std::is_arithmetic_v<T>)
      channel.write(values.data(), values.size() * sizeof(T));
    else
      for (const T& value : values) Wire<T>::put(channel, value);
  }
  static std::vector<T> get(Channel& channel) {
    if constexpr (std::is_arithmetic_v<T>) {
      return detail::get_numbers<std::vector<T>>(channel);
    } else {
      std::vector<T> out;
      for (auto left = vitral::get<std::uint64_t>(channel); left > 0; --left)
        out.push_back(Wire<T>::get(channel));
      return out;
    }
  }
};

template <class T>
struct Wire<std::optional<T>> {
  static void put(Channel& channel, const std::optional<T>& value) {
    vitral::put(channel, value.has_value());
    if (value) Wire<T>::put(channel, *value);
  }
  static std::optional<T> get(Channel& channel) {
    if (!vitral::get<bool>(channel)) return std::nullopt;
    return Wire<T>::get(channel);
  }
};

template <class T>
requires requires(T value) { value.fields(); }
struct Wire<T> {
  static void put(Channel& channel, const T& value) {
    std::apply([&](const auto&... field) { (vitral::put(channel, field), ...); },
               const_cast<T&>(value).fields());
  }
  static T get(Channel& channel) {
    T value;
    std::apply([&]<class... F>(F&... field) { ((field = Wire<F>::get(channel)), ...); }, value.fields());
    return value;
  }
};

}  // namespace vitral
