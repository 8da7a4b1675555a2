// One bit flips in a file of a run, or in a journal. What has a checksum is not used: the next older
// checkpoint is, the journal ends there, and the result is that of an undisturbed run.
#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "tests/support.h"
#include "tests/torture/jobs.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

class Flips : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    run_ = outcome_of(shop / "run");
    for (auto& u : run_undisturbed(shop))
      if (u.job->name == "teach" || u.job->name == "embed") begin_journal(shop, std::move(u));
  }

  bool run(Case& c) override {
    switch (c.number % 20) {
      case 0:
        resume(c, "checkpoints/latest");
        break;
      case 1:
        resume(c, "checkpoints/best");
        break;
      case 2:
        resume(c, "config.yaml");
        break;
      case 3:
        resume(c, "metrics.jsonl");
        break;
      case 4:
        resume(c, newest + "state.json");
        break;
      case 5:
        resume(c, newest + "model.safetensors");
        break;
      case 6:
        resume(c, newest + "optimizer.safetensors");
        break;
      case 7:
        journal(c, journals_[static_cast<std::size_t>(c.number / 20) % journals_.size()]);
        break;
      default:
        refuse(c);
        break;
    }
    return true;
  }

 private:
  inline static const std::string newest = "checkpoints/step-000000030/";

  struct Journal {
    Undisturbed of;
    std::string file;  // in the workshop
  };

  // The journal of a command that was killed as it had written some of its rows.
  void begin_journal(const Workshop& shop, Undisturbed u) {
    Case c(shop, "journal", 0, 0, shop / "journal");
    take(c, *u.job);
    const std::string suffix = "." + u.job->name;
    int writes = 0;
    for (const auto& call : u.calls) writes += call.call == "write" && call.path.ends_with(suffix);
    const Result r = c.run({.arguments = u.job->arguments,
                            .fault = fmt::format("write:0:{}:{}:kill-after", 3 * writes / 4, suffix)});
    const std::string name = u.job->old[0].first + suffix;
    if (!r.killed() || !fs::exists(c / name)) throw_error("{} leaves no journal: {}", u.job->name, r.err);
    copy_with_times(c / name, shop / name);
    journals_.push_back({std::move(u), name});
  }

  static void flip(Case& c, const std::string& name) {
    std::string bytes = test::bytes_of_file(c / name);
    const auto bit = c.random.below(8 * bytes.size());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    test::put_file(c / name, bytes);
  }

  // A finished run is resumed: it trains what the damaged checkpoint had.
  void resume(Case& c, const std::string& name) {
    c.command = "train --resume: " + fs::path(name).filename().string();
    for (const char* input : {"train.h5", "val.h5", "config.yaml", "run"}) c.take(input);
    flip(c, "run/" + name);
    const Result r = c.run({.arguments = {"train", "config.yaml", "--resume", "auto"}});
    if (!c.expect(r.status == 0, "the run goes on", fmt::format("exit status {}\n{}", r.status, r.err)))
      return;
    if (name.starts_with(newest))
      c.expect(r.err.find("step-000000030") != std::string::npos,
               "a warning that names the damaged checkpoint", r.err);
    Outcome there = outcome_of(c / "run"), expected = run_;
    if (name == "checkpoints/latest") {  // the next checkpoint writes it again; this run has none to write
      c.expect(!r.err.empty(), "a warning", r.err);
      there[name] = expected[name];
    }
    if (name == "metrics.jsonl")  // a flipped digit is another number
      for (Outcome* o : {&there, &expected})
        for (const char* text : {"metrics.jsonl", "metrics.jsonl.damaged"}) o->erase(text);
    const std::string what = difference(expected, there);
    c.expect(what.empty(), "the run folder of an undisturbed training", what);
  }

  // Several flips, each of which the cheapest command that reads the file refuses.
  void refuse(Case& c) {
    const char* files[] = {"model.safetensors", "optimizer.safetensors", "state.json",
                           "model.safetensors by name"};
    const std::string which = files[c.random.below(4)];
    const std::string file = newest + which.substr(0, which.find(' '));
    c.command = "refused: " + which;
    c.take("run");
    c.take("config.yaml");
    c.take("train.h5");
    c.take("val.h5");
    c.tried = 0;
    const std::string good = test::bytes_of_file(c / ("run/" + file));
    for (int i = 0; i < 5; ++i) {
      flip(c, "run/" + file);
      Command command{.arguments = {"convert", "run/" + newest, "out.pt"}};
      if (which.find(' ') != std::string::npos) command.arguments[1] = "run/" + file;
      if (which.starts_with("optimizer"))
        command.arguments = {"train", "config.yaml", "--resume", "run/" + newest};
      const Result r = c.run(command);
      ++c.tried;
      if (!c.expect_one_line(r)) break;
      test::put_file(c / ("run/" + file), good);
    }
  }

  static void journal(Case& c, const Journal& j) {
    c.command = j.of.job->name + ": journal";
    take(c, *j.of.job);
    c.take(j.file);
    flip(c, j.file);
    const Result r = c.run({.arguments = j.of.job->arguments});
    // A damaged first line is that of another journal, which is not thrown away unasked.
    if (r.status == 2 && r.err.find("--restart") != std::string::npos) {
      std::vector<std::string> again = j.of.job->arguments;
      again.emplace_back("--restart");
      expect_done(c, j.of, c.run({.arguments = again}), "with --restart");
    } else if (r.status == 2 && r.err.find("move it") != std::string::npos) {
      // With another beginning it is no journal, but somebody's file.
      fs::remove(c / j.file);
      expect_done(c, j.of, c.run({.arguments = j.of.job->arguments}), "with the file moved");
    } else {
      expect_done(c, j.of, r, "with a damaged journal");
    }
  }

  Outcome run_;
  std::vector<Journal> journals_;
};

const Registered<Flips> registered{"flips", "one bit is flipped"};

}  // namespace
}  // namespace vitral::torture
