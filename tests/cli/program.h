// Runs the program `vitral` as a user does: arguments in; exit status, stdout and stderr out.
#pragma once
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support.h"

namespace vitral::test {

/// Hundreds of syncs take long on a disk and no time in memory. One thread a program: its matrices are tiny
/// and several programs run at once.
inline const bool environment_is_set = ::setenv("OMP_NUM_THREADS", "1", 0) == 0 &&
                                       ::access("/dev/shm", W_OK) == 0 &&
                                       ::setenv("TMPDIR", "/dev/shm", 0) == 0;

struct Result {
  int status = -1;  // exit status, or 128 + the signal that ended it
  std::string out, err;
};

class Program {
 public:
  using Arguments = std::vector<std::string>;

  /// `prepare` runs in the child before the program starts.
  explicit Program(const Arguments& arguments, const std::function<void()>& prepare = {}) {
    const char* path = std::getenv("VITRAL_PROGRAM");
    if (!path) throw_error("VITRAL_PROGRAM must name the program to test; run this with meson test");
    std::vector<char*> argv{const_cast<char*>(path)};
    for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    const std::string out = folder_ / "out", err = folder_ / "err";
    process_ = ::fork();
    if (process_ < 0) throw_error("cannot fork");
    if (process_ > 0) return;
    const int from = ::open("/dev/null", O_RDONLY);
    const int to = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int errors = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(from, 0);
    ::dup2(to, 1);
    ::dup2(errors, 2);
    if (prepare) prepare();
    ::execv(path, argv.data());
    ::_exit(127);
  }
  ~Program() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t id() const { return process_; }
  /// Nothing where the program has ended already (0 would be our own process group).
  void send(int signal) const {
    if (process_ > 0) ::kill(process_, signal);
  }
  bool running() {
    if (process_ > 0 && ::waitpid(process_, &status_, WNOHANG) == process_) process_ = 0;
    return process_ > 0;
  }
  Result wait() {
    if (process_ > 0) ::waitpid(process_, &status_, 0);
    process_ = 0;
    return {WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_),
            bytes_of_file(folder_ / "out"), bytes_of_file(folder_ / "err")};
  }

 private:
  TempDir folder_;
  pid_t process_ = 0;
  int status_ = 0;
};

inline Result run(const Program::Arguments& arguments) { return Program(arguments).wait(); }

/// Waits until condition() holds, for at most 60 s.
inline bool wait_for(const std::function<bool()>& condition) {
  for (int i = 0; i < 60000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

/// The program did its work and had nothing to complain about.
inline void expect_done(const Result& r) { EXPECT_EQ(r.status, 0) << r.err; }

/// What `--json` printed: one line, and nothing on stderr.
inline nlohmann::json json_of(const Result& r) {
  expect_done(r);
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 1) << r.out;
  return nlohmann::json::parse(r.out);
}

/// The program failed with exactly this line on stderr ("vitral: " left out) and nothing on stdout.
inline void expect_failure(const Result& r, int status, const std::string& message) {
  EXPECT_EQ(r.status, status);
  EXPECT_EQ(r.err, "vitral: " + message + "\n");
  EXPECT_EQ(r.out, "");
}

/// The name and the bytes of every file in a folder.
inline std::vector<std::pair<std::string, std::string>> contents_of(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      out.emplace_back(entry.path().string(), bytes_of_file(entry.path().string()));
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace vitral::test
