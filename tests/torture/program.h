// One start of the program that is tortured: what it gets, what came of it.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/types.h>

#include "base/files/descriptor.h"

namespace vitral::torture {

struct Command {
  std::vector<std::string> arguments;
  std::string fault = {};                           // VITRAL_FAULT of tests/torture/preload.cpp; "": none
  std::string trace = {};                           // a file for the record of its calls; "": none
  double kill_after = -1;                           // seconds until SIGKILL; negative: never
  double hangs_after = 60;                          // seconds; then it is killed, and counts as hung
  std::vector<std::string> environment = {};        // NAME=VALUE
  std::vector<std::pair<int, rlim_t>> limits = {};  // of setrlimit()
  std::vector<std::string> wrapper = {};            // what starts it: taskset, setpriv, ...
};

struct Result {
  int status = -1;  // exit status, or 128 + the signal that ended it
  bool hung = false;
  std::string out, err;
  double seconds = 0;  // on the clock
  double cpu_seconds = 0;
  std::int64_t peak_memory = 0;  // bytes

  bool killed() const { return status == 128 + 9 && !hung; }
};

/// Where the program and the library with its faults lie.
struct Tools {
  std::string vitral, shim, server;
};

/// A running one, for those who send it signals; run() is all that others need.
class Program {
 public:
  /// folder: where it runs; the calls to files in it count for faults and traces.
  Program(const Tools& tools, const std::string& folder, const Command& command);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t id() const { return id_; }
  /// False where it has not ended after so many seconds.
  bool ends_within(double seconds) const;
  /// Waits, kills it when the command says so.
  Result wait();

 private:
  Command command_;
  Descriptor out_, err_, process_;
  pid_t id_ = -1;
  double begin_ = 0;
};

/// The command as a line for a shell that stands in the folder: $VITRAL and $SHIM are the tools.
std::string shell_line(const Command& command);

}  // namespace vitral::torture
