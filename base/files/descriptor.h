// A POSIX file descriptor that closes itself, and the loops by which all bytes get where the system takes
// some.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace vitral {

class Descriptor {
 public:
  Descriptor() = default;
  /// What ::open() returned; negative: none.
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { close(); }

  operator int() const { return number_; }
  /// False, with errno, where what was written could not be kept; it is closed in any case.
  bool close();

 private:
  int number_ = -1;
};

/// False, with errno, where not everything was written.
bool write_all(int descriptor, const void* data, std::size_t bytes);
bool write_all_at(int descriptor, std::uint64_t offset, const void* data, std::size_t bytes);

/// The permissions of the file at `path`, which this one will replace; nothing where there is none.
void keep_mode(int descriptor, const std::string& path);

/// How many of `bytes` bytes from `offset` could be read. Fewer: errno says why, 0 at the end of the file.
std::size_t read_at(int descriptor, std::uint64_t offset, void* to, std::size_t bytes);

}  // namespace vitral
