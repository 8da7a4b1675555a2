// `vitral ablate`: every run is trained and measured as by hand, an interruption of any kind costs nothing, a
// run that fails is a row.
#include <filesystem>

#include <fmt/ranges.h>

#include "data/benchmarks/shapes.h"
#include "tests/cli/small_run.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::Program;
using test::put_file;
using test::Result;
using test::run;

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A little of the shapes benchmark, and a student of one layer.
class Shapes {
 public:
  Shapes() {
    data::write_shapes(folder_ / "train.h5", 56, 0, data::Split::train);
    data::write_shapes(folder_ / "val.h5", 24, 0, data::Split::val);
    put_file(base(), fmt::format("model: {{image_size: 64, patch_size: 16, width: 64, layers: 1, heads: 4}}\n"
                                 "data: {{train: [{}], val: [{}], augment: none}}\n"
                                 "train: {{batch_size: 16, epochs: 2, log_every: 1, device: cpu,\n"
                                 "        scheduler: {{name: constant}}}}\n",
                                 folder_ / "train.h5", folder_ / "val.h5"));
  }
  std::string base() const { return folder_ / "base.yaml"; }
  std::string grid() const { return folder_ / "grid.yaml"; }
  std::string output() const { return folder_ / "out"; }
  std::string run_of(const std::string& variant, int seed) const {
    return fmt::format("{}/runs/{}/{}", output(), variant, seed);
  }
  void put_grid(const std::string& variants, const std::string& seeds = "[0, 1]") const {
    put_file(grid(), fmt::format("base: {}\nseeds: {}\nvariants:\n{}", base(), seeds, variants));
  }
  Program::Arguments arguments(const Program::Arguments& more = {}) const {
    Program::Arguments out{"ablate", grid(), "-o", output()};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  Result operator()(const Program::Arguments& more = {}) const { return run(arguments(more)); }
  json results() const { return json::parse(test::bytes_of_file(output() + "/ablation.json")); }

 private:
  test::TempDir folder_;
};

const std::string two_variants = "  masked: {}\n  full: {model.attention: full}\n";

TEST(Ablate, RunsAreTrainedAndMeasuredAsByHand) {
  const Shapes shapes;
  shapes.put_grid(two_variants);
  const Result r = shapes({"--jobs", "2", "--json", "train.optimizer.lr=2e-3"});
  expect_done(r);
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 4) << r.err;
  EXPECT_TRUE(contains(r.err, "4/4 ")) << r.err;
  const json results = json::parse(r.out);
  EXPECT_EQ(results, shapes.results());
  EXPECT_EQ(results["done"], 4);

  const std::string by_hand = shapes.output() + "-by-hand";
  expect_done(run({"train", shapes.base(), "model.attention=full", "train.seed=1", "train.optimizer.lr=2e-3",
                   "train.output=" + by_hand}));
  test::expect_same_run(by_hand, shapes.run_of("full", 1));
  const json e =
      test::json_of(run({"eval", by_hand, fs::path(shapes.base()).replace_filename("val.h5"), "--json"}));
  const json& row = results["variants"][1]["runs"][1];
  EXPECT_EQ(row["pointing_game"], e["pointing_game"]);
  EXPECT_EQ(row["mean_iou"], e["segmentation"]["mean_iou"]);
  EXPECT_EQ(row["cosine"], e["cosine"]);
  EXPECT_EQ(row["loss"], e["loss"]);
  EXPECT_EQ(row["parameters"], test::json_of(run({"info", by_hand, "--json"}))["parameters"]);
  EXPECT_GT(row["seconds"], 0);
  EXPECT_LT(row["seconds"], 60);
  const json& first = results["variants"][0];
  const json& summary = results["variants"][1]["summary"]["cosine"];
  const auto cosine = [&](int variant, int seed) {
    return results["variants"][variant]["runs"][seed]["cosine"].get<double>();
  };
  EXPECT_NEAR(summary["mean"], (cosine(1, 0) + cosine(1, 1)) / 2, 1e-12);
  EXPECT_NEAR(summary["difference"]["mean"], (cosine(1, 0) + cosine(1, 1) - cosine(0, 0) - cosine(0, 1)) / 2,
              1e-12);
  EXPECT_EQ(first["name"], "masked");
  EXPECT_EQ(results["variants"][1]["overrides"], json{"model.attention=full"});
  for (const char* file : {"/ablation.md", "/ablation.html", "/ablation.svg"})
    EXPECT_TRUE(contains(test::bytes_of_file(shapes.output() + file), "masked")) << file;

