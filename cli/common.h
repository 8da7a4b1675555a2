// Options and output that several subcommands share.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "models/student/encoder.h"

namespace vitral::cli {

/// Options of every command that loads a student: --device, --attention, --window, --same-norm,
/// --temperature.
struct EncoderArguments {
  std::string weights;
  std::string device = "auto";
  std::string attention;
  int window = 0;
  std::string same_norm;
  double temperature = 1;

  void add_to(Command& command);
  models::Encoder load() const;
};

/// Before any work: UsageError where the output's folder is not there, or the output is one of the inputs.
void check_output(const std::string& output, const std::vector<std::string>& inputs);

/// A counter "what 12/40" that redraws itself on a terminal and is silent elsewhere.
std::function<void(std::int64_t done, std::int64_t total)> terminal_counter(const std::string& what);

}  // namespace vitral::cli
