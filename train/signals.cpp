#include "train/signals.h"

#include <csignal>

namespace vitral::train {
namespace {

volatile std::sig_atomic_t received = 0;
int living = 0;
struct sigaction before_interrupt, before_terminate;

void remember(int signal) { received = signal; }

}  // namespace

StopSignals::StopSignals() {
  if (living++ > 0) return;
  received = 0;
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;  // reads and writes of the loader and of checkpoints go on
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before_interrupt);
  sigaction(SIGTERM, &action, &before_terminate);
}

StopSignals::~StopSignals() {
  if (--living > 0) return;
  sigaction(SIGINT, &before_interrupt, nullptr);
  sigaction(SIGTERM, &before_terminate, nullptr);
}

int StopSignals::signal() const { return received; }

}  // namespace vitral::train
