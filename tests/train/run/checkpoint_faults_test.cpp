// Every system call that writing a checkpoint makes fails once, with every error a disk has: the checkpoint
// before stays, and the error names a file. The linker sends vitral's own calls here (-Wl,--wrap in
// tests/meson.build).
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include <gtest/gtest.h>
#include <sys/types.h>

#include "tests/train/checkpoint_support.h"

namespace {

// The calls of one kind are counted; the one numbered `fail_at` (from 0) fails.
struct Fault {
  const char* call = "";
  int fail_at = -1;
  int error = 0;
  int count = 0;
  bool hits(const char* name) {
    if (std::strcmp(name, call) != 0 || count++ != fail_at) return false;
    errno = error;
    return true;
  }
};
Fault fault;

}  // namespace

extern "C" {
int __real_open64(const char* path, int flags, ...);
int __real_mkdir(const char* path, mode_t mode);
ssize_t __real_write(int descriptor, const void* data, size_t bytes);
int __real_fsync(int descriptor);
int __real_close(int descriptor);
int __real_rename(const char* from, const char* to);
int __real_renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags);

int __wrap_open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = va_arg(arguments, mode_t);
  va_end(arguments);
  return fault.hits("open") ? -1 : __real_open64(path, flags, mode);
}
int __wrap_mkdir(const char* path, mode_t mode) {
  return fault.hits("mkdir") ? -1 : __real_mkdir(path, mode);
}
ssize_t __wrap_write(int descriptor, const void* data, size_t bytes) {
  if (fault.hits("write")) {
    // A full disk takes what fits first.
    if (bytes > 1) static_cast<void>(!__real_write(descriptor, data, bytes / 2));
    errno = fault.error;
    return -1;
  }
  return __real_write(descriptor, data, bytes);
}
int __wrap_fsync(int descriptor) { return fault.hits("fsync") ? -1 : __real_fsync(descriptor); }
int __wrap_close(int descriptor) {
  const int result = __real_close(descriptor);
  return fault.hits("close") ? -1 : result;
}
int __wrap_rename(const char* from, const char* to) {
  return fault.hits("rename") ? -1 : __real_rename(from, to);
}
int __wrap_renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  return fault.hits("renameat2") ? -1 : __real_renameat2(from_folder, from, to_folder, to, flags);
}
}

namespace vitral::train {
namespace {

using test::checkpoint_at;
using test::difference;
using test::load;
using test::message_of;
using test::names_in;
using test::TempDir;

// Calls of this kind in one save() of a second checkpoint.
int count_calls(const char* call) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 2);
  store.save(checkpoint_at(1), true);
  fault = {call, -1, 0, 0};
  store.save(checkpoint_at(2), true);
  return std::exchange(fault, {}).count;
}

class CheckpointFaults : public ::testing::TestWithParam<const char*> {};

TEST_P(CheckpointFaults, TheCheckpointBeforeStays) {
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
      fault = {GetParam(), k, error, 0};
      const std::string message = message_of([&] { store.save(checkpoint_at(2), true); });
      fault = {};
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
  // What is no part of writing may fail unseen: closing what was read, removing an old checkpoint.
  const bool every = call == "mkdir" || call == "write" || call == "fsync";
  EXPECT_GE(thrown, every ? 2 * calls : calls);
}

INSTANTIATE_TEST_SUITE_P(, CheckpointFaults,
                         ::testing::Values("open", "mkdir", "write", "fsync", "close", "rename"),
                         [](const auto& info) { return std::string(info.param); });

TEST(CheckpointReplace, FailuresLeaveTheOldOrTheNew) {
  for (const char* call : {"rename", "renameat2", "fsync", "write"}) {
    for (int k = 0; k < 30; ++k) {
      SCOPED_TRACE(fmt::format("{} number {}", call, k));
      const TempDir folder;
      CheckpointStore store(folder.str(), 1);
      store.save(checkpoint_at(1), true);
      fault = {call, k, EIO, 0};
      const std::string message = message_of([&] { store.save(checkpoint_at(1, 2), true); });
      const bool reached = std::exchange(fault, {}).count > k;
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
  fault = {"renameat2", 0, EINVAL, 0};
  store.save(checkpoint_at(1, 2), true);
  EXPECT_EQ(std::exchange(fault, {}).count, 1);
  EXPECT_EQ(difference(load(folder.str()), checkpoint_at(1, 2)), "");
  EXPECT_EQ(names_in(folder.str()), (std::vector<std::string>{"best", "latest", "step-000000001"}));
}

}  // namespace
}  // namespace vitral::train
