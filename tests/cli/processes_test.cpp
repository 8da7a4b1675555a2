// `vitral train` on several processes: the same bits as on one, and an end for all when one of them ends.
#include "tests/cli/processes.h"

#include <csignal>

#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "data/images/regions.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

using test::embedding_of;
using test::expect_done;
using test::expect_failure;
using test::expect_same_run;
using test::latest;
using test::process_of;
using test::Processes;
using test::Program;
using test::Result;
using test::run;
using test::SmallRun;
using test::train;
using test::wait_for;

// 22 images in batches of 8: the last one is cut unevenly.
TEST_F(Processes, TheSameBitsOnOneTwoAndFour) {
  const SmallRun data(22, true);
  std::vector<Program::Arguments> kinds{
      {"train.slices=4"},
      {"train.slices=4", "train.accumulate=2", "train.ema=0.9", "train.clip_norm=0.01",
       "data.augment={flip: 0.5, brightness: 0.4}", "train.checkpoint_every=2"},
      {"train.slices=4", "train.objective={l1: 1, relational: 1}", "train.optimizer.name=muon"},
      {"train.slices=8", "train.scheduler={name: reduce_on_plateau, patience: 0}"},
  };
  const Program::Arguments bf16{"train.slices=4", "train.precision=bf16"};
  if (train(data, "bf16", 1, bf16).status == 0) kinds.push_back(bf16);  // not every processor has it
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(i);
    for (const int processes : {1, 2, 4})
      expect_done(train(data, fmt::format("{}-{}", i, processes), processes, kinds[i]));
    expect_same_run(data.output(fmt::format("{}-1", i)), data.output(fmt::format("{}-2", i)));
    expect_same_run(data.output(fmt::format("{}-1", i)), data.output(fmt::format("{}-4", i)));
  }
  // One slice is another sum.
  expect_done(train(data, "whole", 1, {}));
  EXPECT_NE(test::bytes_of_file(latest(data.output("whole")) + "/model.safetensors"),
            test::bytes_of_file(latest(data.output("0-1")) + "/model.safetensors"));
}

TEST_F(Processes, TargetsForPlacesAreSharedOut) {
  const SmallRun data(22);
  data::H5File file = data::H5File::modify(data.train());
  file.write("/regions/embeddings", test::noise({22, 4, test::small_width}, 5));
  file.write("/regions/boxes", data::grid_boxes(2));
  file.write("/patches/embeddings", test::noise({22, 16, test::small_width}, 6));
  file.close();
  for (const int processes : {1, 2})
    expect_done(train(data, fmt::format("{}", processes), processes,
                      {"train.slices=4", "train.objective={l1: 1, regions: 1, patches: 1}"}));
  expect_same_run(data.output("1"), data.output("2"));
}

