#include <cctype>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/pages.h"

namespace vitral::cli {
namespace {

// Text that man(7) shows as it is.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  if (out.starts_with(".")) out.insert(0, "\\&");  // no request
  return out;
}

std::string bold(std::string_view text) { return "\\fB" + shown(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + shown(text) + "\\fR"; }

std::string head(std::string_view name, std::string_view description) {
  std::string title(name);
  for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return fmt::format(".TH \"{}\" 1 \"\" \"vitral {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n", shown(title),
                     shown(VITRAL_VERSION), shown(name), shown(description));
}

std::string value_of(const OptionPage& option) {
  std::string out;
  if (!option.choices.empty()) {
    std::vector<std::string> words;
    for (const auto& choice : option.choices) words.push_back(bold(choice));
    out = fmt::format(" {}", fmt::join(words, "|"));
  } else if (!option.value.empty()) {
    out = " " + italic(option.value);
  }
  return option.repeats && !out.empty() ? out + "..." : out;
}

std::string place_of(const OptionPage& option) {
  const std::string name = italic(option.names.front()) + (option.repeats ? "..." : "");
  return option.required ? name : "[" + name + "]";
}

std::string entry(const OptionPage& option) {
  std::vector<std::string> names;
  for (const auto& name : option.names) names.push_back(option.by_place ? place_of(option) : bold(name));
  std::string out =
      fmt::format(".TP\n{}{}\n", fmt::join(names, ", "), option.by_place ? "" : value_of(option));
  out += shown(option.description);
  std::string rule = option.rule;
  if (option.required && !option.by_place) rule = rule.empty() ? "required" : "required; " + rule;
  if (!rule.empty()) out += " (" + shown(rule) + ")";
  return out + "\n";
}

constexpr std::string_view ends = R"(.SH EXIT STATUS
.TP
0
The work is done.
.TP
1
It failed: a damaged file, a full disk, a training that diverged.
.TP
2
The request was wrong: an option, a file that is not there, shapes that do not fit.
.PP
An error is one line on standard error that says what is wrong, where, and what to do.
)";

}  // namespace

std::string manual_page(const CommandPage& command) {
  std::string out = head("vitral-" + command.name, command.description);
  out += ".SH SYNOPSIS\n" + bold("vitral " + command.name) + " [" + italic("OPTION") + "]...";
  for (const auto& option : command.options)
    if (option.by_place) out += " " + place_of(option);
  out += "\n.SH OPTIONS\n";
  for (const auto& option : command.options) out += entry(option);
  out += ends;
  out += ".SH EXAMPLE\n.nf\n";
  std::string_view rest = command.examples;
  for (std::size_t end; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1))
    out += shown(rest.substr(0, end)) + "\n";
  return out + ".fi\n.SH SEE ALSO\n.BR vitral (1)\n";
}

std::string manual_page(const std::string& description, const std::vector<CommandPage>& commands) {
  std::string what = description;
  if (what.ends_with(".")) what.pop_back();
  what[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(what[0])));
  std::string out = head("vitral", what);
  out += ".SH SYNOPSIS\n" + bold("vitral") + " " + italic("COMMAND") + " [" + italic("OPTION") +
         "]...\n.br\n" + bold("vitral") + " " + italic("COMMAND") + " " + bold("--help") + "\n.SH COMMANDS\n";
  for (const auto& command : commands)
    out += fmt::format(".TP\n.BR {} (1)\n{}\n", shown("vitral-" + command.name), shown(command.description));
  out += ".SH OPTIONS\n.TP\n" + bold("-h") + ", " + bold("--help") +
         "\nwhat there is, of a command its options\n.TP\n" + bold("--version") + "\nthe version\n";
  return out += ends;
}

}  // namespace vitral::cli
