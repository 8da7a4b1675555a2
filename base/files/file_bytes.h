// The bytes of a file as a sequence, read some at a time: for parsers that take what comes, however large it
// is.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>

#include "base/files/input_file.h"

namespace vitral {

/// An input iterator: copies read on together. Any two are equal that have both come to the end, or both have
/// not. Throws as InputFile::read().
class FileBytes {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  FileBytes() = default;  // the end
  /// `file` must outlive it.
  explicit FileBytes(const InputFile& file) : buffer_(std::make_shared<Buffer>(file)) { buffer_->fill(); }

  reference operator*() const { return buffer_->bytes[buffer_->at]; }
  FileBytes& operator++() {
    if (++buffer_->at == buffer_->bytes.size()) buffer_->fill();
    return *this;
  }
  /// Of the byte that comes next, from the beginning of the file.
  std::uint64_t position() const { return buffer_->next - buffer_->bytes.size() + buffer_->at; }
  bool operator==(const FileBytes& other) const { return is_end() == other.is_end(); }

 private:
  struct Buffer {
    explicit Buffer(const InputFile& from) : file(from) {}
    void fill() {
      constexpr std::uint64_t block = 1 << 20;
      bytes.resize(static_cast<std::size_t>(std::min(block, file.size() - next)));
      file.read(next, bytes.data(), bytes.size());
      next += bytes.size();
      at = 0;
    }
    const InputFile& file;
    std::string bytes;
    std::size_t at = 0;
    std::uint64_t next = 0;
  };
  bool is_end() const { return !buffer_ || buffer_->bytes.empty(); }

  std::shared_ptr<Buffer> buffer_;
};

}  // namespace vitral
