#include "base/signals.h"

#include <array>
#include <csignal>
#include <cstring>
#include <ctime>

namespace vitral {
namespace {

volatile std::sig_atomic_t received = 0;
int living = 0;
constexpr std::array stops{SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU};
std::array<struct sigaction, stops.size()> before;
sigset_t held, mask_before;

void remember(int signal) { received = signal; }

// What came meanwhile waits with the kernel.
void collect() {
  constexpr timespec at_once{};
  for (int signal = 0; (signal = ::sigtimedwait(&held, nullptr, &at_once)) > 0;) received = signal;
}

}  // namespace

// oneDNN's sgemm (2.6) keeps numbers below the stack pointer, where a handler overwrites them: stopped runs
// ended with a corrupted heap. So no handler runs in a thread that computes: the signals are blocked here, in
// OpenMP's threads, and in all that are started later, and asked for. The handlers are for threads that the
// caller had before, of which the kernel may choose one.
StopSignals::StopSignals() {
  if (living++ > 0) return;
  received = 0;
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;  // reads and writes of the loader and of checkpoints go on
  sigemptyset(&action.sa_mask);
  sigemptyset(&held);
  for (std::size_t i = 0; i < stops.size(); ++i) {
    sigaction(stops[i], nullptr, &before[i]);
    if (stops[i] != SIGINT && stops[i] != SIGTERM && before[i].sa_handler == SIG_IGN) continue;
    sigaddset(&held, stops[i]);
  }
  pthread_sigmask(SIG_BLOCK, &held, &mask_before);
#pragma omp parallel
  pthread_sigmask(SIG_BLOCK, &held, nullptr);
  for (std::size_t i = 0; i < stops.size(); ++i)
    if (sigismember(&held, stops[i])) sigaction(stops[i], &action, nullptr);
}

StopSignals::~StopSignals() {
  if (--living > 0) return;
  collect();
  for (std::size_t i = 0; i < stops.size(); ++i) sigaction(stops[i], &before[i], nullptr);
  pthread_sigmask(SIG_SETMASK, &mask_before, nullptr);
}

const StopSignals& StopSignals::until_exit() {
  static const auto* const signals = [] {
    std::signal(SIGPIPE, SIG_IGN);
    return new StopSignals;
  }();
  return *signals;
}

int StopSignals::signal() const {
  collect();
  return received;
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return std::string("SIG") + (name ? name : std::to_string(signal));
}

}  // namespace vitral
