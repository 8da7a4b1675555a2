// A file that grows by whole records: each write reaches the operating system at once, and one that fails
// (full disk) leaves no part of itself behind.
#pragma once
#include <string>
#include <string_view>

#include "base/files/descriptor.h"

namespace vitral {

class AppendFile {
 public:
  enum class Mode { append, create };

  /// append: opens or creates; create: the file must not exist. Throws Error naming the file.
  AppendFile(std::string path, Mode mode);

  /// All of `record` or nothing of it; Error with the reason where it does not fit.
  void write(std::string_view record);

  /// Waits until the disk has it, so that it outlives a crash of the machine.
  void sync();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Descriptor file_;
};

}  // namespace vitral
