// Ends that need more than a signal: a disk that is full where the first of several processes writes, and a
// process that stays when the others have ended.
#include <csignal>

#include "processes/launch.h"
#include "tests/cli/processes.h"

namespace vitral {
namespace {

using test::bytes_of_file;
using test::latest;
using test::Processes;
using test::SmallRun;
using test::train;

TEST_F(Processes, AFullDiskEndsAllAndLosesNoCheckpoint) {
  const SmallRun data;
  test::expect_done(train(data, "whole", 1, {"train.slices=2", "train.checkpoint_every=2"}));
  std::uintmax_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(latest(data.output("whole"))))
    bytes += file.file_size();
  // Room for one checkpoint, and not for the second beside it.
  const std::string disk = data / "disk", left = data / "left", said = data / "said";
  std::filesystem::create_directory(disk);
  const std::string job = fmt::format(
      "mount -t tmpfs -o size={}k none {} || exit 77; {} train {} train.slices=2 train.checkpoint_every=2 "
      "train.output={}/run --processes=2 2>{}; status=$?; cp -r {}/run {}; exit $status",
      bytes * 8 / 5 / 1024, disk, std::getenv("VITRAL_PROGRAM"), data.config(), disk, said, disk, left);
  const int status = std::system(fmt::format("unshare -rm sh -c '{}' || exit $?", job).c_str());
  if (WEXITSTATUS(status) == 77 || !std::filesystem::exists(said)) GTEST_SKIP() << "no namespaces here";
  const std::string text = bytes_of_file(said);
  EXPECT_EQ(WEXITSTATUS(status), 1) << text;
  EXPECT_NE(text.find("cannot write: No space left on device; free some space and run it again"),
            std::string::npos)
      << text;
  const std::string name = std::filesystem::path(latest(left)).filename();
  EXPECT_EQ(name, "step-000000002");
  // It goes on elsewhere, with one process, as if nothing had been.
  test::expect_done(
      train(data, "left", 1, {"train.slices=2", "train.checkpoint_every=2", "--resume", "auto"}));
  test::expect_same_run(data.output("whole"), left);
}

// As one that is stopped after its last exchange.
TEST(OneOfTwo, DISABLED_StopsItself) {
  if (local_rank() == 1) std::raise(SIGSTOP);
}

TEST_F(Processes, OneThatStaysIsEnded) {
  testing::internal::CaptureStderr();
  const int status = start_processes(2, {"--gtest_filter=OneOfTwo.DISABLED_StopsItself",
                                         "--gtest_also_run_disabled_tests", "--gtest_brief=1"});
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(status, 128 + SIGKILL);
  EXPECT_NE(said.find("vitral: process 1 has not ended 20 s after another: it was stopped or hangs; all end"),
            std::string::npos)
      << said;
}

// A launcher that ends with the status of a killed process and says nothing, as mpirun does now and then.
TEST_F(Processes, WhereTheLauncherSaysNothingTheFirstThatWentIsNamed) {
  const test::TempDir folder;
  const std::string path = std::getenv("PATH"), launcher = folder / "mpirun";
  test::put_file(launcher,
                 "#!/bin/sh\n"
                 "OMPI_COMM_WORLD_RANK=0 sleep 0.6 &\n"
                 "OMPI_COMM_WORLD_RANK=1 sleep 0.3\n"
                 "wait\n"
                 "exit 137\n");
  std::filesystem::permissions(launcher, std::filesystem::perms(0755));
  ::setenv("PATH", (folder.str() + ":" + path).c_str(), 1);
  testing::internal::CaptureStderr();
  const int status = start_processes(2, {});
  const std::string said = testing::internal::GetCapturedStderr();
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(status, 128 + SIGKILL);
  EXPECT_EQ(said, "vitral: process 1 was ended by SIGKILL; all processes end, continue with --resume auto\n");
}

}  // namespace
}  // namespace vitral
