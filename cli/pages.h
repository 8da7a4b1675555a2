// Manual pages and completion for shells, of what CLI11 knows of the commands.
#pragma once
#include <string>
#include <vector>

namespace CLI {
class App;
}  // namespace CLI

namespace vitral::cli {

/// What `vitral --write-pages FOLDER` does, for `meson install`. Into a folder that is there: vitral.1, and
/// vitral-COMMAND.1 for each command; vitral.bash and _vitral (zsh). Error: they cannot be written.
void write_pages(const CLI::App& program, const std::string& folder);

// --- Between its files ---

struct OptionPage {
  std::vector<std::string> names;  // "-o", "--output"; of an argument by place its name alone
  std::string value = {};          // the word that stands for it, "FILE"; "": a flag
  std::vector<std::string> choices = {};
  std::string description;
  std::string rule = {};  // "INT >= 1; default: 64"; "": none
  bool by_place = false, required = false, repeats = false;
};

struct CommandPage {
  std::string name, description;
  std::string examples = {};             // one a line
  std::vector<OptionPage> options = {};  // arguments by place first
};

/// A manual page in the language of man(7).
std::string manual_page(const CommandPage& command);
std::string manual_page(const std::string& description, const std::vector<CommandPage>& commands);
std::string bash_completion(const std::vector<CommandPage>& commands);
std::string zsh_completion(const std::vector<CommandPage>& commands);

}  // namespace vitral::cli
