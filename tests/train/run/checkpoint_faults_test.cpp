// Every system call that writing a checkpoint makes fails once, with every error a disk has: the checkpoint
// before stays, and the error names a file.
#include <cerrno>
#include <cstring>

#include <gtest/gtest.h>

#include "tests/system_calls.h"
#include "tests/train/checkpoint_support.h"

namespace vitral::train {
namespace {

using test::checkpoint_at;
using test::difference;
using test::Fault;
using test::load;
using test::message_of;
using test::names_in;
using test::TempDir;

// Calls of this kind in one save() of a second checkpoint.
int count_calls(const char* call) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 2);
  store.save(checkpoint_at(1), true);
  const Fault counted(call, 0, -1, folder.str());
  store.save(checkpoint_at(2), true);
  return counted.count();
}

class EachCall : public ::testing::TestWithParam<const char*> {};

TEST_P(EachCall, TheCheckpointBeforeStays) {
  const std::string call = GetParam();
  const int calls = count_calls(GetParam());
  ASSERT_GT(calls, 0);
  int thrown = 0;
  for (const int error : {ENOSPC, EIO}) {
    for (int k = 0; k < calls; ++k) {
      SCOPED_TRACE(fmt::format("{} number {} fails with {}", call, k, std::strerror(error)));
      const TempDir folder;
      CheckpointStore store(folder.str(), 1);
      store.save(checkpoint_at(1), true);
      const std::string message = message_of([&] {
        const Fault fault(call, error, k, folder.str());
        store.save(checkpoint_at(2), true);
      });
      if (message != "no error") {
        ++thrown;
        EXPECT_TRUE(message.starts_with(folder / "checkpoints")) << message;
        EXPECT_NE(message.find(fmt::format(": cannot write: {}; {}", std::strerror(error),
                                           error == ENOSPC ? "free some space" : "check the disk")),
                  std::string::npos)
            << message;
        EXPECT_EQ(difference(load(folder / "checkpoints/step-000000001"), checkpoint_at(1)), "");
      }
      const Checkpoint latest = load(folder.str());
      EXPECT_EQ(difference(latest, checkpoint_at(latest.step)), "");
      EXPECT_TRUE(message != "no error" || latest.step == 2) << latest.step;
      for (const auto& name : names_in(folder.str())) EXPECT_FALSE(name.starts_with(".tmp-")) << name;
      // The disk works again: so does the store.
      store.save(checkpoint_at(3), false);
      EXPECT_EQ(difference(load(folder.str()), checkpoint_at(3)), "");
    }
  }
  // What is no part of writing may fail unseen: closing what was read, removing an old checkpoint; and the
  // first name of a temporary file, which has another.
  const bool every = call == "mkdir" || call == "write" || call == "fsync";
  EXPECT_GE(thrown, every ? 2 * calls : call == "open" ? calls / 2 : calls);
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, EachCall,
                         ::testing::Values("open", "mkdir", "write", "fsync", "close", "rename"),
                         [](const auto& info) { return std::string(info.param); });

// The disk takes what it does not store.
TEST(CheckpointFaults, IsReadBackBeforeItTakesItsName) {
  const int calls = count_calls("write");
  for (const int error : {test::lost, test::garbled})
    for (int k = 0; k < calls; ++k) {
      SCOPED_TRACE(fmt::format("write {} {}", k, error));
      const TempDir folder;
      CheckpointStore store(folder.str(), 1);
      store.save(checkpoint_at(1), true);
      const std::string message = message_of([&] {
        const Fault fault("write", error, k, folder.str());
        store.save(checkpoint_at(2), true);
      });
      EXPECT_TRUE(message.starts_with(folder / "checkpoints")) << message;
      EXPECT_TRUE(
          message.ends_with(": cannot write: what was read back is not what was written; check the disk"))
          << message;
      EXPECT_EQ(difference(load(folder / "checkpoints/step-000000001"), checkpoint_at(1)), "");
      const Checkpoint latest = load(folder.str());
      EXPECT_EQ(difference(latest, checkpoint_at(latest.step)), "");
      store.save(checkpoint_at(3), false);
      EXPECT_EQ(difference(load(folder.str()), checkpoint_at(3)), "");
    }
}

TEST(CheckpointFaults, SyncsNothingTwice) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 1);
  const Fault counted("fsync", 0, -1, folder.str());
  store.save(checkpoint_at(1), false);
  EXPECT_EQ(counted.count(), 3 + 2 + 2)
      << "three files, their folder and the one above; latest and its folder";
}

TEST(CheckpointReplace, FailuresLeaveTheOldOrTheNew) {
  for (const char* call : {"rename", "renameat2", "fsync", "write"}) {
    for (int k = 0; k < 30; ++k) {
      SCOPED_TRACE(fmt::format("{} number {}", call, k));
      const TempDir folder;
      CheckpointStore store(folder.str(), 1);
      store.save(checkpoint_at(1), true);
      std::optional<Fault> fault(std::in_place, call, EIO, k, folder.str());
      const std::string message = message_of([&] { store.save(checkpoint_at(1, 2), true); });
      const bool reached = fault->count() > k;
      fault.reset();
      const Checkpoint latest = load(folder.str());
      EXPECT_TRUE(difference(latest, checkpoint_at(1)).empty() ||
                  difference(latest, checkpoint_at(1, 2)).empty());
      if (!reached) {
        EXPECT_EQ(message, "no error");
        break;
      }
    }
  }
}

TEST(CheckpointReplace, WithoutAnExchangeOfNames) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 1);
  store.save(checkpoint_at(1), true);
  {
    const Fault fault("renameat2", EINVAL, 0, folder.str());
    store.save(checkpoint_at(1, 2), true);
    EXPECT_EQ(fault.count(), 1);
  }
  EXPECT_EQ(difference(load(folder.str()), checkpoint_at(1, 2)), "");
  EXPECT_EQ(names_in(folder.str()), (std::vector<std::string>{"best", "latest", "step-000000001"}));
}

}  // namespace
}  // namespace vitral::train
