// Damaged files of every format, through every command that reads it: one line and an exit status, whatever
// is in them; never a crash, a hang, or memory that the file does not justify.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "tests/support.h"
#include "tests/torture/kind.h"
#include "tests/torture/mutant_seeds.h"
#include "tests/torture/outcome.h"
#include "tests/torture/server.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

// Other than line breaks: C0, DEL, and C1 in UTF-8.
bool has_control_characters(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if ((c < 0x20 && c != '\n') || c == 0x7F || (c == 0xC2 && next >= 0x80 && next < 0xA0)) return true;
  }
  return false;
}

int count_of(const std::string& text, const std::string& what) {
  int n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

class Mutants : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    seeds_ = make_mutant_seeds(shop, shop / "mutants");
    for (const auto& seed : seeds_) {
      if (seed.kind != "hdf5" && !by_kind_.contains(seed.kind)) others_.push_back(seed.kind);
      by_kind_[seed.kind].push_back(&seed);
    }
  }

  bool run(Case& c) override {
    // Half of them are HDF5, which a library interprets.
    const auto& kind = by_kind_.at(c.number % 2 == 0 ? "hdf5" : others_[c.random.below(others_.size())]);
    const Seed& seed = *kind[c.random.below(kind.size())];
    const Arguments& arguments = seed.commands[c.random.below(seed.commands.size())];
    c.command = seed.kind;
    take_needed(c, seed, arguments);
    fs::create_directories(fs::path(c / seed.file).parent_path());
    test::put_file(c / seed.file, mutant(seed.bytes, seed.format, c.random));
    if (!server_) server_.emplace(c.shop.tools.vitral, c.shop.tools.server);
    const Result r = c.run({.arguments = arguments,
                            .hangs_after = 120,
                            .limits = {{RLIMIT_CPU, 10}, {RLIMIT_AS, std::size_t{3} << 30}}},
                           *server_);
    check(c, seed, arguments, r);
    return true;
  }

 private:
  // Whatever the arguments name that lies among the seeds' files, and what those name.
  static void take_needed(Case& c, const Seed& seed, const Arguments& arguments) {
    Arguments names = arguments;
    for (const auto& name : arguments) {
      if (name.ends_with(".yaml")) names.emplace_back("data.h5");
      if (name == "--list") names.emplace_back("in");
      if (name == "j.h5" && seed.file.ends_with(".teach")) names.emplace_back("j.h5");
    }
    for (const auto& name : names) {
      const std::string original = "mutants/" + name;
      std::error_code none;
      if (name.empty() || name.starts_with("-") || !fs::exists(c.shop / original, none)) continue;
      c.take(original, name);
      if (name == "in")  // a journal knows its images by their times
        for (const auto& entry : fs::recursive_directory_iterator(c / name))
          fs::last_write_time(entry.path(),
                              fs::last_write_time(c.shop / original / fs::relative(entry.path(), c / name)));
    }
  }

  static void check(Case& c, const Seed& seed, const Arguments& arguments, const Result& r) {
    const std::string shown = r.err.substr(0, 2000);
    if (!c.expect_alive(r)) return;
    c.expect(!has_control_characters(r.out) && !has_control_characters(r.err), "no control characters",
             r.out.substr(0, 2000) + "\n" + shown);
    c.expect(r.err.find("out of memory") == std::string::npos, "no more memory than the file justifies",
             shown);
    if (r.status != 0) {
      c.expect_one_line(r);
      c.expect(count_of("\n" + r.err, "\nvitral: ") == 1, "one line", shown);
    } else if (!seed.expected.empty()) {
      const auto output = std::find(arguments.begin(), arguments.end(), "-o");
      const std::string file = output == arguments.end() ? arguments[1] : output[1];
      const bool right = contents_of(c / file) == contents_of(c.shop / ("mutants/" + seed.expected));
      c.expect(right, "what an undisturbed command writes", file + " differs");
    }
  }

  std::vector<Seed> seeds_;
  std::map<std::string, std::vector<const Seed*>> by_kind_;
  std::vector<std::string> others_;
  std::optional<Server> server_;
};

const Registered<Mutants> registered{"mutants", "damaged files of every format", 2};

}  // namespace
}  // namespace vitral::torture
