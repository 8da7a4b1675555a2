// A regular file that is read at chosen offsets; every error names the file and says what to do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace vitral {

class InputFile {
 public:
  /// Throws UsageError "PATH: no such file", "PATH: is a directory, not a file"; Error when it cannot be
  /// read.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  /// Fills `to` with exactly `bytes` bytes from `offset`. Throws Error when the file ends before.
  void read(std::uint64_t offset, void* to, std::size_t bytes) const;
  /// The whole file as memory, which must not be empty: pages come from the disk when they are touched, what
  /// is written into them stays in this process. It remains as it was when the file is removed or another
  /// takes its name; where another program shortens this very file, touching what is gone raises SIGBUS.
  std::shared_ptr<char> map() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// The whole of a small text file. Throws Error when it is larger than `limit` bytes.
std::string read_text_file(const std::string& path, std::uint64_t limit);

}  // namespace vitral
