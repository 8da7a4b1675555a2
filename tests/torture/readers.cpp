// Several at once: readers of a run that writes and removes checkpoints, two writers of one file, two
// trainings in one folder, and files that change while they are read.
#include <array>
#include <csignal>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/support.h"
#include "tests/torture/kind.h"
#include "tests/torture/outcome.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

const Arguments train{"train", "config.yaml", "--resume", "auto"};

class Readers : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    expected_run_ = outcome_of(shop / "run");
    fs::create_directories(shop / "readers");
    for (const char* name : {"photos", "student.safetensors", "plain.h5", "teacher"})
      fs::copy(shop / name, shop / (std::string("readers/") + name), fs::copy_options::recursive);
    for (const auto& [name, arguments, output] : writers_) {
      const Result r = Program(shop.tools, shop / "readers", {.arguments = arguments}).wait();
      if (r.status != 0) throw_error("undisturbed, {} ends with {}: {}", name, r.status, r.err);
      written_[name] = contents_of(shop / ("readers/" + output));
    }
  }

  bool run(Case& c) override {
    switch (c.random.below(4)) {
      case 0:
        beside_a_training(c);
        break;
      case 1:
        two_writers(c);
        break;
      case 2:
        two_trainings(c);
        break;
      default:
        a_file_that_changes(c);
    }
    return true;
  }

 private:
  struct Writer {
    std::string name;
    Arguments arguments;
    std::string output;
  };

  static void take_training(Case& c) {
    for (const char* name : {"train.h5", "val.h5", "config.yaml"}) c.take(name);
  }

  void beside_a_training(Case& c) const {
    take_training(c);
    for (const char* name : {"photos", "teacher"}) c.take(name);
    const auto training = c.start({.arguments = {"train", "config.yaml", "train.checkpoint_every=1",
                                                 "train.keep=1", "train.epochs=40"}});
    const std::array<Arguments, 6> readers{{{"info", "run"},
                                            {"eval", "run", "val.h5"},
                                            {"embed", "run", "photos", "-o", "e.h5"},
                                            {"activate", "run", "val.h5", "-o", "a.png"},
                                            {"convert", "run", "s.safetensors", "--force"},
                                            {"report", "run", "val.h5", "-o", "r.html"}}};
    c.tried = 0;
    while (!training->ends_within(0)) {
      const Arguments& reader = readers[c.random.below(readers.size())];
      c.command = "reader beside a training";
      const bool there = fs::exists(c / "run/checkpoints/latest");
      const Result r = c.run({.arguments = reader});
      ++c.tried;
      if (r.status != 0 && there) c.expect(false, reader[0] + " reads the run", r.err);
      if (r.status != 0) c.expect_one_line(r);
      if (!c.failures().empty()) return;
    }
    const Result r = training->wait();
    c.expect(r.status == 0, "the training ends with 0", r.err);
  }

  void two_writers(Case& c) const {
    const auto& [name, arguments, output] = writers_[c.random.below(writers_.size())];
    c.command = "two writers, " + name;
    for (const char* file : {"photos", "student.safetensors", "plain.h5", "teacher"}) c.take(file);
    const auto first = c.start({.arguments = arguments});
    first->ends_within(c.random.uniform(0, 0.1));
    const auto second = c.start({.arguments = arguments});
    const std::array results{first->wait(), second->wait()};
    for (const auto& r : results)
      if (r.status != 0 && c.expect_one_line(r))
        c.expect(r.err.find(output) != std::string::npos, "the line names the file", r.err);
    c.expect(results[0].status == 0 || results[1].status == 0, "one of two writers does its work",
             results[0].err + results[1].err);
    c.expect(contents_of(c / output) == written_.at(name), "the file of one writer alone");
  }

  void two_trainings(Case& c) const {
    c.command = "two trainings";
    take_training(c);
    const auto first = c.start({.arguments = train});
    first->ends_within(c.random.uniform(0, 0.5));
    const auto second = c.start({.arguments = train});
    const std::array results{first->wait(), second->wait()};
    for (const auto& r : results)
      if (r.status != 0) c.expect_one_line(r);
    c.expect(results[0].status == 0 || results[1].status == 0, "one of two trainings goes on",
             results[0].err + results[1].err);
    const std::string what = difference(expected_run_, outcome_of(c / "run"));
    c.expect(what.empty(), "the run folder of one training", what);
  }

  void a_file_that_changes(Case& c) const {
    const std::array<Arguments, 5> commands{{{"train", "config.yaml"},
                                             {"eval", "student.safetensors", "train.h5"},
                                             {"teach", "train.h5", "--teacher", "teacher", "--force"},
                                             {"report", "student.safetensors", "train.h5", "-o", "r.html"},
                                             {"info", "train.h5"}}};
    constexpr std::array changes{"removed", "replaced", "cut", "overwritten"};
    const Arguments& command = commands[c.random.below(commands.size())];
    const std::size_t change = c.random.below(changes.size());
    c.command = fmt::format("file {} while it is read", changes[change]);
    take_training(c);
    for (const char* name : {"student.safetensors", "teacher"}) c.take(name);
    const bool weights = c.random.below(3) == 0 && command[1] == "student.safetensors";
    const std::string file = c / (weights ? "student.safetensors" : "train.h5");
    const auto program = c.start({.arguments = command});
    program->ends_within(c.random.uniform(0, 0.3));
    switch (change) {
      case 0:
        fs::remove(file);
        break;
      case 1:
        test::put_file(file, test::bytes_of_file(c / "val.h5"));
        break;
      case 2:
        if (fs::exists(file)) fs::resize_file(file, c.random.below(fs::file_size(file)));
        break;
      default: {
        const std::string noise(4096, static_cast<char>(c.random.next()));
        for (int i = 0; i < 20 && fs::exists(file); ++i) {
          std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
          stream.seekp(static_cast<std::streamoff>(c.random.below(fs::file_size(file))));
          stream << noise;
        }
      }
    }
    const Result r = program->wait();
    if (c.expect_alive(r) && r.status != 0) c.expect_one_line(r);
  }

  std::vector<Writer> writers_{
      {"pack", {"pack", "photos", "-o", "p.h5", "--size", "300", "--force"}, "p.h5"},
      {"embed", {"embed", "student.safetensors", "photos", "-o", "e.h5"}, "e.h5"},
      {"teach", {"teach", "plain.h5", "--teacher", "teacher", "--force", "--views", "20"}, "plain.h5"},
      {"convert", {"convert", "student.safetensors", "s.pt", "--force"}, "s.pt"}};
  Outcome expected_run_;
  std::map<std::string, std::string> written_;
};

const Registered<Readers> registered{"readers", "readers beside writers, and writers beside each other"};

}  // namespace
}  // namespace vitral::torture
