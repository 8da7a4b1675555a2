// A program that runs beside this one, without a share in its terminal: Ctrl-C reaches us, and we ask it.
#pragma once
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

namespace vitral {

/// This very program, also where its file has been replaced since it started.
constexpr const char* this_program = "/proc/self/exe";

class Subprocess {
 public:
  struct Options {
    std::map<std::string, std::string> environment = {};  // over ours
    int out = -1, err = -1;                               // descriptors of its stdout and stderr; -1: ours
    std::string what = {}, remedy = {};  // of the line where it does not start: "what: REASON; remedy"
  };

  /// Starts `program`, which is looked up in PATH, with argv `words`. It ends with SIGTERM when this process
  /// is killed. Where it is not there it ends with status 2 and a line on its stderr. To be called by the
  /// thread that lives until it ends. Error: the system starts no process.
  Subprocess(const std::string& program, std::vector<std::string> words, const Options& options);
  /// Kills it where it runs.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t id() const { return process_; }
  bool running();
  void send(int signal) const;
  /// When it has ended: its exit status, or 128 + the signal that ended it.
  int status() const { return status_; }

 private:
  pid_t process_ = -1;  // -1: it has ended
  int status_ = 0;
};

}  // namespace vitral
