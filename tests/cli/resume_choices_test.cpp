// What a resume may change, what it refuses, and what is told.
#include <sys/wait.h>

#include "data/dataset_writer.h"
#include "data/weights/checkpoint_files.h"
#include "data/weights/weights.h"
#include "tests/cli/small_run.h"
#include "tests/train/run/event_file.h"

namespace vitral {
namespace {

using test::metrics;
using test::Program;
using test::SmallRun;

std::string named(const std::string& run, const char* pointer) {
  std::string name;
  std::ifstream(run + "/checkpoints/" + pointer) >> name;
  return name;
}

TEST(ResumeChoices, ARunIsNotContinuedOverAnotherOne) {
  const SmallRun small;
  const std::string one = small.output("one"), other = small.output("other");
  test::expect_done(small({"train.max_steps=2", "train.output=" + one}));
  test::expect_done(small({"train.seed=7", "train.output=" + other}));
  const auto before = test::contents_of(other);
  test::expect_failure(small({"train.output=" + other, "--resume", one}), 2,
                       other + ": holds a run already, and " + one +
                           " is not of it; continue it with --resume auto, or choose another train.output");
  EXPECT_EQ(test::contents_of(other), before);

  // Into a folder of its own it may go on, and ends as it would have ended in its first one.
  const std::string branch = small.output("branch"), whole = small.output("whole");
  test::expect_done(small({"train.output=" + branch, "--resume", one}));
  test::expect_done(small({"train.output=" + whole}));
  EXPECT_EQ(test::bytes_of_file(test::latest(branch) + "/model.safetensors"),
            test::bytes_of_file(test::latest(whole) + "/model.safetensors"));
  EXPECT_EQ(metrics(branch).front()["step"], 3);
}

TEST(ResumeChoices, AnotherModelIsNamed) {
  const SmallRun small;
  test::expect_done(small());
  const auto refused = [&](const std::string& key, const std::string& then, const std::string& now) {
    test::expect_failure(
        small({"--resume", "auto", key + "=" + now}), 2,
        fmt::format("{}: was trained with {}={}, this configuration has {}; set it alike, or "
                    "start a new run with model.init_from",
                    test::latest(small.output("run")), key, then, now));
  };
  refused("model.layers", "1", "2");
  refused("model.attention", "neighbourhood", "full");
  refused("model.window", "3", "5");
  refused("model.dilation", "1", "2");
  refused("model.position", "learned", "none");
}

// What metadata leave out at its default is compared all the same, from either side.
TEST(ResumeChoices, AnAddedKeyIsCompared) {
  const SmallRun small;
  test::expect_done(small({"model.dilation=2"}));
  test::expect_failure(
      small({"--resume", "auto"}), 2,
      test::latest(small.output("run")) +
          ": was trained with model.dilation=2, this configuration has 1; set it alike, or start a new run "
          "with model.init_from");
  test::expect_done(small({"--resume", "auto", "model.dilation=2"}));
}

// A file that was written before a key was there means the key's default.
TEST(ResumeChoices, AKeyThatTheMetadataLackHasItsDefault) {
  const SmallRun small;
  test::expect_done(small());
  const std::string folder = test::latest(small.output("run")), model = folder + "/" + data::model_file;
  data::WeightsFile weights = data::read_weights(model);
  EXPECT_EQ(weights.metadata.erase("model.window"), 1U);
  const auto state = data::verify_checkpoint(folder);
  const std::map<std::string, FileDigest> files{
      {data::model_file, data::write_safetensors(model, weights.tensors, weights.metadata)},
      {data::optimizer_file, digest_of(folder + "/" + data::optimizer_file)}};
  write_file_atomic(folder + "/" + data::state_file,
                    data::format_checkpoint_state(state["step"], files, state["state"]));
  test::expect_failure(
      small({"--resume", "auto", "model.window=5"}), 2,
      folder +
          ": was trained with model.window=3, this configuration has 5; set it alike, or start a "
          "new run with model.init_from");
  test::expect_done(small({"--resume", "auto"}));
}

TEST(ResumeChoices, MidEpochNeedsTheSameOrderOfImages) {
  const SmallRun small;
  test::expect_done(small({"train.max_steps=2"}));
  for (const auto& [setting, now] :
       {std::pair{"train.batch_size=4", "24 images in batches of 4, shuffled with train.seed=0"},
        std::pair{"train.seed=3", "24 images in batches of 8, shuffled with train.seed=3"},
        std::pair{"data.shuffle=false", "24 images in batches of 8, in order with train.seed=0"}})
    test::expect_failure(
        small({"--resume", "auto", setting}), 2,
        fmt::format("{}: stands in the middle of an epoch of 24 images in batches of 8, shuffled with "
                    "train.seed=0; this configuration has {}; resume with the same data, train.batch_size, "
                    "train.seed and data.shuffle",
                    test::latest(small.output("run")), now));
}

TEST(ResumeChoices, AtTheEndOfAnEpochTheEpochsMayChangeTheirLength) {
  const SmallRun small;  // 3 steps an epoch
  test::expect_done(small({"train.epochs=2"}));
  const test::Result r = small({"train.epochs=3", "train.batch_size=4", "--resume", "auto"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(named(small.output("run"), "latest"), "step-000000012");  // 6, and 6 of the third epoch
  EXPECT_NE(r.err.find("epoch 3/3 step 12/12 "), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("epoch 4"), std::string::npos) << r.err;
}

TEST(ResumeChoices, TheBestIsOfTheRunsOwnPast) {
  const SmallRun small(24, true);
  const std::string run = small.output("run");
  test::expect_done(small({"train.epochs=4", "train.keep=10"}));
  ASSERT_NE(named(run, "best"), "step-000000003") << "no later epoch was better";
  test::expect_done(small({"train.epochs=4", "train.keep=10", "train.max_steps=3", "--resume",
                           run + "/checkpoints/step-000000003"}));
  EXPECT_EQ(named(run, "best"), "step-000000003");
}

// A run that ends inside its first epoch has weights that were validated; a resume is as if it had not ended.
TEST(ResumeChoices, TheBestOfAShortRunIsItsEnd) {
  const SmallRun small(24, true);
  const std::string run = small.output("run"), whole = small.output("whole");
  test::expect_done(small({"train.max_steps=2"}));
  EXPECT_EQ(named(run, "best"), "step-000000002");
  test::expect_done(small({"train.max_steps=2", "--resume", "auto"}));
  EXPECT_EQ(named(run, "best"), "step-000000002");
  test::expect_done(small({"--resume", "auto"}));
  test::expect_done(small({"train.output=" + whole}));
  for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
    EXPECT_EQ(test::bytes_of_file(test::latest(run) + file), test::bytes_of_file(test::latest(whole) + file));
  EXPECT_EQ(test::metric(run, "train", "loss"), test::metric(whole, "train", "loss"));
  EXPECT_EQ(named(run, "best"), named(whole, "best"));
  // Behind a whole epoch the best is that of an epoch.
  const std::string longer = small.output("longer");
  test::expect_done(small({"train.max_steps=4", "train.output=" + longer}));
  EXPECT_EQ(named(longer, "best"), "step-000000003");
}

TEST(ResumeChoices, AJumpOfTheLearningRateIsSaid) {
  for (const auto& [name, planned, now] :
       {std::tuple{"cosine", "1e-06", "0.000501"}, {"one_cycle", "4e-09", "0.000647"}}) {
    SCOPED_TRACE(name);
    const SmallRun small;
    const Program::Arguments cycle{fmt::format("train.scheduler={{name: {}}}", name)};
    test::expect_done(small(cycle));  // 6 steps
    Program::Arguments more = cycle;
    more.insert(more.end(), {"train.epochs=4", "--resume", "auto"});
    const std::string from = test::latest(small.output("run"));
    const test::Result r = small(more);
    EXPECT_EQ(r.err.find(fmt::format(
                  "warning: {}: the next learning rate was to be {}, now it is {}: {} with "
                  "train.optimizer.lr=0.001 up to step 12; choose a lower one where that is too much\n",
                  from, planned, now, name)),
              0U)
        << r.err;
    // The plan is that of the new length: nothing to say.
    more[1] = "train.epochs=4";
    EXPECT_EQ(small(more).err.find("warning"), std::string::npos);
  }
}

// A clock that was set back, or another machine's.
TEST(ResumeChoices, TensorBoardShowsTheStepsInTheirOrder) {
  const SmallRun small;
  const std::string run = small.output("run");
  test::expect_done(small({"train.max_steps=3"}));
  const auto event_files = [&] {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(run))
      if (entry.path().filename().string().starts_with("events.")) files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());  // as TensorBoard reads them
    return files;
  };
  ASSERT_EQ(event_files().size(), 1U);
  std::filesystem::rename(event_files().front(), run + "/events.out.tfevents.1999999999.ahead.1.0");
  test::expect_done(small({"--resume", "auto"}));
  ASSERT_EQ(event_files().size(), 2U);
  EXPECT_TRUE(event_files().back().starts_with(run + "/events.out.tfevents.2000000000."))
      << event_files().back();
  std::vector<std::int64_t> steps;
  for (const auto& file : event_files())
    for (const auto& event : test::read_events(file))
      if (event.scalars.contains("train/loss")) steps.push_back(event.step);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
}

TEST(ResumeChoices, InitFromIsOfANewRunOnly) {
  const SmallRun small;
  const std::string first = small.output("first");
  test::expect_done(small({"train.output=" + first}));
  test::expect_done(small({"model.init_from=" + first, "train.max_steps=2", "train.ema=0.5"}));
  std::filesystem::remove_all(first);
  test::expect_done(small({"model.init_from=" + first, "train.ema=0.5", "--resume", "auto"}));
  test::expect_failure(small({"model.init_from=" + first, "train.output=" + small.output("new")}), 2,
                       "override model.init_from=" + first + ": " + first + ": no such file");
}

TEST(ResumeChoices, AnotherNumberOfThreadsIsSaid) {
  const SmallRun small;
  test::expect_done(small({"train.max_steps=3"}));
  const std::string from = test::latest(small.output("run"));
  Program program(small.arguments({"--resume", "auto"}), [] { ::setenv("OMP_NUM_THREADS", "2", 1); });
  const test::Result r = program.wait();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(
      r.err.find("warning: " + from +
                 ": was trained with 1 compute threads, there are 2 now: the last bits will differ; for "
                 "the same bits set OMP_NUM_THREADS=1\n"),
      0U)
      << r.err;
}

// Ctrl-C on `vitral train ... 2>&1 | tee log` ends tee first.
TEST(Streams, AReaderThatEndsTakesNoCheckpointWithIt) {
  const SmallRun small(240);
  const std::string run = small.output("run");
  Program program(small.arguments({"train.epochs=2000", "train.checkpoint_every=1000000"}), [] {
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(126);
    ::dup2(ends[1], 1);
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
  });
  ASSERT_TRUE(test::wait_for([&] { return !program.running() || metrics(run).size() > 40; }));
  program.send(SIGINT);
  EXPECT_EQ(program.wait().status, 0);
  EXPECT_EQ(test::latest(run), fmt::format("{}/checkpoints/step-{:09}", run, metrics(run).size()));
}

TEST(Streams, OutputThatCannotBeWrittenIsAFailure) {
  const SmallRun small;
  test::expect_done(small({"train.max_steps=1"}));
  for (const Program::Arguments& arguments : {Program::Arguments{"info", small.output("run")},
                                              {"eval", small.output("run"), small.train(), "--json"},
                                              {"train", "--help"}}) {
    Program program(arguments, [] { ::dup2(::open("/dev/full", O_WRONLY), 1); });
    test::expect_failure(program.wait(), 1, "standard output: cannot be written: No space left on device");
  }
}

TEST(Stop, DuringTheLastValidationIsToldAndCaughtUp) {
  const SmallRun small(24, true);
  const std::string run = small.output("run");
  test::write_dataset(small / "val.h5", 3000, {}, 7);
  Program program(small.arguments({"train.epochs=1"}));
  ASSERT_TRUE(test::wait_for([&] { return !program.running() || metrics(run).size() == 3; }));
  program.send(SIGTERM);
  const test::Result r = program.wait();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("; stopped by SIGTERM, continue with --resume auto\n"), std::string::npos) << r.out;
  EXPECT_EQ(metrics(run).size(), 3U);
  test::expect_done(small({"train.epochs=1", "--resume", "auto"}));
  EXPECT_EQ(metrics(run).size(), 4U);
  EXPECT_EQ(named(run, "best"), "step-000000003");
}

TEST(Data, ARunWithoutAReadableImageFails) {
  const SmallRun small;
  {
    data::DatasetWriter writer(small / "junk.h5", std::nullopt);
    const std::vector<std::uint8_t> junk(100, 7);
    for (int i = 0; i < 24; ++i)
      writer.add_encoded(junk, fmt::format("{}.jpg", i), test::noise({test::small_width}, 5, DType::float32));
    writer.finish();
  }
  const std::string path = small / "junk.h5";
  const test::Result r = small({"data.train=" + path});
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(
      r.err.find("vitral: " + path + ": none of its images could be read in epoch 1; pack them again\n"),
      std::string::npos)
      << r.err;
  for (const auto& line : metrics(small.output("run"))) EXPECT_TRUE(line["loss"].is_null());
}

}  // namespace
}  // namespace vitral
