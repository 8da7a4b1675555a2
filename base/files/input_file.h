// A regular file that is read at any offset, from any thread; every error names the file and says what to do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/files/descriptor.h"
#include "base/read_error.h"

namespace vitral {

/// Whether errno speaks of the path that was given (nothing there, no permission), not of the system.
bool is_about_path(int error);

class InputFile {
 public:
  /// UsageError: no such file, not a regular one, or one that may not be read; ReadError.
  explicit InputFile(std::string path);

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // bytes, when it was opened
  bool holds(std::uint64_t offset, std::uint64_t bytes) const {
    return offset <= size_ && bytes <= size_ - offset;
  }
  int descriptor() const { return descriptor_; }
  /// Takes a lock (flock) for reading, which lasts as long as the file is open here, and says why not:
  /// EWOULDBLOCK: another process has locked it for itself, as HDF5 does to write; ENOLCK and others: this
  /// file system has no locks. 0: it has it.
  int lock_to_read() const;
  /// Fills `to` with exactly `bytes` bytes from `offset`. Error: the file ends before; ReadError.
  void read(std::uint64_t offset, void* to, std::size_t bytes) const;
  /// These bytes will be read soon: the system may fetch them from the disk meanwhile.
  void prefetch(std::uint64_t offset, std::uint64_t bytes) const;
  /// The whole file as memory, which must not be empty: pages come from the disk when they are touched, what
  /// is written into them stays in this process. It remains as it was when the file is removed or another
  /// takes its name; where another program shortens this very file, touching what is gone raises SIGBUS.
  std::shared_ptr<char> map() const;

 private:
  std::string path_;
  Descriptor descriptor_;
  std::uint64_t size_ = 0;
};

/// What lies at a path, links followed; not_found where nothing does. UsageError where that cannot be told: a
/// folder on the way may not be entered, links go in a circle; ReadError.
std::filesystem::file_status file_status(const std::string& path);

/// The whole of a small text file. Error: it is larger than `limit` bytes.
std::string read_text_file(const std::string& path, std::uint64_t limit);

}  // namespace vitral
