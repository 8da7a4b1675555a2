// Signals that ask a run to stop after the step at hand: SIGINT, SIGTERM, and what batch systems send before
// the time is over (SIGHUP, SIGUSR1, SIGXCPU).
#pragma once
#include <string>

namespace vitral {

/// While one lives, the first of these signals (and any further one) only sets a flag; of SIGHUP, SIGUSR1 and
/// SIGXCPU those that the caller ignores, as nohup does, stay ignored. Where several live, as scopes within
/// each other, they share the flag, which the outermost clears; all in one thread. They are blocked in that
/// thread, in OpenMP's, and in those that are started meanwhile.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// One that lives as long as the process: a signal that comes while a command ends must not turn its exit
  /// status into that of a killed one. SIGPIPE is ignored then: a reader of our output that ends first (tee,
  /// on the same Ctrl-C) must not take with it what is to be kept.
  static const StopSignals& until_exit();

  bool requested() const { return signal() != 0; }
  /// The number of the signal that came, or 0.
  int signal() const;
};

/// "SIGTERM".
std::string signal_name(int signal);

}  // namespace vitral
