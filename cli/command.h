// What a subcommand takes and does. CLI11 parses behind it, in command.cpp alone: its headers cost a file
// that includes them five seconds.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace vitral::cli {

/// An option or an argument by place; each function returns the option itself.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required(bool is = true);
  Option& description(const std::string& text);
  /// The word that stands for the value in --help.
  Option& type_name(const std::string& name);
  /// --help shows the value that it has now.
  Option& shows_default();
  /// Of a list: as many values as follow it, at least one; or one for each time it is given.
  Option& takes_many();
  Option& takes_one_each_time();
  /// The value is text, not a path: ~ at its beginning is no home folder.
  Option& is_text();
  Option& excludes(const Option& other);

  /// What is allowed. An error names the option, the value and this.
  Option& one_of(const std::vector<std::string>& values);
  Option& at_least(std::int64_t lowest);
  Option& between(int lowest, int highest);
  Option& between(double lowest, double highest);
  /// `problem(text)` says what is wrong with a value: "must be ..., not ..."; "": nothing.
  Option& valid(std::function<std::string(const std::string&)> problem);
  /// A number that float32 can hold and divide by: >= 1e-30.
  Option& positive();

  bool given() const;
  std::string name() const;

 private:
  CLI::Option* option_;
};

/// A subcommand. Values are written to where the caller keeps them until the program ends.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  /// names: "file" (by place), "--long", "-s,--long". T: std::string, a type of number, or a std::vector of
  /// these. Text is taken as a path, whose ~ is the home folder (base/home.h), unless is_text() says
  /// otherwise.
  template <class T>
  Option option(const std::string& names, T& value, const std::string& what);
  Option flag(const std::string& names, bool& value, const std::string& what);
  /// One that was added before.
  Option existing(const std::string& name);
  /// Adds --processes N, with which N processes run this command instead of this one (processes/launch.h).
  void takes_processes();
  /// What is done when all values are known and allowed.
  void run(std::function<void()> work);

 private:
  CLI::App* app_;
  std::shared_ptr<int> processes_;
};

class Program {
 public:
  Program(const std::string& what, const std::string& version);
  ~Program();

  /// Adds a subcommand with an example that stands at the end of its --help.
  Command command(const std::string& name, const std::string& what, const std::string& example);
  /// Parses, and runs the subcommand; prints --help and --version, writes what cli/pages.h makes. UsageError:
  /// a wrong request.
  void run(int argc, char** argv);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace vitral::cli
