#include "ablate/grid.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "ablate/plan.h"
#include "tests/support.h"

namespace vitral::ablate {
namespace {

using test::message_of;
using test::put_file;
using test::TempDir;

TEST(Grid, ReadsWhatTheContractSays) {
  const TempDir dir;
  put_file(dir / "grid.yaml",
           "base: configs/shapes.yaml\n"
           "overrides: {train.epochs: 4, data.train: [a.h5, \"b, c.h5\"]}\n"
           "seeds: [2, 0]\n"
           "variants:\n"
           "  the seed: {}\n"
           "  nothing:\n"
           "  mixed (a+b): {model.attention: [full, neighbourhood], train.scheduler: {name: cosine, min_lr: "
           "1e-5}}\n");
  const Grid grid = read_grid(dir / "grid.yaml");
  EXPECT_EQ(grid.base, "configs/shapes.yaml");
  EXPECT_EQ(grid.overrides, (Overrides{"train.epochs=4", "data.train=[a.h5, \"b, c.h5\"]"}));
  EXPECT_EQ(grid.seeds, (std::vector<std::int64_t>{2, 0}));
  ASSERT_EQ(grid.variants.size(), 3U);
  EXPECT_EQ(grid.variants[0].name, "the seed");
  EXPECT_EQ(grid.variants[0].overrides, Overrides{});
  EXPECT_EQ(grid.variants[1].overrides, Overrides{});
  EXPECT_EQ(grid.variants[2].line, 7);
  EXPECT_EQ(grid.variants[2].overrides, (Overrides{"model.attention=[full, neighbourhood]",
                                                   "train.scheduler={name: cosine, min_lr: 1e-5}"}));
}

TEST(Grid, RefusesWhatIsNone) {
  const std::string valid = "base: a.yaml\nseeds: [0]\nvariants: {a: {}}\n";
  struct Case {
    std::string text, message;
  };
  const std::string names =
      " names a folder: 1 to 100 bytes, none of them / or \\ or a control character, no . or space at the "
      "beginning, no space at the end";
  for (const Case& c : {
           Case{"", ": is empty; a grid has the keys base, overrides, seeds, variants"},
           {"- a\n", ":1: grid: must be a map, not [a]"},
           {valid + "variant: {}\n",
            ":4: variant: unknown key; valid keys: base, overrides, seeds, variants"},
           {valid + "base: b.yaml\n", ":4: grid: base is given twice; keep one"},
           {"seeds: [0]\nvariants: {a: {}}\n",
            ": base is missing; a grid has the keys base, overrides, seeds, variants"},
           {"base: a.yaml\nvariants: {a: {}}\n",
            ": seeds is missing; a grid has the keys base, overrides, seeds, variants"},
           {"base: a.yaml\nseeds: [0]\n",
            ": variants is missing; a grid has the keys base, overrides, seeds, variants"},
           {"base: [a.yaml]\n", ":1: base: must name a configuration file, not [a.yaml]"},
           {"base: a\nseeds: []\n",
            ":2: seeds: must be a list of at least one integer, such as [0, 1, 2], not []"},
           {"base: a\nseeds: 3\n",
            ":2: seeds: must be a list of at least one integer, such as [0, 1, 2], not 3"},
           {"base: a\nseeds: [0, -1]\n", ":2: seeds: must be integers >= 0, not -1"},
           {"base: a\nseeds: [0, 1.5]\n", ":2: seeds: must be integers >= 0, not 1.5"},
           {"base: a\nseeds: [0,\n 0]\n", ":3: seeds: 0 is given twice; keep one"},
           {"base: a\nseeds: [0]\nvariants: {}\n",
            ":3: variants: must hold at least one; the first is what others are compared with"},
           {"variants:\n  a: {}\n  a: {}\n", ":3: variants: a is given twice; keep one"},
           {"variants:\n  a/b: {}\n", ":2: variants: \"a/b\"" + names},
           {"variants:\n  ..: {}\n", ":2: variants: \"..\"" + names},
           {"variants:\n  ? ''\n  : {}\n", ":2: variants: \"\"" + names},
           {"variants:\n  a: 3\n", ":2: variant a: must be a map, not 3"},
           {"variants:\n  a: {train.seed: 3}\n",
            ":2: variant a: train.seed is set by vitral ablate; list them under seeds"},
           {"overrides: {train.output: runs/x}\n",
            ":1: overrides: train.output is set by vitral ablate; runs lie in the folder that -o names"},
           {"variants:\n  a: {model.layers: &x [*x]}\n", ":2: a value is nested deeper than any key takes"},
           {"base: a\n  b: c\n", ":2: not valid YAML: illegal map value"},
           {valid + "---\n" + valid,
            ": more than one YAML document, or something stray behind it; a grid is one"},
       }) {
    const TempDir dir;
    const std::string path = dir / "grid.yaml";
    put_file(path, c.text);
    EXPECT_EQ(message_of([&] { read_grid(path); }), path + c.message) << c.text;
  }
  EXPECT_EQ(message_of([] { read_grid("none.yaml"); }), "none.yaml: no such grid file");
}

// Of the files that come with the program every variant is a configuration, and has a place in the page.
TEST(Grid, OfTheProgramAreValid) {
  const std::string page = test::bytes_of_file("docs/research.md");
  int grids = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs/ablations")) {
    const Grid grid = read_grid(entry.path().string());
    ++grids;
    EXPECT_NE(page.find("<!-- table " + entry.path().stem().string() + " -->"), std::string::npos)
        << entry.path();
    for (const Variant& variant : grid.variants) {
      Overrides overrides = grid.overrides;
      overrides.insert(overrides.end(), variant.overrides.begin(), variant.overrides.end());
      EXPECT_EQ(message_of([&] { train::load_config(grid.base, overrides); }), "no error")
          << entry.path() << ": " << variant.name;
    }
  }
  EXPECT_GE(grids, 3);
}

TEST(PlannedRun, CountsStepsAndImages) {
  ablate::Run run;
  run.config.train.batch_size = 16;
  run.config.train.epochs = 3;
  run.epoch_images = 40;  // 16 + 16 + 8
  EXPECT_EQ(run.total_steps(), 9);
  EXPECT_EQ(run.images_of(0), 0);
  EXPECT_EQ(run.images_of(2), 32);
  EXPECT_EQ(run.images_of(3), 40);
  EXPECT_EQ(run.images_of(9), 120);
  run.config.train.max_steps = 4;
  EXPECT_EQ(run.total_steps(), 4);
}

}  // namespace
}  // namespace vitral::ablate