TEST_F(Processes, AreRecorded) {
  const SmallRun data;
  expect_done(train(data, "two", 2, {}));
  std::ifstream file(data.output("two") + "/metrics.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const auto record = nlohmann::json::parse(line);
  EXPECT_EQ(record["processes"], 2);
  EXPECT_GE(record["wait"], 0);
  EXPECT_LE(record["wait"], 1);
}

TEST_F(Processes, AStepThatIsNotFiniteIsSkippedByAll) {
  const SmallRun data(24);
  test::write_dataset(data.train(), 24, embedding_of(5, test::not_a_number));
  const Result one = train(data, "one", 1, {"train.slices=2"});
  const Result two = train(data, "two", 2, {"train.slices=2"});
  for (const Result& r : {one, two}) {
    EXPECT_EQ(r.status, 0);
    EXPECT_NE(r.err.find("loss is not finite, the step is skipped (1 in a row)"), std::string::npos) << r.err;
    EXPECT_NE(r.err.find(": the embedding of image 5 of " + data.train() + " is not finite"),
              std::string::npos)
        << r.err;
  }
  expect_same_run(data.output("one"), data.output("two"));
}

TEST_F(Processes, ResumeWithAnotherNumber) {
  const SmallRun data(22, true);
  const Program::Arguments all{"train.slices=4", "train.ema=0.5"};
  expect_done(train(data, "whole", 1, all));
  for (const auto& [first, then] : {std::pair{4, 1}, {1, 2}, {2, 4}}) {
    const std::string name = fmt::format("{}-{}", first, then);
    expect_done(train(data, name, first, {"train.slices=4", "train.ema=0.5", "train.max_steps=4"}));
    const Result r = train(data, name, then, {"train.slices=4", "train.ema=0.5", "--resume", "auto"});
    expect_done(r);
    EXPECT_EQ(r.err.find("warning"), std::string::npos) << r.err;
    for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
      EXPECT_EQ(test::bytes_of_file(latest(data.output("whole")) + file),
                test::bytes_of_file(latest(data.output(name)) + file))
          << name << file;
  }
  // Other slices are other bits.
  expect_done(train(data, "other", 1, {"train.slices=4", "train.max_steps=4"}));
  const Result r = train(data, "other", 1, {"--resume", "auto"});
  EXPECT_NE(
      r.err.find("was trained with batches in 4 slices, there are 1 now: the last bits will differ; for the "
                 "same bits set train.slices=4"),
      std::string::npos)
      << r.err;
}

// A long run of two processes, and what they left when one of them got a signal.
struct Hit {
  Result result;
  double seconds = 0;
};
Hit hit(const SmallRun& data, const std::string& output, int rank, int signal) {
  Program program(data.arguments({"train.epochs=100000", "train.checkpoint_every=5", "train.slices=2",
                                  "train.output=" + data.output(output), "--processes=2"}));
  EXPECT_TRUE(wait_for([&] { return test::metrics(data.output(output)).size() > 12; }));
  const pid_t process = process_of(program, rank);
  EXPECT_GT(process, 0);
  const auto start = std::chrono::steady_clock::now();
  ::kill(process, signal);
  Hit h{program.wait(), 0};
  h.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return h;
}

// Goes on alone to a step, as does a run that nobody disturbed.
void expect_resumes(const SmallRun& data, const std::string& output) {
  std::string name;
  std::ifstream(data.output(output) + "/checkpoints/latest") >> name;
  const int step = std::stoi(name.substr(5)) + 3;
  const Program::Arguments to{"train.epochs=100000", "train.checkpoint_every=5", "train.slices=2",
                              fmt::format("train.max_steps={}", step)};
  auto resume = to;
  resume.insert(resume.end(), {"--resume", "auto"});
  expect_done(train(data, output, 1, resume));
  expect_done(train(data, output + "-whole", 1, to));
  expect_same_run(data.output(output), data.output(output + "-whole"));
}

TEST_F(Processes, OneThatIsKilledEndsAll) {
  const SmallRun data;
  for (const int rank : {0, 1}) {
    const std::string output = fmt::format("kill{}", rank);
    const Hit h = hit(data, output, rank, SIGKILL);
    EXPECT_EQ(h.result.status, 137);
    EXPECT_LT(h.seconds, 30);
    EXPECT_NE(h.result.err.find(fmt::format("vitral: process {} on ", rank)), std::string::npos)
        << h.result.err;
    EXPECT_NE(h.result.err.find(" was ended by SIGKILL; all processes end, continue with --resume auto\n"),
              std::string::npos)
        << h.result.err;
    EXPECT_EQ(h.result.err.find("mpirun"), std::string::npos) << h.result.err;
    expect_resumes(data, output);
  }
}

TEST_F(Processes, OneThatIsStoppedEndsAll) {
  const SmallRun data;
  const Hit h = hit(data, "stop", 1, SIGSTOP);
  EXPECT_EQ(h.result.status, 1);
  EXPECT_LT(h.seconds, 30);
  EXPECT_NE(
      h.result.err.find(" has not answered for 20 s: it was stopped, hangs, or its network is down; all "
                        "processes end, continue with --resume auto\n"),
      std::string::npos)
      << h.result.err;
  expect_resumes(data, "stop");
}

TEST_F(Processes, ASignalToAnyStopsAllAtOneStep) {
  const SmallRun data;
  for (const auto& [rank, signal] : {std::pair{0, SIGTERM}, {1, SIGINT}, {1, SIGUSR1}}) {
    const std::string output = fmt::format("signal{}-{}", rank, signal);
    const Hit h = hit(data, output, rank, signal);
    EXPECT_EQ(h.result.status, 0) << h.result.err;
    EXPECT_NE(h.result.out.find("; stopped by SIG"), std::string::npos) << h.result.out;
    expect_resumes(data, output);
  }
}

TEST_F(Processes, ASignalToWhoStartedThemDoes) {
  const SmallRun data;
  Program program(
      data.arguments({"train.epochs=100000", "train.output=" + data.output("run"), "--processes=2"}));
  ASSERT_TRUE(wait_for([&] { return test::metrics(data.output("run")).size() > 3; }));
  program.send(SIGINT);
  const Result r = program.wait();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find("; stopped by SIG"), std::string::npos) << r.out;
  EXPECT_EQ(r.err.find("mpirun"), std::string::npos) << r.err;
}

