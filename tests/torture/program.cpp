#include "tests/torture/program.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace vitral::torture {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The same for every case, whoever starts the campaign. One thread multiplies: several programs run at once.
std::vector<std::string> environment(const Tools& tools, const std::string& folder, const Command& command) {
  std::vector<std::string> out{"LC_ALL=C", "HOME=" + folder, "OMP_NUM_THREADS=1", "GOMP_SPINCOUNT=1000"};
  for (const char* name : {"PATH", "LD_LIBRARY_PATH"})
    if (const char* value = std::getenv(name)) out.push_back(fmt::format("{}={}", name, value));
  if (!command.fault.empty() || !command.trace.empty()) {
    out.push_back("LD_PRELOAD=" + tools.shim);
    out.push_back("VITRAL_FAULT_FOLDER=" + folder);
    out.push_back("VITRAL_FAULT=" + command.fault);
    out.push_back("VITRAL_TRACE=" + command.trace);
  }
  out.insert(out.end(), command.environment.begin(), command.environment.end());
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::string contents(int descriptor) {
  std::string out(static_cast<std::size_t>(::lseek(descriptor, 0, SEEK_END)), '\0');
  out.resize(read_at(descriptor, 0, out.data(), out.size()));
  return out;
}

std::string quoted(const std::string& text) {
  if (!text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                              "_-+=./,:") == std::string::npos)
    return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

}  // namespace

Program::Program(const Tools& tools, const std::string& folder, const Command& command)
    : command_(command),
      out_(::memfd_create("stdout", MFD_CLOEXEC)),
      err_(::memfd_create("stderr", MFD_CLOEXEC)),
      begin_(now()) {
  std::vector<std::string> words = command.wrapper, variables = environment(tools, folder, command);
  words.push_back(tools.vitral);
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  const std::vector<char*> arguments = pointers(words), environment = pointers(variables);
  id_ = ::fork();
  if (id_ < 0) throw_error("cannot start {}: {}", tools.vitral, std::strerror(errno));
  if (id_ == 0) {
    ::dup2(::open("/dev/null", O_RDONLY), 0);
    ::dup2(out_, 1);
    ::dup2(err_, 2);
    for (const auto& [resource, value] : command.limits) {
      const rlimit limit{value, value};
      ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
    }
    if (::chdir(folder.c_str()) == 0) ::execvpe(arguments[0], arguments.data(), environment.data());
    ::_exit(126);
  }
  process_ = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, id_, 0)));
  if (process_ < 0) throw_error("pidfd_open: {}; this needs Linux 5.3", std::strerror(errno));
}

Program::~Program() {
  if (id_ < 0) return;
  ::kill(id_, SIGKILL);
  ::waitpid(id_, nullptr, 0);
}

bool Program::ends_within(double seconds) const {
  const double end = now() + seconds;
  for (;;) {
    pollfd ended{process_, POLLIN, 0};
    const int n = ::poll(&ended, 1, static_cast<int>(std::max(0.0, 1000 * (end - now())) + 0.999));
    if (n > 0) return true;
    if (n == 0 && now() >= end) return false;
  }
}

Result Program::wait() {
  Result out;
  if (command_.kill_after >= 0 && !ends_within(begin_ + command_.kill_after - now())) ::kill(id_, SIGKILL);
  if (!ends_within(begin_ + command_.hangs_after - now())) {
    out.hung = true;
    ::kill(id_, SIGKILL);
  }
  int status = 0;
  rusage used{};
  ::wait4(id_, &status, 0, &used);
  id_ = -1;
  out.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (out.status == 126) throw_error("the program cannot be started");
  out.out = contents(out_);
  out.err = contents(err_);
  out.seconds = now() - begin_;
  out.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
  out.peak_memory = std::int64_t{1024} * used.ru_maxrss;
  return out;
}

std::string shell_line(const Command& command) {
  std::string line, limits;
  for (const auto& variable : command.environment) line += fmt::format("{} ", quoted(variable));
  if (!command.fault.empty())
    line += fmt::format("LD_PRELOAD=\"$SHIM\" VITRAL_FAULT_FOLDER=\"$PWD\" VITRAL_FAULT={} ",
                        quoted(command.fault));
  if (command.kill_after >= 0) line += fmt::format("timeout -s KILL {:.4f} ", command.kill_after);
  for (const auto& word : command.wrapper) line += fmt::format("{} ", quoted(word));
  line += "\"$VITRAL\"";
  for (const auto& argument : command.arguments) line += fmt::format(" {}", quoted(argument));
  const std::pair<int, const char*> names[] = {
      {RLIMIT_NOFILE, "n"}, {RLIMIT_AS, "v"}, {RLIMIT_NPROC, "u"}, {RLIMIT_FSIZE, "f"}, {RLIMIT_CPU, "t"}};
  for (const auto& [resource, value] : command.limits)
    for (const auto& [number, letter] : names)
      if (number == resource)
        limits += fmt::format("ulimit -{} {} && ", letter,
                              resource == RLIMIT_AS      ? value / 1024
                              : resource == RLIMIT_FSIZE ? value / 512
                                                         : value);
  return limits.empty() ? line : fmt::format("({}{})", limits, line);
}

}  // namespace vitral::torture
