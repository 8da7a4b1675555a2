#include "cli/command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/home.h"
#include "base/threads.h"
#include "cli/pages.h"
#include "processes/launch.h"
#include "tensor/device.h"

namespace vitral::cli {
namespace {

constexpr const char* home_folder = "home folder";

CLI::Validator expands_home() {
  return {[](std::string& text) {
            try {
              text = expand_home(text);
              return std::string();
            } catch (const UsageError& e) {
              return std::string(e.what());
            }
          },
          "", home_folder};
}

// The check of an option that takes a whole number, with a message a person can read.
CLI::Validator whole_number(std::int64_t lowest) {
  return {[lowest](std::string& text) {
            std::int64_t value = 0;
            const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (problem == std::errc() && end == text.data() + text.size() && value >= lowest)
              return std::string();
            const char* most = problem == std::errc::result_out_of_range ? " and < 2^63" : "";
            return fmt::format("must be an integer >= {}{}, not {}", lowest, most, text);
          },
          fmt::format("INT >= {}", lowest)};
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

// Of the program, as they were given.
std::vector<std::string> given_arguments;

std::vector<std::string> without_processes() {
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < given_arguments.size(); ++i) {
    const std::string& word = given_arguments[i];
    if (word == "--processes")
      ++i;
    else if (!word.starts_with("--processes="))
      rest.push_back(word);
  }
  return rest;
}

}  // namespace

Option& Option::required(bool is) {
  option_->required(is);
  return *this;
}

Option& Option::description(const std::string& text) {
  option_->description(text);
  return *this;
}

Option& Option::type_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::shows_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::takes_many() {
  option_->expected(1, -1);
  return *this;
}

Option& Option::takes_one_each_time() {
  option_->expected(1)->take_all();
  return *this;
}

Option& Option::is_text() {
  option_->get_validator(home_folder)->active(false);
  return *this;
}

Option& Option::excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}

Option& Option::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return *this;
}

Option& Option::at_least(std::int64_t lowest) {
  option_->check(whole_number(lowest));
  return *this;
}

Option& Option::between(int lowest, int highest) {
  option_->check(CLI::Range(lowest, highest));
  return *this;
}

Option& Option::between(double lowest, double highest) {
  option_->check(CLI::Range(lowest, highest));
  return *this;
}

Option& Option::valid(std::function<std::string(const std::string&)> problem) {
  option_->check([problem = std::move(problem)](const std::string& text) { return problem(text); });
  return *this;
}

Option& Option::positive() {
  option_->check(positive_number());
  return *this;
}

bool Option::given() const { return option_->count() > 0; }
std::string Option::name() const { return option_->get_name(); }

template <class T>
Option Command::option(const std::string& names, T& value, const std::string& what) {
  CLI::Option* option = app_->add_option(names, value, what);
  if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::vector<std::string>>)
    option->transform(expands_home());
  return Option(option);
}

template Option Command::option(const std::string&, std::string&, const std::string&);
template Option Command::option(const std::string&, std::vector<std::string>&, const std::string&);
template Option Command::option(const std::string&, int&, const std::string&);
template Option Command::option(const std::string&, std::int64_t&, const std::string&);
template Option Command::option(const std::string&, std::uint64_t&, const std::string&);
template Option Command::option(const std::string&, std::vector<std::int64_t>&, const std::string&);
template Option Command::option(const std::string&, double&, const std::string&);
template Option Command::option(const std::string&, std::optional<float>&, const std::string&);

Option Command::flag(const std::string& names, bool& value, const std::string& what) {
  return Option(app_->add_flag(names, value, what));
}

Option Command::existing(const std::string& name) { return Option(app_->get_option(name)); }

void Command::takes_processes() {
  processes_ = std::make_shared<int>(1);
  option("--processes", *processes_,
         "share the work between so many processes of this machine, each with its share of the cores; on "
         "several machines: mpirun -n N vitral ... (docs/processes.md)")
      .type_name("N")
      .between(1, 1 << 16);
}

void Command::run(std::function<void()> work) {
  app_->callback([work = std::move(work), processes = processes_] {
    if (processes && *processes > 1) std::exit(start_processes(*processes, without_processes()));
    const int threads = cpu_threads();
    VITRAL_CHECK(threads <= most_threads, "OMP_NUM_THREADS: must be an integer from 1 to {}, not {}",
                 most_threads, threads);
    try_threads(threads);
    if (processes) prefer_gpu(local_rank());
    work();
  });
}

Program::Program(const std::string& what, const std::string& version)
    : app_(std::make_unique<CLI::App>(what)) {
  app_->set_version_flag("--version", version);
  app_->require_subcommand(1);
}

Program::~Program() = default;

Command Program::command(const std::string& name, const std::string& what, const std::string& example) {
  auto* command = app_->add_subcommand(name, what);
  command->footer("Example:\n  " + example);
  return Command(command);
}

void Program::run(int argc, char** argv) {
  if (argc == 3 && argv[1] == std::string_view("--write-pages")) return write_pages(*app_, argv[2]);
  if (argc > 1 && argv[1][0] != '-') {
    const auto commands = app_->get_subcommands({});
    if (std::none_of(commands.begin(), commands.end(), [&](auto* c) { return c->get_name() == argv[1]; }))
      throw_error<UsageError>("unknown command '{}'; see vitral --help", argv[1]);
  }
  given_arguments.assign(argv + 1, argv + argc);
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() != static_cast<int>(CLI::ExitCodes::Success))
      throw_error<UsageError>("{}; see vitral --help", e.what());
    app_->exit(e);  // --help, --version
  }
}

}  // namespace vitral::cli
