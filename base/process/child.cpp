#include "base/process/child.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fstream>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files/input_file.h"
#include "base/process/sandbox.h"

namespace vitral {
namespace {

// Where nothing counts: a child that waits for ever uses no CPU time.
constexpr int patience_seconds = 3600;

std::uint64_t address_space() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// The descriptors [first, end).
void close_all(unsigned first, unsigned end) {
  if (first >= end || ::close_range(first, end - 1, 0) == 0) return;
  for (; first < std::min(end, 65536U); ++first) ::close(static_cast<int>(first));  // Linux before 5.9
}

// What only the parent shall have: its files, its handlers of signals, what it says on the terminal.
void leave_the_parents(int descriptor, int socket) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
  sigset_t held;
  sigfillset(&held);
  for (const int signal : {SIGXCPU, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS})
    sigdelset(&held, signal);
  ::sigprocmask(SIG_SETMASK, &held, nullptr);
  const auto low = static_cast<unsigned>(std::min(descriptor, socket)),
             high = static_cast<unsigned>(std::max(descriptor, socket));
#ifdef __SANITIZE_ADDRESS__
  constexpr unsigned first = 3;  // its reports
#else
  constexpr unsigned first = 0;  // the C library writes there of a damaged heap
#endif
  close_all(first, low);
  close_all(low + 1, high);
  close_all(high + 1, ~0U);
  ::prctl(PR_SET_DUMPABLE, 0);
}

[[noreturn]] void run(const std::function<void(Channel&)>& work, int descriptor, Descriptor socket) {
  leave_the_parents(descriptor, socket);
  forbid_the_outside();
  int status = 0;
  try {
    Channel parent(std::move(socket));
    work(parent);
    parent.flush();
  } catch (const ChannelClosed&) {  // the parent is through
  } catch (...) {
    status = 1;
  }
  ::_exit(status);  // nothing of the parent's is flushed or destroyed
}

Descriptor start(pid_t& pid, int descriptor, const std::function<void(Channel&)>& work) {
  int pair[2] = {-1, -1};
  const auto fail = [] {
    throw_error<ReadError>("a process cannot be started: {}; end others, or raise the limit",
                           std::strerror(errno));
  };
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail();
  Descriptor ours(pair[0]), childs(pair[1]);
  // No handler of the parent's may run in the child.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  pid = ::fork();
  if (pid == 0) run(work, descriptor, std::move(childs));
  const int why = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = why;
  if (pid < 0) fail();
  return ours;
}

}  // namespace

Child::Child(int descriptor, const std::function<void(Channel&)>& work)
    : channel_(start(pid_, descriptor, work)), first_bytes_(address_space()) {
  channel_.set_patience(patience_seconds);
}

Child::~Child() {
  channel_.shut_down();
  if (running_) reap();
}

void Child::allow(const Limits& limits) {
  clockid_t clock{};
  timespec used{};
  if (!running_ || ::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return;
  const auto set = [&](auto which, std::uint64_t value, std::uint64_t& before) {
    rlimit limit{};
    if (value == before || ::prlimit(pid_, which, nullptr, &limit) != 0) return;
    limit.rlim_cur = std::min<rlim_t>(value, limit.rlim_max);
    ::prlimit(pid_, which, &limit, nullptr);
    before = value;
  };
  set(RLIMIT_CPU, static_cast<std::uint64_t>(used.tv_sec) + 1 + limits.cpu_seconds, cpu_limit_);
  if (first_bytes_ > 0) set(RLIMIT_AS, first_bytes_ + limits.bytes, memory_limit_);
}

void Child::reap() {
  running_ = false;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0)
    if (errno != EINTR) return;  // somebody else has waited for it
  if (WIFEXITED(status)) end_.how = fmt::format("status {}", WEXITSTATUS(status));
  if (!WIFSIGNALED(status)) return;
  const int signal = WTERMSIG(status);
  end_.how = fmt::format("signal {}", signal);
  if (signal == SIGXCPU) end_.why = End::Why::too_slow;
  if (signal == SIGKILL) end_.why = End::Why::killed;
}

const Child::End& Child::end(const ChannelClosed& closed) {
  if (!running_) return end_;
  // One that is silent still has its end of the socket, so it is still there.
  if (closed.silent) ::kill(pid_, SIGKILL);
  reap();
  if (closed.silent) end_.why = End::Why::too_slow;
  return end_;
}

}  // namespace vitral
