#include "cli/common.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>

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
      ->check(at_least(1));
  command.add_option("--same-norm", same_norm, "override the file: true or false")
      ->check(CLI::IsMember({"true", "false"}));
  command.add_option("--temperature", temperature, "of the softmax over patches")
      ->capture_default_str()
      ->check(positive_number());
}

models::Encoder EncoderArguments::load() const {
  models::EncoderOverrides overrides;
  if (!attention.empty()) overrides.attention = attention;
  if (window > 0) overrides.window = window;
  if (!same_norm.empty()) overrides.same_norm = same_norm == "true";
  overrides.temperature = temperature;
  return models::Encoder::load(weights, parse_device(device), overrides);
}

CLI::Validator at_least(std::int64_t least) {
  return {[least](std::string& text) {
            std::int64_t value = 0;
            const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (problem == std::errc() && end == text.data() + text.size() && value >= least)
              return std::string();
            const char* most = problem == std::errc::result_out_of_range ? " and < 2^63" : "";
            return fmt::format("must be an integer >= {}{}, not {}", least, most, text);
          },
          fmt::format("INT >= {}", least)};
}

CLI::Validator positive_number() {
  return {[](std::string& text) {
            double value = 0;
            const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (problem == std::errc() && end == text.data() + text.size() && std::isfinite(value) &&
                value >= 1e-30)
              return std::string();
            return fmt::format("must be a number >= 1e-30, not {}", text);
          },
          "NUMBER >= 1e-30"};
}

void check_output(const std::string& output, const std::vector<std::string>& inputs) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string folder = fs::path(output).parent_path().string();
  if (!folder.empty() && !fs::is_directory(folder, ignored))
    throw_error<UsageError>("{}: cannot be created, there is no folder {}; create it first", output, folder);
  if (fs::is_directory(output, ignored)) throw_error<UsageError>("{}: is a directory, name a file", output);
  for (const auto& input : inputs)
    if (fs::equivalent(output, input, ignored))
      throw_error<UsageError>("{}: is one of the inputs; name another file for the output", output);
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
