#include "base/signals.h"

#include <array>
#include <csignal>
#include <cstring>

namespace vitral {
namespace {

volatile std::sig_atomic_t received = 0;
int living = 0;
constexpr std::array stops{SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU};
std::array<struct sigaction, stops.size()> before;

void remember(int signal) { received = signal; }

// oneDNN's sgemm (2.6) keeps numbers below the stack pointer, where a handler on the same stack overwrites
// them: three of twelve stopped runs ended with a corrupted heap. This thread's handlers get a stack
// of their own; of all threads that can take a signal of the process, the kernel prefers the first.
void use_another_stack() {
  stack_t now = {};
  if (sigaltstack(nullptr, &now) != 0 || (now.ss_flags & SS_DISABLE) == 0) return;  // somebody gave it one
  static char memory[1 << 16];  // SIGSTKSZ, with the registers of AMX and room to spare
  stack_t other = {};
  other.ss_sp = memory;
  other.ss_size = sizeof(memory);
  sigaltstack(&other, nullptr);
}

}  // namespace

StopSignals::StopSignals() {
  if (living++ > 0) return;
  received = 0;
  use_another_stack();
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART | SA_ONSTACK;  // reads and writes of the loader and of checkpoints go on
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < stops.size(); ++i) {
    sigaction(stops[i], &action, &before[i]);
    if (stops[i] != SIGINT && stops[i] != SIGTERM && before[i].sa_handler == SIG_IGN)
      sigaction(stops[i], &before[i], nullptr);
  }
}

StopSignals::~StopSignals() {
  if (--living > 0) return;
  for (std::size_t i = 0; i < stops.size(); ++i) sigaction(stops[i], &before[i], nullptr);
}

int StopSignals::signal() const { return received; }

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return std::string("SIG") + (name ? name : std::to_string(signal));
}

}  // namespace vitral