  // What is done stays as it is, another variant joins.
  const auto before = test::contents_of(shapes.output() + "/runs");
  const Result again = shapes({"train.optimizer.lr=2e-3"});
  expect_done(again);
  EXPECT_EQ(again.err, "");
  EXPECT_TRUE(contains(again.out, "pointing game")) << again.out;
  EXPECT_TRUE(test::contents_of(shapes.output() + "/runs") == before);
  shapes.put_grid(two_variants + "  short: {train.max_steps: 1}\n", "[1]");
  const Result more = shapes({"train.optimizer.lr=2e-3", "--dry-run"});
  expect_done(more);
  EXPECT_TRUE(contains(more.out,
                       "masked, seed 1: done\nfull, seed 1: done\nshort, seed 1: 1 steps\n"
                       "1 of 3 runs are left: about 0:0"))
      << more.out;
  EXPECT_TRUE(contains(more.out, " of training, one after the other, from the images/s of 2 of its runs\n"));

  expect_failure(
      shapes({"train.optimizer.lr=3e-3"}), 2,
      shapes.run_of("masked", 1) +
          ": holds a run of another configuration (train.optimizer.lr: 0.002, not 0.003); give the "
          "variant another name, choose another folder with -o, or remove that run");
  EXPECT_TRUE(test::contents_of(shapes.output() + "/runs") == before);
}

TEST(Ablate, DryRunShowsWhatWouldRun) {
  const Shapes shapes;
  shapes.put_grid(two_variants, "[3]");
  const Result r = shapes({"--dry-run"});
  expect_done(r);
  EXPECT_TRUE(
      contains(r.out, "masked, seed 3: 8 steps\nfull, seed 3: 8 steps\n2 of 2 runs are left: about 0:0"))
      << r.out;
  EXPECT_TRUE(contains(
      r.out, " of training, one after the other, if all train as fast as masked, seed 3 did just now, "))
      << r.out;
  const json out = test::json_of(shapes({"--dry-run", "--json"}));
  EXPECT_EQ(out["left"], 2);
  EXPECT_GT(out["seconds_left"], 0);
  EXPECT_EQ(out["runs"][1]["folder"], shapes.run_of("full", 3));
  EXPECT_EQ(out["runs"][1]["steps"], 8);
  EXPECT_EQ(out["runs"][1]["done"], false);
  EXPECT_FALSE(fs::exists(shapes.output()));
}

TEST(Ablate, AFailedRunIsARow) {
  const Shapes shapes;
  shapes.put_grid("  narrow: {model.width: 32}\n  masked: {}\n", "[0]");
  const Result r = shapes();
  const std::string why =
      fs::path(shapes.base()).replace_filename("train.h5").string() +
      ": /embeddings are 64 wide, model.width is 32; embed with the teacher that fits, or "
      "set model.width=64";
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "1/2 narrow, seed 0: failed: " + why + "\n2/2 masked, seed 0: pointing game "))
      << r.err;
  EXPECT_TRUE(
      r.err.ends_with("\nvitral: " + shapes.output() +
                      ": 1 of 2 runs failed; log.txt in their folders says more, the same command tries "
                      "them again\n"))
      << r.err;
  EXPECT_TRUE(contains(r.out, "narrow, seed 0: failed: " + why + "\n")) << r.out;
  const json results = shapes.results();
  EXPECT_EQ(results["variants"][0]["runs"][0]["state"], "failed");
  EXPECT_EQ(results["variants"][0]["runs"][0]["error"], why);
  EXPECT_EQ(results["variants"][1]["runs"][0]["state"], "done");
  EXPECT_EQ(results["failed"], 1);
  EXPECT_TRUE(contains(test::bytes_of_file(shapes.run_of("narrow", 0) + "/log.txt"), why));
  // Nothing was trained there, so another configuration may have the folder.
  shapes.put_grid("  narrow: {}\n  masked: {}\n", "[0]");
  expect_done(shapes());
  expect_done(shapes({"--background", "0.1", "0.4"}));  // measured again, not trained
  const auto background = [&](const std::string& t) {
    return test::json_of(
               run({"eval", shapes.run_of("masked", 0), fs::path(shapes.base()).replace_filename("val.h5"),
                    "--json", "--background", t}))["segmentation"]["mean_iou"]
        .get<double>();
  };
  EXPECT_EQ(shapes.results()["variants"][1]["runs"][0]["background_iou"],
            std::max(background("0.1"), background("0.4")));
  EXPECT_EQ(shapes.results()["failed"], 0);
}

// Its program: a training, or a measurement.
pid_t child_of(const Program& program) {
  pid_t child = 0;
  std::ifstream(fmt::format("/proc/{0}/task/{0}/children", program.id())) >> child;
  return child;
}

// Long enough to be interrupted.
constexpr const char* many_epochs = "train.epochs=60";

// Waits until a run has trained some steps; false where it has ended before.
bool has_begun(Program& program, const std::string& folder) {
  return test::wait_for([&] { return !program.running() || test::metrics(folder).size() >= 6; }) &&
         program.running();
}

