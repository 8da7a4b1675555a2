#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/pages.h"

namespace vitral::cli {
namespace {

std::vector<std::string> words_of(const CommandPage& command) {
  std::vector<std::string> words;
  for (const auto& option : command.options)
    if (!option.by_place) words.insert(words.end(), option.names.begin(), option.names.end());
  return words;
}

std::vector<std::string> names_of(const std::vector<CommandPage>& commands) {
  std::vector<std::string> names(commands.size());
  std::ranges::transform(commands, names.begin(), &CommandPage::name);
  return names;
}

// In single quotes, with a backslash before each of `special`.
std::string quoted(std::string_view text, std::string_view special) {
  std::string out = "'";
  for (const char c : text) {
    if (special.find(c) != special.npos) out += '\\';
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return out + "'";
}

}  // namespace

// Where nothing fits, bash completes names of files.
std::string bash_completion(const std::vector<CommandPage>& commands) {
  std::string values, options;
  for (const auto& command : commands) {
    for (const auto& option : command.options)
      if (!option.choices.empty())
        for (const auto& name : option.names)
          values +=
              fmt::format("    {}:{}) words='{}' ;;\n", command.name, name, fmt::join(option.choices, " "));
    options += fmt::format("    {}) words='{}' ;;\n", command.name, fmt::join(words_of(command), " "));
  }
  return fmt::format(R"(# Completion of vitral for bash, made by the program itself.
_vitral() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '{} --help --version' -- "$word")
    return
  fi
  # --option=value is three words.
  if [[ $word == = ]]; then word='' before=${{COMP_WORDS[COMP_CWORD - 1]}}; fi
  if [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD - 2]}}; fi
  case ${{COMP_WORDS[1]}}:$before in
{}  esac
  if [[ ! $words && $word == -* ]]; then
    case ${{COMP_WORDS[1]}} in
{}    esac
  fi
  [[ $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}
complete -o default -F _vitral vitral
)",
                     fmt::join(names_of(commands), " "), values, options);
}

std::string zsh_completion(const std::vector<CommandPage>& commands) {
  std::string list, cases;
  for (const auto& command : commands) {
    list += fmt::format("    {}\n", quoted(command.name + ":" + command.description, "\\"));
    cases += fmt::format("    {})\n      _arguments", command.name);
    for (const auto& option : command.options) {
      if (option.by_place) continue;
      for (const auto& name : option.names) {
        std::string spec = option.repeats ? "*" : "";
        spec += name;
        if (!option.value.empty()) spec += name.starts_with("--") ? "=" : "+";
        std::string text;
        for (const char c : option.description)
          text += c == '[' || c == ']' || c == '\\' ? std::string{'\\', c} : std::string{c};
        spec += "[" + text + "]";
        if (!option.choices.empty())
          spec += fmt::format(":{}:({})", option.value, fmt::join(option.choices, " "));
        else if (!option.value.empty())
          spec += ":" + option.value + ":_files";
        cases += " \\\n        " + quoted(spec, "");
      }
    }
    cases += " \\\n        '*:file:_files' ;;\n";
  }
  return fmt::format(R"(#compdef vitral
# Completion of vitral for zsh, made by the program itself.
_vitral() {{
  local -a commands=(
{}  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  shift words
  ((CURRENT--))
  case $words[1] in
{}  esac
}}
_vitral "$@"
)",
                     list, cases);
}

}  // namespace vitral::cli
