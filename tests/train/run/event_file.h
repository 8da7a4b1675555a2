// Decodes TensorBoard's event files byte by byte, on its own and not with the writer's helpers.
#pragma once
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "train/run/tensorboard.h"

namespace vitral::test {

struct Reader {
  std::string bytes;
  std::size_t at = 0;

  bool done() const { return at == bytes.size(); }
  std::uint8_t byte() { return static_cast<std::uint8_t>(bytes.at(at++)); }
  std::string take(std::size_t n) {
    if (n > bytes.size() - at) throw std::out_of_range("short");
    return bytes.substr((at += n) - n, n);
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const std::uint8_t b = byte();
      value |= static_cast<std::uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return value;
    }
  }
};

struct Event {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string file_version;
  std::map<std::string, float> scalars;
  std::uint64_t session_status = 0;
};

inline Event decode(const std::string& bytes) {
  Event event;
  Reader r{bytes};
  while (!r.done()) {
    switch (const std::uint64_t tag = r.varint()) {
      case (1 << 3) | 1:
        event.wall_time = r.number<double>();
        break;
      case (2 << 3) | 0:
        event.step = static_cast<std::int64_t>(r.varint());
        break;
      case (3 << 3) | 2:
        event.file_version = r.take(r.varint());
        break;
      case (7 << 3) | 2: {
        Reader log{r.take(r.varint())};
        EXPECT_EQ(log.varint(), 8U);
        event.session_status = log.varint();
        EXPECT_TRUE(log.done());
        break;
      }
      case (5 << 3) | 2: {
        Reader summary{r.take(r.varint())};
        while (!summary.done()) {
          EXPECT_EQ(summary.varint(), (1U << 3) | 2);
          Reader value{summary.take(summary.varint())};
          EXPECT_EQ(value.varint(), (1U << 3) | 2);
          const std::string name = value.take(value.varint());
          EXPECT_EQ(value.varint(), (2U << 3) | 5);
          event.scalars[name] = value.number<float>();
          EXPECT_TRUE(value.done());
        }
        break;
      }
      default:
        ADD_FAILURE() << "tag " << tag;
        return event;
    }
  }
  return event;
}

inline std::uint32_t masked(const std::string& bytes) {
  const std::uint32_t crc = train::crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

inline std::vector<Event> read_events(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Reader r{{std::istreambuf_iterator<char>(file), {}}};
  std::vector<Event> events;
  while (!r.done()) {
    const std::string length = r.take(8);
    EXPECT_EQ(r.number<std::uint32_t>(), masked(length));
    std::uint64_t size = 0;
    std::memcpy(&size, length.data(), 8);
    const std::string event = r.take(size);
    EXPECT_EQ(r.number<std::uint32_t>(), masked(event));
    events.push_back(decode(event));
  }
  return events;
}

}  // namespace vitral::test
