// Calls into the system that fail when they are told to, those of libraries such as HDF5, too: a program that
// is linked with system_calls.cpp has its own open, read, pread, write, pwrite, fsync, close, mkdir, rename
// and renameat2.
//
//   test::Fault fault("pwrite", ENOSPC, 3, ".partial");     // the fourth into a file of such a name, once
//   ... ; fault.count() ...
#pragma once
#include <string>

namespace vitral::test {

/// While it lives. Of all threads; one at a time. k < 0: none fails, they are counted.
class Fault {
 public:
  /// call: one of those above. part: of the file's path (the old one of a rename). lasting: those after it,
  /// too.
  Fault(std::string call, int error, int k, std::string part = "", bool lasting = false);
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  int count() const;
};

}  // namespace vitral::test