TEST_F(Processes, AnErrorIsOneLine) {
  const SmallRun data;
  expect_failure(data({"train.batch_size=7", "--processes=2"}), 2,
                 "process 0 of 2: train.batch_size: 7 must be a multiple of 2, the number of processes");
  expect_failure(
      data({"--processes=3"}), 2,
      "process 0 of 3: 3 processes are no power of two, and slices of a batch are shared evenly; start 1, "
      "2, 4, 8, ...");
  expect_failure(data({"data.train=/no/such.h5", "--processes=2"}), 2,
                 "process 0 of 2: override data.train=/no/such.h5: /no/such.h5: no such file");
}

// What one alone does, the run folder, fails.
TEST_F(Processes, WhatIsNotSharedIsRefused) {
  const SmallRun data;
  expect_failure(run({"teach", data.train(), "--from", data.train(), "--processes=2"}), 2,
                 "process 0 of 2: --from: embeddings are copied by one process; leave out --processes");
  expect_failure(
      run({"embed", "--text", "a cat", "--clip", data / "clip", "-o", data / "e.h5", "--processes=2"}), 2,
      "process 0 of 2: --text: texts are embedded by one process; leave out --processes");
}

TEST_F(Processes, AFolderThatCannotBeWrittenEndsAll) {
  const SmallRun data;
  std::ofstream(data / "file") << "in the way";
  const std::string output = data / "file" + "/run";
  expect_failure(data({"train.output=" + output, "--processes=2"}), 1,
                 "process 0 of 2: " + output +
                     "/checkpoints: cannot create the folder: Not a directory; choose another place");
}

TEST_F(Processes, WhatMustBeAlikeIs) {
  const SmallRun data;
  const auto job = [&](const Program::Arguments& first, const Program::Arguments& second) {
    std::string line = "mpirun --bind-to none --oversubscribe";
    for (const auto& one : {first, second}) {
      if (&one != &first && line.find(':') == std::string::npos)
        line += line.ends_with("oversubscribe") ? "" : " :";
      line += " -n 1";
      for (const auto& word : one)
        if (word.starts_with("-x")) line += " -x " + word.substr(2);
      line += std::string(" ") + std::getenv("VITRAL_PROGRAM") + " train " + data.config();
      for (const auto& word : one)
        if (!word.starts_with("-x")) line += " " + word;
    }
    const std::string err = data / "err";
    [[maybe_unused]] const int status = std::system((line + " >/dev/null 2>" + err).c_str());
    EXPECT_NE(status, 0);
    std::string said = test::bytes_of_file(err), kept;
    std::istringstream lines(said);
    for (std::string l; std::getline(lines, l);)
      if (l.starts_with("vitral: ")) kept += l + "\n";
    return kept;
  };
  EXPECT_EQ(job({"train.seed=1"}, {"train.seed=2"}),
            "vitral: process 0 of 2: processes 0 and 1 differ in their configuration: seed: 1, and seed: 2; "
            "give all "
            "of them the same\n");
  EXPECT_EQ(job({"-xOMP_NUM_THREADS=1"}, {"-xOMP_NUM_THREADS=2"}),
            "vitral: process 0 of 2: processes 0 and 1 differ in their compute threads (OMP_NUM_THREADS): 1, "
            "and 2; "
            "give all of them the same\n");
}

// A teacher of the small students.
void write_clip(const SmallRun& data) {
  test::write_image_tower(data.folder(), test::tiny_teacher(test::small_size, 16, test::small_width));
}

