// Signals that ask a run to stop after the step at hand: SIGINT, SIGTERM, and what batch systems send before
// the time is over (SIGHUP, SIGUSR1, SIGXCPU).
#pragma once
#include <string>

namespace vitral {

/// While one lives, the first of these signals (and any further one) only sets a flag; of SIGHUP, SIGUSR1 and
/// SIGXCPU those that the caller ignores, as nohup does, stay ignored. Where several live, as scopes within
/// each other, they share the flag, which the outermost clears; all in one thread.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() const { return signal() != 0; }
  /// The number of the signal that came, or 0.
  int signal() const;
};

/// "SIGTERM".
std::string signal_name(int signal);

}  // namespace vitral
