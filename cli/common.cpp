#include "cli/common.h"

#include <cstdio>

#include <unistd.h>

namespace vitral::cli {

void EncoderArguments::add_to(CLI::App& command) {
  command.add_option("weights", weights, "run folder, checkpoint, .safetensors or .pt")
      ->required()
      ->type_name("WEIGHTS");
  command.add_option("--device", device, "cpu, cuda, cuda:N or auto")->capture_default_str();
  command.add_option("--attention", attention, "override the file: neighbourhood or full")
      ->check(CLI::IsMember({"neighbourhood", "full"}));
  command.add_option("--window", window, "override the file: patches a side of the neighbourhood, odd")
      ->check(CLI::PositiveNumber);
  command.add_option("--same-norm", same_norm, "override the file: true or false")
      ->check(CLI::IsMember({"true", "false"}));
  command.add_option("--temperature", temperature, "of the softmax over patches")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
}

infer::Encoder EncoderArguments::load() const {
  infer::EncoderOverrides overrides;
  if (!attention.empty()) overrides.attention = attention;
  if (window > 0) overrides.window = window;
  if (!same_norm.empty()) overrides.same_norm = same_norm == "true";
  overrides.temperature = temperature;
  return infer::Encoder::load(weights, parse_device(device), overrides);
}

std::function<void(std::int64_t, std::int64_t)> terminal_counter(const std::string& what) {
  if (isatty(STDERR_FILENO) == 0) return {};
  return [what](std::int64_t done, std::int64_t total) {
    std::fprintf(stderr, "\r%s %lld/%lld%s", what.c_str(), static_cast<long long>(done),
                 static_cast<long long>(total), done == total ? "\n" : "");
    std::fflush(stderr);
  };
}

}  // namespace vitral::cli