// The images of a command are shared out, its file and its numbers do not tell.
TEST_F(Processes, EmbedEvalAndTeachShareImages) {
  const SmallRun data(22, true);
  expect_done(train(data, "run", 1, {"train.max_steps=2"}));
  std::filesystem::create_directory(data / "photos");
  for (int i = 0; i < 11; ++i)
    data::write_png(data / fmt::format("photos/{:02}.png", i), test::noise_image(40 + i, 50, i));
  std::ofstream(data / "photos/05.png") << "no picture";
  write_clip(data);

  std::vector<std::string> embedded, taught;
  std::vector<nlohmann::json> measured;
  for (const int n : {1, 2, 4}) {
    const std::string processes = fmt::format("--processes={}", n), out = data / "e.h5", file = data / "t.h5";
    expect_done(run({"embed", data.output("run"), data / "photos", "-o", out, "--batch=2", processes}));
    embedded.push_back(test::bytes_of_file(out));
    measured.push_back(nlohmann::json::parse(
        run({"eval", data.output("run"), data.train(), "--json", "--batch=3", processes}).out));
    measured.back().erase("seconds");
    std::filesystem::copy_file(data.train(), file, std::filesystem::copy_options::overwrite_existing);
    expect_done(run({"teach", file, "--teacher", data / "clip.safetensors", "--views=2", "--plain-view",
                     "--force", "--batch=6", processes}));
    taught.push_back(test::bytes_of_file(file));
  }
  EXPECT_NE(embedded[0].find("05.png"), std::string::npos);  // among those that were skipped
  for (const std::size_t i : {1U, 2U}) {
    EXPECT_TRUE(embedded[i] == embedded[0]);
    EXPECT_TRUE(taught[i] == taught[0]);
    EXPECT_EQ(measured[i], measured[0]);
  }

  // Views, and the teacher in the loop.
  const std::string clip = "teacher.weights=" + data / "clip.safetensors";
  for (const auto& [name, settings] :
       {std::pair{std::string("views"),
                  Program::Arguments{"data.train=" + data / "t.h5", "data.augment=clip", "train.slices=4"}},
        {"loop", {clip, "data.augment=clip", "train.slices=4", "train.epochs=1"}}}) {
    expect_done(train(data, name + "1", 1, settings));
    expect_done(train(data, name + "2", 2, settings));
    expect_same_run(data.output(name + "1"), data.output(name + "2"));
  }
}

// What does not decode is left out of the whole batch, whose divisor all know.
TEST_F(Processes, AnImageThatDoesNotDecodeIsLeftOut) {
  const SmallRun data;
  data::DatasetWriter writer(data.train(), std::nullopt);
  for (int i = 0; i < 16; ++i) {
    const std::string path = data / "image.png";
    data::write_png(path, test::noise_image(70, 70, i));
    const std::string bytes = i == 5 ? "no picture" : test::bytes_of_file(path);
    writer.add_encoded({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "",
                       test::noise({test::small_width}, static_cast<std::uint64_t>(i)));
  }
  writer.finish();
  for (const int n : {1, 2, 4}) {
    const Result r = train(data, fmt::format("{}", n), n, {"train.slices=4"});
    expect_done(r);
    EXPECT_NE(r.out.find(", 2 images skipped"), std::string::npos) << r.out;  // one in each of two epochs
    EXPECT_NE(r.err.find("skipped image 5"), std::string::npos) << r.err;
  }
  expect_same_run(data.output("1"), data.output("2"));
  expect_same_run(data.output("1"), data.output("4"));
}

// One of them dies, and another number goes on.
TEST_F(Processes, TeachGoesOnAfterOneWasKilled) {
  const SmallRun data(120);
  write_clip(data);
  const auto arguments = [&](const std::string& file, int processes) {
    return Program::Arguments{"teach",   file,        "--teacher",  data / "clip.safetensors",
                              "--force", "--batch=1", "--views=40", fmt::format("--processes={}", processes)};
  };
  const std::string whole = data / "whole.h5", killed = data / "killed.h5";
  std::filesystem::copy_file(data.train(), whole);
  std::filesystem::copy_file(data.train(), killed);
  expect_done(run(arguments(whole, 1)));
  Program program(arguments(killed, 2));
  ASSERT_TRUE(wait_for([&] {
    std::error_code error;
    return std::filesystem::file_size(killed + ".teach", error) > 8000 && !error;
  }));
  ::kill(process_of(program, 1), SIGKILL);
  EXPECT_EQ(program.wait().status, 137);
  const Result r = run(arguments(killed, 4));
  expect_done(r);
  EXPECT_NE(r.err.find("images of an earlier run"), std::string::npos) << r.err;
  EXPECT_TRUE(test::bytes_of_file(killed) == test::bytes_of_file(whole));
}

// Two hosts, made of network namespaces.
TEST_F(Processes, OnTwoHosts) {
  const SmallRun data(22, true);
  const auto on_two_hosts = [&](const std::string& options, const std::string& settings) {
    return WEXITSTATUS(
        std::system(fmt::format("tests/two_hosts.sh {} {} train {} train.slices=2 {} >{} 2>&1", options,
                                std::getenv("VITRAL_PROGRAM"), data.config(), settings, data / "said")
                        .c_str()));
  };
  const int status = on_two_hosts("", "train.output=" + data.output("hosts"));
  const std::string said = test::bytes_of_file(data / "said");
  if (status == 77) GTEST_SKIP() << said;
  ASSERT_EQ(status, 0) << said;
  expect_done(train(data, "one", 1, {"train.slices=2"}));
  expect_same_run(data.output("one"), data.output("hosts"));

  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(on_two_hosts("--cut 4",
                         "train.epochs=1000000 train.checkpoint_every=5 train.output=" + data.output("cut")),
            0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4 + 30));
  const std::string cut = test::bytes_of_file(data / "said");
  EXPECT_NE(cut.find(" has not answered for 20 s"), std::string::npos) << cut.substr(0, 2000);
  EXPECT_TRUE(std::filesystem::exists(latest(data.output("cut")) + "/state.json"));
}

