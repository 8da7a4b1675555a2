#include "ablate/report.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ablate/plot.h"
#include "tests/support.h"

namespace vitral::ablate {
namespace {

using nlohmann::json;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// Pointing game and seconds of three variants with two seeds; of the third one run failed, one has not run.
struct Example {
  Grid grid{.path = "grid.yaml",
            .base = "base.yaml",
            .overrides = {},
            .seeds = {0, 1},
            .variants = {{"the seed", {}, 5}, {"a|b <i>", {"model.attention=full"}, 6}, {"broken", {}, 7}}};
  std::vector<Run> runs;
  Results results;

  Example() {
    for (std::size_t v = 0; v < 3; ++v)
      for (const std::int64_t seed : grid.seeds) {
        Run& run = runs.emplace_back();
        run.variant = v;
        run.seed = seed;
        run.name = grid.variants[v].name + ", seed " + std::to_string(seed);
        run.config.train.output = "out/runs/" + grid.variants[v].name + "/" + std::to_string(seed);
      }
    const auto done = [](double pointing, double seconds) {
      return Outcome{
          .state = State::done, .error = {}, .values = {pointing, nan, nan, nan, nan, seconds, 1234567}};
    };
    results = {.grid = &grid,
               .runs = &runs,
               .outcomes = {done(0.5, 10),
                            done(0.7, 12),
                            done(0.4, 11),
                            done(0.598, 12.5),
                            {.state = State::begun, .error = "out of <memory>", .values = {}},
                            {}}};
  }
};

// Of two values the half width is t = tan(pi (0.975 - 0.5)) = 12.7062 times |a - b| / 2.
TEST(Results, SummariesByHand) {
  const Example e;
  EXPECT_EQ(e.results.measures(), (std::vector<std::size_t>{0, 5, 6}));
  const Summary first = e.results.summary(0, 0), second = e.results.summary(1, 0),
                third = e.results.summary(2, 0);
  EXPECT_NEAR(first.mean.mean, 0.6, 1e-12);
  EXPECT_NEAR(first.mean.high - 0.6, 12.7062 * 0.1, 1e-4);
  EXPECT_TRUE(std::isnan(first.difference.mean));
  EXPECT_NEAR(second.difference.mean, -0.101, 1e-12);  // -0.1 and -0.102
  EXPECT_NEAR(second.difference.high, -0.101 + 12.7062 * 0.001, 1e-6);
  EXPECT_TRUE(second.differs());
  EXPECT_FALSE(second.better(all_measures()[0]));
  EXPECT_FALSE(e.results.summary(1, 5).differs());
  EXPECT_TRUE(std::isnan(third.mean.mean));
  EXPECT_EQ(e.results.failed(), 1U);
  EXPECT_EQ(e.results.count(State::done), 4U);
}

TEST(Report, Markdown) {
  EXPECT_EQ(
      to_markdown(Example().results),
      "| variant | pointing game | seconds | parameters |\n"
      "|---|---|---|---|\n"
      "| the seed | 0.600 ± 1.271 | 11.0 ± 12.7 | 1,234,567 |\n"
      "| a\\|b \\<i\\> | 0.499 ± 1.258<br>**−0.101 ± 0.013** | 11.8 ± 9.5<br>+0.8 ± 3.2 | 1,234,567 |\n"
      "| broken | - | - | - |\n"
      "\n"
      "2 seeds: mean and 95 % interval (Student's t). Differences to \"the seed\" are paired by seed; they "
      "are marked where their interval leaves zero out.\n"
      "\n"
      "- broken, seed 0: failed: out of \\<memory\\>\n"
      "- broken, seed 1: not run yet\n");
}

TEST(Report, Text) {
  EXPECT_EQ(
      to_text(Example().results),
      "variant   pointing game        seconds    parameters\n"
      "the seed  0.600 ± 1.271    11.0 ± 12.7     1,234,567\n"
      "a|b <i>   0.499 ± 1.258 -   11.8 ± 9.5     1,234,567\n"
      "broken                -              -             -\n"
      "+ better, - worse than \"the seed\": the 95 % interval of the paired difference leaves zero out\n"
      "broken, seed 0: failed: out of <memory>\n"
      "broken, seed 1: not run yet\n");
}

TEST(Report, Json) {
  const json out = to_json(Example().results);
  EXPECT_EQ(out["done"], 4);
  EXPECT_EQ(out["failed"], 1);
  EXPECT_EQ(out["measures"][0],
            (json{{"key", "pointing_game"}, {"title", "pointing game"}, {"better", "more"}}));
  const json& second = out["variants"][1];
  EXPECT_EQ(second["overrides"], json{"model.attention=full"});
  EXPECT_EQ(second["runs"][1]["pointing_game"], 0.598);
  EXPECT_TRUE(second["runs"][1]["mean_iou"].is_null());
  EXPECT_EQ(second["summary"]["pointing_game"]["count"], 2);
  EXPECT_EQ(second["summary"]["pointing_game"]["difference"]["significant"], true);
  EXPECT_EQ(second["summary"]["pointing_game"]["difference"]["better"], false);
  EXPECT_EQ(second["summary"]["seconds"]["difference"]["significant"], false);
  EXPECT_TRUE(second["summary"]["seconds"]["difference"]["better"].is_null());
  EXPECT_FALSE(out["variants"][0]["summary"]["seconds"].contains("difference"));
  EXPECT_EQ(out["variants"][2]["runs"][0]["error"], "out of <memory>");
  EXPECT_EQ(out["variants"][2]["runs"][1]["state"], "not run");
  EXPECT_TRUE(out["variants"][2]["summary"]["seconds"]["mean"].is_null());
}

std::size_t count_of(const std::string& what, const std::string& in) {
  std::size_t n = 0;
  for (std::size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) ++n;
  return n;
}

TEST(Plot, HasAPointForEachSeedAndEscapesNames) {
  const Example e;
  const std::string svg = plot_svg(e.results);
  EXPECT_EQ(count_of("r=\"2.6\"", svg), 8U);  // two measures, four runs
  EXPECT_EQ(count_of("r=\"4\"", svg), 4U);    // two measures, two variants with a mean
  EXPECT_EQ(count_of(">none<", svg), 2U);
  EXPECT_EQ(count_of("a|b &lt;i&gt;", svg), 1U);
  EXPECT_EQ(count_of("<i>", svg), 0U);
  // Worse: two rings, the mean, its interval and the two ends of that.
  EXPECT_EQ(count_of("#c2410c", svg), 6U);
  EXPECT_EQ(count_of("nan", svg) + count_of("inf", svg), 0U);
  const std::string page = plot_page(e.results);
  EXPECT_NE(page.find(svg), std::string::npos);
  EXPECT_NE(page.find("failed: out of &lt;memory&gt;"), std::string::npos);
  EXPECT_NE(page.find("not run yet"), std::string::npos);
  EXPECT_NE(page.find("<td>0.598</td>"), std::string::npos);
}

// Nothing has run, one seed, one variant: all is still a table and a plot.
TEST(Report, OfLittle) {
  Example e;
  e.grid.variants.resize(1);
  e.grid.seeds.resize(1);
  e.runs.resize(1);
  e.results.outcomes = {Outcome{}};
  EXPECT_EQ(to_markdown(e.results),
            "| variant |\n|---|\n| the seed |\n\nOne seed: no intervals, and no telling a difference from "
            "chance.\n\n- the seed, seed 0: not run yet\n");
  EXPECT_NE(plot_svg(e.results).find("the seed"), std::string::npos);
  e.results.outcomes = {
      Outcome{.state = State::done, .error = {}, .values = {0.5, 0.25, nan, 0.9, 1.5, 10, 7}}};
  EXPECT_NE(to_markdown(e.results).find("| the seed | 0.500 | 0.250 | 0.9000 | 1.500 | 10.0 | 7 |"),
            std::string::npos);
  EXPECT_EQ(count_of("nan", plot_svg(e.results)), 0U);
}

}  // namespace
}  // namespace vitral::ablate
