#include "train/run/metrics.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/train/config_support.h"

namespace vitral::train {
namespace {

using test::message_of;
using test::put_file;
using test::TempDir;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string line(int step) { return "{\"kind\":\"train\",\"step\":" + std::to_string(step) + "}\n"; }

TEST(Metrics, WritesTheContractsLines) {
  const TempDir dir;
  {
    MetricsWriter metrics(dir / "metrics.jsonl");
    metrics.train({.step = 10,
                   .epoch = 1,
                   .loss = 18.5,
                   .grad_norm = 2.25,
                   .lr = 1e-6,
                   .images_per_second = 15.25,
                   .data_wait = 0.125});
    metrics.val({.step = 10, .epoch = 1, .values = {{"loss", 0.1 + 0.2}, {"cosine", -1}}});
    metrics.sync();
    // Without a close or a flush: the system has every line at once.
    EXPECT_EQ(
        read_file(dir / "metrics.jsonl"),
        R"({"kind":"train","step":10,"epoch":1,"loss":18.5,"grad_norm":2.25,"lr":1e-06,"images_per_second":15.25,"data_wait":0.125})"
        "\n"
        R"({"kind":"val","step":10,"epoch":1,"loss":0.30000000000000004,"cosine":-1.0})"
        "\n");
  }
  EXPECT_EQ(message_of([&] { MetricsWriter(dir / "metrics.jsonl"); }),
            dir / "metrics.jsonl: holds a run already; resume it, or choose another train.output");
}

TEST(Metrics, ShowsTheTermsOfALossThatHasSeveral) {
  const TempDir dir;
  MetricsWriter metrics(dir / "m.jsonl");
  metrics.train({.step = 1, .epoch = 1, .loss = 2.5, .terms = {{"l1", 2}, {"cosine", 0.5}}, .lr = 1});
  EXPECT_EQ(
      read_file(dir / "m.jsonl"),
      R"({"kind":"train","step":1,"epoch":1,"loss":2.5,"loss.l1":2.0,"loss.cosine":0.5,"grad_norm":0.0,"lr":1.0,"images_per_second":0.0,"data_wait":0.0})"
      "\n");
}

TEST(Metrics, WritesNullForNaN) {
  const TempDir dir;
  MetricsWriter metrics(dir / "m.jsonl");
  metrics.val(
      {.step = 1, .epoch = 1, .values = {{"loss", std::numeric_limits<double>::quiet_NaN()}, {"cosine", 0}}});
  EXPECT_EQ(read_file(dir / "m.jsonl"), R"({"kind":"val","step":1,"epoch":1,"loss":null,"cosine":0.0})"
                                        "\n");
}

TEST(Metrics, AResumeDropsLaterStepsAndRepairsATornLine) {
  const TempDir dir;
  const std::string path = dir / "m.jsonl";
  const auto resumed = [&](const std::string& before, std::int64_t step) {
    put_file(path, before);
    MetricsWriter(path, {.step = step})
        .val({.step = step + 1, .epoch = 1, .values = {{"loss", 2}, {"cosine", 0}}});
    const std::string after = read_file(path);
    const std::string added = "{\"kind\":\"val\",\"step\":" + std::to_string(step + 1) +
                              ",\"epoch\":1,\"loss\":2.0,\"cosine\":0.0}\n";
    EXPECT_TRUE(after.ends_with(added)) << after;
    return after.substr(0, after.size() - std::min(added.size(), after.size()));
  };
  const std::string four = line(1) + line(2) + line(3) + line(4);
  EXPECT_EQ(resumed(four, 4), four);
  EXPECT_EQ(resumed(four, 9), four);
  EXPECT_EQ(resumed(four, 2), line(1) + line(2));
  EXPECT_EQ(resumed(four, 0), "");
  EXPECT_EQ(resumed("", 3), "");
  EXPECT_EQ(resumed(line(1) + line(3) + line(2), 2), line(1) + line(2));  // the order does not matter
  // Torn anywhere, the last line goes; if only the line break is missing, it is whole.
  for (std::size_t length = 1; length + 1 < line(2).size(); ++length)
    EXPECT_EQ(resumed(line(1) + line(2).substr(0, length), 2), line(1)) << length;
  EXPECT_EQ(resumed(line(1) + line(2).substr(0, line(2).size() - 1), 2), line(1) + line(2));
  EXPECT_EQ(resumed(line(1) + std::string(100, '\0'), 2), line(1));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST(Metrics, AnUnchangedFileIsNotReplaced) {
  const TempDir dir;
  put_file(dir / "m.jsonl", line(1));
  std::filesystem::create_hard_link(dir / "m.jsonl", dir / "same");
  MetricsWriter(dir / "m.jsonl", {.step = 1});
  EXPECT_EQ(std::filesystem::hard_link_count(dir / "m.jsonl"), 2U);
}

TEST(Metrics, ARunWithResumesAtAnyStepHasEveryLineOnce) {
  const TempDir dir;
  const std::string path = dir / "m.jsonl";
  std::string expected;
  for (int step = 1; step <= 12; ++step) expected += line(step);
  for (int checkpoint = 0; checkpoint <= 12; ++checkpoint) {
    // It ran to step 12, was killed while writing, and goes on from the checkpoint.
    put_file(path, expected + "{\"kind\":\"tra");
    MetricsWriter metrics(path, {.step = checkpoint});
    std::ofstream out(path, std::ios::app | std::ios::binary);
    for (int step = checkpoint + 1; step <= 12; ++step) out << line(step);
    out.close();
    EXPECT_EQ(read_file(path), expected) << checkpoint;
  }
}

TEST(Metrics, ADamagedLineInTheMiddleIsPutAside) {
  for (const std::string damaged : {"{\"kind\":\n", "[1]\n", "{\"step\":\"1\"}\n", "\n", "\xff\xfe\n"}) {
    for (const std::string& zeros : {std::string(), std::string(4096, '\0')}) {  // a page that was lost
      const TempDir dir;
      const std::string path = dir / "m.jsonl";
      put_file(path, line(1) + zeros + damaged + line(2) + line(3) + damaged);
      std::vector<std::string> warnings;
      MetricsWriter(path, {.step = 2}, &warnings);
      EXPECT_EQ(read_file(path), line(1) + line(2));
      EXPECT_EQ(read_file(path + ".damaged"), zeros + damaged + damaged);
      EXPECT_EQ(warnings, std::vector<std::string>{path +
                                                   ":2: is no record with a step; what could not be read "
                                                   "went to " +
                                                   path + ".damaged"});
    }
  }
}

TEST(Metrics, AFolderThatIsNotThereIsAnError) {
  EXPECT_EQ(message_of([] { MetricsWriter("no/such/m.jsonl"); }),
            "no/such/m.jsonl: cannot be opened for writing: No such file or directory");
}

TEST(Metrics, AFullDiskIsAnErrorThatNamesTheFile) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  MetricsWriter metrics("/dev/full");
  EXPECT_EQ(message_of([&] { metrics.val({}); }),
            "/dev/full: cannot be written: No space left on device; make room and resume");
}

TEST(Metrics, ALineThatFitsOnlyInPartLeavesNoPart) {
  const TempDir dir;
  MetricsWriter metrics(dir / "m.jsonl");
  metrics.val({.step = 1, .epoch = 1, .values = {{"loss", 1}, {"cosine", 1}}});
  const std::string before = read_file(dir / "m.jsonl");
  // A limit on the size of files stands for a disk that is full in the middle of a line.
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = before.size() + 10;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string message = message_of([&] {
    metrics.val({.step = 2, .epoch = 1, .values = {{"loss", 1}, {"cosine", 1}}});
  });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(message, dir / "m.jsonl: cannot be written: File too large; make room and resume");
  EXPECT_EQ(read_file(dir / "m.jsonl"), before);
}

}  // namespace
}  // namespace vitral::train