TEST(Launchers, ThatCannotBeUsed) {
  const SmallRun data;
  const auto with = [&](const char* variable, const char* value, const Program::Arguments& more) {
    return Program(data.arguments(more), [&] { ::setenv(variable, value, 1); }).wait();
  };
  expect_failure(
      with("SLURM_STEP_NUM_TASKS", "4", {}), 2,
      "srun started 4 processes that cannot find each other; start them with srun --mpi=pmix, or with "
      "mpirun");
  expect_failure(with("OMPI_COMM_WORLD_SIZE", "2", {"--processes=2"}), 2,
                 "--processes: this is a process of mpirun already; leave it out");
  expect_failure(with("PATH", "/no/such", {"--processes=2"}), 2,
                 "--processes: mpirun: No such file or directory; install openmpi-bin");
  expect_done(with("OMPI_COMM_WORLD_SIZE", "1", {"train.max_steps=1"}));
}

// Where the first is too slow to end the others before they say so, too.
TEST(Launchers, WhatAllSayIsSaidOnce) {
  const SmallRun data;
  std::filesystem::create_directory(data / "bin");
  std::ofstream(data / "bin/mpirun") << "#!/bin/sh\n"
                                        "echo 'vitral: process 1 of 2: a.h5: no such file' >&2\n"
                                        "echo 'vitral: process 0 of 2: a.h5: no such file' >&2\n"
                                        "echo 'vitral: process 0 of 2: b.h5: no such file' >&2\n"
                                        "exit 2\n";
  std::filesystem::permissions(data / "bin/mpirun", std::filesystem::perms::owner_all);
  const std::string path = data / "bin" + ":/usr/bin:/bin";
  const Result r =
      Program(data.arguments({"--processes=2"}), [&] { ::setenv("PATH", path.c_str(), 1); }).wait();
  EXPECT_EQ(r.status, 2);
  EXPECT_EQ(r.err,
            "vitral: process 1 of 2: a.h5: no such file\nvitral: process 0 of 2: b.h5: no such file\n");
}

TEST_F(Processes, EachHasAGpuOfItsOwn) {
  const SmallRun data;
  const Result r = train(data, "two", 2, {"train.device=cuda:1"});
  EXPECT_EQ(r.status, 2);
  EXPECT_EQ(r.err,
            "vitral: process 0 of 2: train.device: cuda:1 cannot be that of 2 processes, each has its own; "
            "set cuda or auto\n");
}

}  // namespace
}  // namespace vitral
