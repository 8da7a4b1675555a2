// Values as bytes, end to end, between processes of one program: put(stream, value), get<T>(stream). A stream
// has write(const void*, bytes) and read(void*, bytes): a socket (base/process/channel.h), or memory
// (Parcel).
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace vitral {

/// Bytes in memory, taken out in the order in which they were put in.
class Parcel {
 public:
  Parcel() = default;
  /// What another one's bytes() were.
  explicit Parcel(std::string bytes) : bytes_(std::move(bytes)) {}

  void write(const void* from, std::size_t bytes) { bytes_.append(static_cast<const char*>(from), bytes); }
  void read(void* to, std::size_t bytes) {
    if (bytes > bytes_.size() - at_) throw std::out_of_range("parcel: nothing is left");
    if (bytes > 0) std::memcpy(to, bytes_.data() + at_, bytes);
    at_ += bytes;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

/// How a type travels: numbers, texts, vectors, optionals, and structs whose fields() ties what they hold.
/// Other types specialise it. What get() makes of any bytes is a valid value.
template <class T>
struct Wire {
  static_assert(std::is_arithmetic_v<T>, "no Wire for this type");
  template <class Stream>
  static void put(Stream& to, const T& value) {
    to.write(&value, sizeof value);
  }
  template <class Stream>
  static T get(Stream& from) {
    std::array<char, sizeof(T)> bytes;
    from.read(bytes.data(), bytes.size());
    if constexpr (std::is_same_v<T, bool>)
      return bytes[0] != 0;
    else
      return std::bit_cast<T>(bytes);
  }
};

template <class T, class Stream>
void put(Stream& to, const T& value) {
  Wire<T>::put(to, value);
}
template <class T, class Stream>
T get(Stream& from) {
  return Wire<T>::get(from);
}

namespace detail {
// Memory grows with what comes: the length alone is not believed.
template <class Container, class Stream>
Container get_numbers(Stream& from) {
  using T = typename Container::value_type;
  constexpr std::uint64_t block = (1 << 20) / sizeof(T);
  auto left = get<std::uint64_t>(from);
  Container out;
  while (left > 0) {
    const auto n = static_cast<std::size_t>(std::min(left, block)), at = out.size();
    out.resize(at + n);
    from.read(out.data() + at, n * sizeof(T));
    left -= n;
  }
  return out;
}
}  // namespace detail

template <>
struct Wire<std::string> {
  template <class Stream>
  static void put(Stream& to, const std::string& text) {
    vitral::put<std::uint64_t>(to, text.size());
    to.write(text.data(), text.size());
  }
  template <class Stream>
  static std::string get(Stream& from) {
    return detail::get_numbers<std::string>(from);
  }
};

template <class T>
struct Wire<std::vector<T>> {
  template <class Stream>
  static void put(Stream& to, const std::vector<T>& values) {
    vitral::put<std::uint64_t>(to, values.size());
    if constexpr (std::is_arithmetic_v<T>)
      to.write(values.data(), values.size() * sizeof(T));
    else
      for (const T& value : values) Wire<T>::put(to, value);
  }
  template <class Stream>
  static std::vector<T> get(Stream& from) {
    if constexpr (std::is_arithmetic_v<T>) {
      return detail::get_numbers<std::vector<T>>(from);
    } else {
      std::vector<T> out;
      for (auto left = vitral::get<std::uint64_t>(from); left > 0; --left) out.push_back(Wire<T>::get(from));
      return out;
    }
  }
};

template <class T>
struct Wire<std::optional<T>> {
  template <class Stream>
  static void put(Stream& to, const std::optional<T>& value) {
    vitral::put(to, value.has_value());
    if (value) Wire<T>::put(to, *value);
  }
  template <class Stream>
  static std::optional<T> get(Stream& from) {
    if (!vitral::get<bool>(from)) return std::nullopt;
    return Wire<T>::get(from);
  }
};

template <class T>
requires requires(T value) { value.fields(); }
struct Wire<T> {
  template <class Stream>
  static void put(Stream& to, const T& value) {
    std::apply([&](const auto&... field) { (vitral::put(to, field), ...); }, const_cast<T&>(value).fields());
  }
  template <class Stream>
  static T get(Stream& from) {
    T value;
    std::apply([&]<class... F>(F&... field) { ((field = Wire<F>::get(from)), ...); }, value.fields());
    return value;
  }
};

}  // namespace vitral
