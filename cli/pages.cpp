#include "cli/pages.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/files/atomic.h"

namespace vitral::cli {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  CLI::detail::split(text, at).swap(parts);
  return parts;
}

std::vector<std::string> names_of(const CLI::Option& option) {
  if (option.get_positional()) return {option.get_name(true, false)};
  std::vector<std::string> names;
  for (const auto& name : option.get_snames()) names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

OptionPage describe(const CLI::Option& option) {
  OptionPage out{.names = names_of(option),
                 .description = option.get_description(),
                 .by_place = option.get_positional(),
                 .required = option.get_required(),
                 .repeats = option.get_expected_max() == CLI::detail::expected_max_vector_size};
  std::vector<std::string> rules;
  // CLI11 says it as WORD:RULE:RULE, and choices as {a,b}.
  std::vector<std::string> types = split(option.get_type_name(), ':');
  if (option.get_type_size() != 0 && !types.empty()) {
    out.value = types.front();
    for (auto rule = types.begin() + 1; rule != types.end(); ++rule) {
      if (rule->starts_with("{"))
        out.choices = split(rule->substr(1, rule->size() - 2), ',');
      else
        rules.push_back(*rule);
    }
    if (!option.get_default_str().empty()) rules.push_back("default: " + option.get_default_str());
  }
  std::vector<std::string> excluded;
  for (const auto* other : option.get_excludes()) excluded.push_back(other->get_name());
  std::sort(excluded.begin(), excluded.end());  // CLI11 has them by their addresses
  if (!excluded.empty()) rules.push_back(fmt::format("not with {}", fmt::join(excluded, ", ")));
  out.rule = fmt::format("{}", fmt::join(rules, "; "));
  return out;
}

CommandPage describe(const CLI::App& command) {
  CommandPage out{.name = command.get_name(), .description = command.get_description()};
  constexpr std::string_view head = "Example:\n  ";  // Program::command
  for (const auto& line : split(command.get_footer().substr(head.size()), '\n'))
    out.examples += line.substr(std::min(line.find_first_not_of(' '), line.size())) + "\n";
  for (const auto* option : command.get_options())
    if (!option->get_group().empty()) out.options.push_back(describe(*option));
  std::stable_partition(out.options.begin(), out.options.end(),
                        [](const OptionPage& o) { return o.by_place; });
  return out;
}

}  // namespace

void write_pages(const CLI::App& program, const std::string& folder) {
  std::vector<CommandPage> commands;
  for (const auto* command : program.get_subcommands({})) commands.push_back(describe(*command));
  const auto write = [&](const std::string& name, const std::string& text) {
    write_file(folder + "/" + name, text);
  };
  for (const auto& command : commands) write("vitral-" + command.name + ".1", manual_page(command));
  write("vitral.1", manual_page(program.get_description(), commands));
  write("vitral.bash", bash_completion(commands));
  write("_vitral", zsh_completion(commands));
}

}  // namespace vitral::cli
