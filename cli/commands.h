// The subcommands of `vitral`, one file each. add_NAME() describes the options and sets the callback that
// does the work; errors are thrown (base/error.h) and become one line and an exit status in main.cpp.
#pragma once
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace vitral::cli {

/// Adds a subcommand with an example that stands at the end of its --help.
inline CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what,
                             const std::string& example) {
  auto* command = app.add_subcommand(name, what);
  command->footer("Example:\n  " + example);
  return command;
}

void add_shapes(CLI::App& app);
void add_pack(CLI::App& app);
void add_teach(CLI::App& app);
void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_embed(CLI::App& app);
void add_activate(CLI::App& app);
void add_search(CLI::App& app);
void add_report(CLI::App& app);
void add_convert(CLI::App& app);
void add_info(CLI::App& app);

}  // namespace vitral::cli
