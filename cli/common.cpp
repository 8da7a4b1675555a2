#include "cli/common.h"

#include <cstdio>
#include <filesystem>

#include <unistd.h>

#include "base/error.h"

namespace vitral::cli {

void EncoderArguments::add_to(Command& command) {
  command.option("weights", weights, "run folder, checkpoint, .safetensors or .pt")
      .required()
      .type_name("WEIGHTS");
  command.option("--device", device, "cpu, cuda, cuda:N or auto").shows_default();
  command.option("--attention", attention, "override the file: neighbourhood or full")
      .one_of({"neighbourhood", "full"});
  command.option("--window", window, "override the file: patches a side of the neighbourhood, odd")
      .at_least(1);
  command.option("--same-norm", same_norm, "override the file: true or false").one_of({"true", "false"});
  command.option("--temperature", temperature, "of the softmax over patches").shows_default().positive();
}

models::Encoder EncoderArguments::load() const {
  models::EncoderOverrides overrides;
  if (!attention.empty()) overrides.attention = attention;
  if (window > 0) overrides.window = window;
  if (!same_norm.empty()) overrides.same_norm = same_norm == "true";
  overrides.temperature = temperature;
  return models::Encoder::load(weights, parse_device(device), overrides);
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
