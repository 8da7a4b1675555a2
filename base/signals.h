// SIGINT and SIGTERM ask a run to stop after the step at hand.
#pragma once

namespace vitral {

/// While one lives, the first SIGINT or SIGTERM (and any further one) only sets a flag. Where several live,
/// as scopes within each other, they share the flag, which the outermost clears; all in one thread.
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

}  // namespace vitral
