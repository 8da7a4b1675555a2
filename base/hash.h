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

/// Size and hash of a file's bytes.
struct FileDigest {
  std::uint64_t bytes = 0;
  std::uint64_t xxh3 = 0;
  bool operator==(const FileDigest&) const = default;
};

/// Reads a file once. Throws as InputFile does.
FileDigest digest_of(const std::string& path);

}  // namespace vitral
