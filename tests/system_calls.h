// Calls into the system that fail when they are told to, those of libraries such as HDF5, too: a program that
// is linked with system_calls.cpp has its own open, read, pread and pwrite.
//
//   test::Fault fault("pwrite", ENOSPC, 3, ".partial");     // the fourth into a file of such a name, once
//   ... ; fault.count() ...
#pragma once
#include <string>

namespace vitral::test {

/// While it lives. Of all threads; one at a time. k < 0: none fails, they are counted.
class Fault {
 public:
  /// call: open, read, pread or pwrite. suffix: at the end of the file's path. lasting: those after it, too.
  Fault(std::string call, int error, int k, std::string suffix = "", bool lasting = false);
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  int count() const;
};

}  // namespace vitral::test
