// A file opened for reads at any position, from any thread (pread).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace vitral {

class FileReader {
 public:
  /// UsageError: no such file, not a regular one, or one that may not be read.
  explicit FileReader(std::string path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes, when it was opened
  bool holds(std::uint64_t offset, std::uint64_t length) const {
    return offset <= size_ && length <= size_ - offset;
  }
  /// Another process has locked it (flock) for itself, as HDF5 does to write.
  bool locked() const;
  /// Error: it ends before, or the disk fails.
  void read(std::uint64_t offset, void* to, std::size_t length) const;

 private:
  std::string path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace vitral
