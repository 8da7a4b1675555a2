// Calls into the system that fail, stop half-way or end the process when they are told to, those of libraries
// such as HDF5, too; and a record of them. system_calls.cpp has the C library's functions under their own
// names: it is linked into test programs, and loaded before a program (LD_PRELOAD,
// tests/torture/preload.cpp).
//
//   test::Fault fault("pwrite", ENOSPC, 3, ".partial");     // the fourth into a file of such a name, once
//   ... ; fault.count() ...
#pragma once
#include <string>
#include <utility>

namespace vitral::test {

/// In place of an error: a write or pwrite that says that it is done, of which the file gets nothing, or
/// other bytes.
inline constexpr int lost = -1, garbled = -2;

struct FaultPlan {
  enum class Kill { no, before, middle, after };  // middle: half of the bytes are written

  /// open, read, pread, write, pwrite, fsync (fdatasync, too), ftruncate, close, mmap, copy (sendfile),
  /// rename, renameat2, mkdir, link or unlink (of folders, too); any: all of them, counted together.
  std::string call;
  int error = 0;  // errno; 0 with `shortened` or `kill`. Of a write, half of the bytes are written first. Or
                  // one of those above
  int k = -1;     // which of these calls, from 0; negative: none, they are counted
  std::string part = {};    // of the file's path (the old one of a rename)
  std::string folder = {};  // where the file lies, at any depth; "": anywhere
  bool shortened = false;   // succeeds with half of the bytes
  bool lasting = false;     // those after it, too
  Kill kill = Kill::no;
};

/// While it lives. Of all threads; one at a time.
class Fault {
 public:
  explicit Fault(FaultPlan plan);
  Fault(std::string call, int error, int k, std::string part = "", bool lasting = false)
      : Fault(
            {.call = std::move(call), .error = error, .k = k, .part = std::move(part), .lasting = lasting}) {}
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  int count() const;
};

/// From now on the calls to files under `folder` are appended to a file outside it, which
/// tests/torture/trace.h reads; those of children at the end of the program, without what they did.
void trace_calls(const std::string& file, const std::string& folder);

}  // namespace vitral::test