void expect_as_by_hand(const Shapes& shapes, const std::string& folder) {
  const std::string by_hand = shapes.output() + "-by-hand";
  expect_done(run({"train", shapes.base(), many_epochs, "train.output=" + by_hand}));
  test::expect_same_run(by_hand, folder);
}

TEST(Ablate, KilledGoesOn) {
  const Shapes shapes;
  shapes.put_grid(two_variants, "[0]");
  {
    Program program(shapes.arguments({many_epochs}));
    ASSERT_TRUE(has_begun(program, shapes.run_of("masked", 0)));
    program.send(SIGKILL);
    EXPECT_EQ(program.wait().status, 128 + SIGKILL);
  }
  // At once: what it had started may still save its checkpoint.
  expect_done(shapes({many_epochs}));
  EXPECT_EQ(shapes.results()["done"], 2);
  expect_as_by_hand(shapes, shapes.run_of("masked", 0));
}

TEST(Ablate, StopsAtACheckpointAndGoesOn) {
  const Shapes shapes;
  shapes.put_grid(two_variants, "[0]");
  {
    Program program(shapes.arguments({many_epochs, "--jobs", "2"}));
    ASSERT_TRUE(has_begun(program, shapes.run_of("masked", 0)));
    program.send(SIGINT);
    const Result r = program.wait();
    EXPECT_EQ(r.status, 1);
    EXPECT_EQ(r.err, "vitral: " + shapes.output() +
                         ": stopped by SIGINT; what is done is kept, run the same command again to go on\n");
    EXPECT_TRUE(contains(r.out, "masked, seed 0: not run yet\n")) << r.out;
  }
  const std::string folder = shapes.run_of("masked", 0);
  std::ifstream state(test::latest(folder) + "/state.json");
  EXPECT_TRUE(state.good());
  const Result dry = shapes({many_epochs, "--dry-run"});
  EXPECT_TRUE(contains(dry.out, "masked, seed 0: goes on near step ")) << dry.out << dry.err;
  expect_done(shapes({many_epochs, "--jobs", "2"}));
  expect_as_by_hand(shapes, folder);
}

TEST(Ablate, AProgramThatIsKilledIsARow) {
  const Shapes shapes;
  shapes.put_grid(two_variants, "[0]");
  Program program(shapes.arguments({many_epochs}));
  ASSERT_TRUE(has_begun(program, shapes.run_of("masked", 0)));
  ASSERT_GT(child_of(program), 0);
  ::kill(child_of(program), SIGKILL);
  ASSERT_TRUE(has_begun(program, shapes.run_of("full", 0)));
  ::kill(child_of(program), SIGTERM);
  const Result r = program.wait();
  EXPECT_EQ(r.status, 1);
  const json results = shapes.results();
  EXPECT_EQ(results["variants"][0]["runs"][0]["error"], "was ended by SIGKILL");
  EXPECT_EQ(results["variants"][1]["runs"][0]["error"], "was stopped by SIGTERM");
  expect_done(shapes({many_epochs}));
  expect_as_by_hand(shapes, shapes.run_of("masked", 0));
}

TEST(Ablate, EveryConfigurationIsCheckedBeforeAnyRuns) {
  const Shapes shapes;
  const auto refused = [&](const Program::Arguments& more, const std::string& message) {
    expect_failure(shapes(more), 2, message);
    EXPECT_FALSE(fs::exists(shapes.output()));
  };
  const std::string at = shapes.grid() + ":6: variant full: ";
  shapes.put_grid("  masked: {}\n  other: {}\n  full: {model.atention: full}\n");
  refused(
      {},
      at + "override model.atention=full: unknown key; did you mean attention? valid keys of model: kind, " +
          [] {
            std::vector<std::string> names;
            for (const auto& field : models::student_fields()) names.push_back(field.name);
            return fmt::format("{}", fmt::join(names, ", "));
          }() +
          ", vision, text, init_from");
  shapes.put_grid("  masked: {}\n  other: {}\n  full: {model.layers: 0}\n");
  refused({}, at + "override model.layers=0: must be an integer from 1 to 1024, not 0");
  shapes.put_grid("  masked: {}\n  other: {}\n  full: {data.train: none.h5}\n");
  refused({}, at + "override data.train=none.h5: none.h5: no such file");
  shapes.put_grid("  masked: {}\n  other: {}\n  full: {data.val: []}\n");
  refused({}, at + "data.val: is empty; variants are compared on validation data");
  shapes.put_grid(two_variants);
  refused({"train.epochs=0"},
          shapes.grid() + ": override train.epochs=0: must be an integer from 1 to 1073741824, not 0");
  put_file(shapes.base(), "model: {layers: x}\n");
  refused({}, shapes.base() + ":1: model.layers: must be an integer from 1 to 1024, not x");
  fs::remove(shapes.base());
  refused({}, shapes.base() + ": no such configuration file");
}

}  // namespace
}  // namespace vitral
