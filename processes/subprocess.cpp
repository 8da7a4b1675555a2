#include "processes/subprocess.h"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral {
namespace {

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    if (!changes.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  for (const auto& [name, value] : changes) out.push_back(name + "=" + value);
  return out;
}

}  // namespace

Subprocess::Subprocess(const std::string& program, std::vector<std::string> words, const Options& options) {
  // All that allocates comes before the fork: another thread may hold the allocator's lock.
  auto environment = environment_with(options.environment);
  const auto argv = pointers_to(words), envp = pointers_to(environment);
  process_ = ::fork();
  if (process_ < 0) throw_error("{}: cannot start a process: {}", options.what, std::strerror(errno));
  if (process_ > 0) return;
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (options.out >= 0) ::dup2(options.out, STDOUT_FILENO);
  if (options.err >= 0) ::dup2(options.err, STDERR_FILENO);
  ::execvpe(program.c_str(), argv.data(), envp.data());
  const std::string line =
      "vitral: " + options.what + ": " + std::strerror(errno) + "; " + options.remedy + "\n";
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
  ::_exit(2);
}

Subprocess::~Subprocess() {
  if (!running()) return;
  send(SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Subprocess::running() {
  int how = 0;
  if (process_ > 0 && ::waitpid(process_, &how, WNOHANG) == process_) {
    process_ = -1;
    status_ = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
  }
  return process_ > 0;
}

void Subprocess::send(int signal) const {
  if (process_ > 0) ::kill(process_, signal);
}

}  // namespace vitral
