// A program that is started often and costs little to start: loaded before `vitral` (LD_PRELOAD), main() is a
// server that forks for each command, when libraries are loaded and bound. What the child runs is the
// program's own main().
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/torture/server_protocol.h"

namespace {

using vitral::torture::ServerAnswer;
using vitral::torture::ServerRequest;

using Main = int(int, char**, char**);
Main* program = nullptr;

bool read_all(void* to, std::size_t bytes) {
  for (auto* at = static_cast<char*>(to); bytes > 0;) {
    const ssize_t n = ::read(0, at, bytes);
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

// In the child: its place, its limits, its streams, then the program.
int begin(const ServerRequest& request, char* text, char** environment) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<char*> arguments{text};
  for (std::size_t i = 0; i + 1 < request.bytes; ++i)
    if (text[i] == '\0') arguments.push_back(text + i + 1);
  const auto count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  if (::chdir(text) != 0) ::_exit(127);
  const int streams[] = {::open("/dev/null", O_RDONLY), ::open(".out", O_WRONLY | O_CREAT | O_TRUNC, 0600),
                         ::open(".err", O_WRONLY | O_CREAT | O_TRUNC, 0600)};
  for (int i = 0; i < 3; ++i) {
    ::dup2(streams[i], i);
    ::close(streams[i]);
  }
  for (const auto& [resource, value] : request.limits) {
    const rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
    if (resource >= 0) ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
  }
  return program(count, arguments.data(), environment);
}

int serve(int, char**, char** environment) {
  ServerRequest request;
  while (read_all(&request, sizeof request)) {
    std::string text(request.bytes, '\0');
    if (!read_all(text.data(), text.size())) break;
    const pid_t child = ::fork();
    if (child < 0) return 1;
    if (child == 0) return begin(request, text.data(), environment);
    ServerAnswer answer;
    const auto ended = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
    pollfd wait{ended, POLLIN, 0};
    int ready = 0;
    while ((ready = ::poll(&wait, 1, static_cast<int>(request.milliseconds))) < 0 && errno == EINTR) {
    }
    answer.hung = ready == 0;
    if (ready == 0) ::kill(-child, SIGKILL);
    ::close(ended);
    rusage used{};
    while (::wait4(child, &answer.status, 0, &used) < 0 && errno == EINTR) {
    }
    ::kill(-child, SIGKILL);  // what it left behind
    answer.cpu_milliseconds = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                              (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    answer.peak_kilobytes = used.ru_maxrss;
    if (::write(1, &answer, sizeof answer) != sizeof answer) break;
  }
  return 0;
}

}  // namespace

extern "C" int __libc_start_main(Main* main, int argc, char** argv, void (*begin)(), void (*end)(),
                                 void (*unload)(), void* stack) {
  program = main;
  const auto real = reinterpret_cast<decltype(&__libc_start_main)>(::dlsym(RTLD_NEXT, "__libc_start_main"));
  return real(serve, argc, argv, begin, end, unload, stack);
}
