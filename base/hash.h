// XXH3-64: tells accidents (a torn write, a flipped bit, another file), not attacks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace vitral {

std::uint64_t hash_of(std::string_view bytes);

/// The same of bytes that come in pieces.
class Hash {
 public:
  Hash();
  void add(const void* data, std::size_t bytes);
  std::uint64_t value() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace vitral
