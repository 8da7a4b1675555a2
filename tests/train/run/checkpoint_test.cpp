#include "train/run/checkpoint.h"

#include <cmath>
#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "data/weights/weights.h"
#include "tests/train/checkpoint_support.h"

namespace vitral::train {
namespace {

using test::bytes_of_file;
using test::checkpoint_at;
using test::difference;
using test::load;
using test::message_of;
using test::names_in;
using test::put_file;
using test::TempDir;
using Names = std::vector<std::string>;

TEST(Checkpoint, RoundTrip) {
  const TempDir folder;
  const std::string run = folder / "runs/a";
  CheckpointStore(run, 3).save(checkpoint_at(1234), true);
  EXPECT_EQ(names_in(run), (Names{"best", "latest", "step-000001234"}));
  EXPECT_EQ(bytes_of_file(run + "/checkpoints/latest"), "step-000001234\n");
  EXPECT_EQ(bytes_of_file(run + "/checkpoints/best"), "step-000001234\n");
  EXPECT_EQ(difference(load(run), checkpoint_at(1234)), "");
  EXPECT_EQ(difference(load(run + "/checkpoints/step-000001234"), checkpoint_at(1234)), "");
  EXPECT_EQ(data::read_weights(run).metadata.at("config"), "model: {width: 8}\n");
}

TEST(Checkpoint, KeepsTheNewestAndTheBest) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 2);
  for (int step = 10; step <= 60; step += 10) store.save(checkpoint_at(step), step == 20);
  EXPECT_EQ(names_in(folder.str()),
            (Names{"best", "latest", "step-000000020", "step-000000050", "step-000000060"}));
  // A resume at an earlier step: what lies ahead stays until it has been passed.
  store.save(checkpoint_at(40), false);
  store.save(checkpoint_at(45), false);
  EXPECT_EQ(names_in(folder.str()), (Names{"best", "latest", "step-000000020", "step-000000040",
                                           "step-000000045", "step-000000050", "step-000000060"}));
  EXPECT_EQ(load(folder.str()).step, 45);
  store.save(checkpoint_at(70), true);
  EXPECT_EQ(names_in(folder.str()), (Names{"best", "latest", "step-000000060", "step-000000070"}));
}

TEST(Checkpoint, SameStepAgain) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 2);
  const std::string model = folder / "checkpoints/step-000000010/model.safetensors";
  store.save(checkpoint_at(10), false);
  const auto written = std::filesystem::last_write_time(model);
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(model.c_str(), &before), 0);
  store.save(checkpoint_at(10), true);  // equal contents: the files stay
  ASSERT_EQ(::stat(model.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(written, std::filesystem::last_write_time(model));
  store.save(checkpoint_at(10, 2), false);  // other contents: replaced
  EXPECT_EQ(difference(load(folder.str()), checkpoint_at(10, 2)), "");
  put_file(model, "damaged");
  store.save(checkpoint_at(10, 2), false);
  EXPECT_EQ(difference(load(folder.str()), checkpoint_at(10, 2)), "");
  EXPECT_EQ(names_in(folder.str()), (Names{"best", "latest", "step-000000010"}));
}

TEST(Checkpoint, FallsBackFromADamagedOne) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 3);
  std::vector<std::string> warnings;
  EXPECT_EQ(latest_checkpoint(folder.str(), warnings), std::nullopt);
  for (int step : {10, 20, 30}) store.save(checkpoint_at(step), false);
  const std::string checkpoints = folder / "checkpoints/";
  EXPECT_EQ(latest_checkpoint(folder.str(), warnings), checkpoints + "step-000000030");
  EXPECT_TRUE(warnings.empty());

  const std::string model = checkpoints + "step-000000030/model.safetensors";
  const std::string bytes = bytes_of_file(model);
  put_file(model, bytes.substr(0, bytes.size() / 2));
  EXPECT_EQ(latest_checkpoint(folder.str(), warnings), checkpoints + "step-000000020");
  EXPECT_EQ(warnings,
            (Names{fmt::format("{}: truncated or damaged: {} bytes, state.json says {}; use another "
                               "checkpoint (passed over)",
                               model, bytes.size() / 2, bytes.size())}));
  EXPECT_EQ(message_of([&] { load(checkpoints + "step-000000030"); }),
            warnings[0].substr(0, warnings[0].size() - std::string(" (passed over)").size()));

  std::filesystem::remove_all(checkpoints + "step-000000030");
  warnings.clear();
  EXPECT_EQ(latest_checkpoint(folder.str(), warnings), checkpoints + "step-000000020");
  EXPECT_EQ(warnings,
            (Names{checkpoints + "latest: does not name a checkpoint that is there; taking the newest"}));

  for (const std::string& bad : {std::string("\xff"), std::string(5000, 'x'), std::string()}) {
    warnings.clear();
    put_file(checkpoints + "latest", bad);
    EXPECT_EQ(latest_checkpoint(folder.str(), warnings), checkpoints + "step-000000020");
    EXPECT_EQ(warnings.size(), 1U);
  }

  std::filesystem::remove(checkpoints + "step-000000020/state.json");
  std::filesystem::remove(checkpoints + "step-000000010/optimizer.safetensors");
  const std::string message = message_of([&] { latest_checkpoint(folder.str(), warnings); });
  EXPECT_EQ(message,
            checkpoints.substr(0, checkpoints.size() - 1) + ": none of its 2 checkpoints is valid (" +
                checkpoints +
                "step-000000010/optimizer.safetensors: is missing; use another checkpoint (passed over)); "
                "start anew in another folder");
}

TEST(Checkpoint, EverySingleBitFlipIsNoticed) {
  const TempDir folder;
  CheckpointStore(folder.str(), 1).save(checkpoint_at(7), false);
  const std::string checkpoint = folder / "checkpoints/step-000000007";
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    const std::string path = checkpoint + "/" + name, original = bytes_of_file(path);
    std::string bytes = original;
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
      put_file(path, bytes);
      EXPECT_THROW(load(checkpoint), Error) << name << " bit " << bit;
      bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    }
    put_file(path, original);
  }
  EXPECT_EQ(difference(load(checkpoint), checkpoint_at(7)), "");
}

TEST(Checkpoint, RandomMutantsNeverCrash) {
  const TempDir folder;
  CheckpointStore(folder.str(), 1).save(checkpoint_at(7), false);
  const std::string checkpoint = folder / "checkpoints/step-000000007";
  Random random(3);
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    const std::string path = checkpoint + "/" + name, original = bytes_of_file(path);
    for (int i = 0; i < 700; ++i) {
      std::string bytes = original;
      const std::size_t at = random.below(bytes.size());
      if (i % 3 == 0)
        bytes.resize(at);
      else if (i % 3 == 1)
        bytes.erase(at, 1 + random.below(20));
      else
        bytes.insert(at, bytes.substr(random.below(bytes.size()), 1 + random.below(20)));
      put_file(path, bytes);
      EXPECT_TRUE(bytes == original || message_of([&] { load(checkpoint); }) != "no error")
          << name << " " << i;
    }
    put_file(path, original);
  }
}

TEST(Checkpoint, WrongRequests) {
  const TempDir folder;
  EXPECT_EQ(message_of([&] { CheckpointStore(folder.str(), 0); }), "train.keep: 0 must be at least 1");
  EXPECT_EQ(message_of([&] { load(folder / "none"); }),
            folder / "none" + ": no such checkpoint; give a run folder or a checkpoint folder");
  EXPECT_EQ(
      message_of([&] { load(folder.str()); }),
      folder.str() + ": not a checkpoint (no state.json in it); give a run folder or a checkpoint folder");
  CheckpointStore store(folder.str(), 1);
  EXPECT_EQ(message_of([&] { load(folder.str()); }), folder.str() + ": no checkpoint in this run folder yet");
  EXPECT_EQ(
      message_of([&] { CheckpointStore(folder.str(), 1); }),
      folder.str() + ": another process trains in this folder; wait for it or choose another train.output");
  Checkpoint infinite = checkpoint_at(1);
  infinite.state["losses"] = {1.0, INFINITY};
  EXPECT_EQ(message_of([&] { store.save(infinite, false); }),
            "checkpoint: the state of step 1 holds a number that is not finite");
  put_file(folder / "file", "x");
  EXPECT_EQ(
      message_of([&] { CheckpointStore(folder / "file", 1); }),
      folder / "file/checkpoints" + ": cannot create the folder: Not a directory; choose another place");
}

TEST(Checkpoint, LeftoversOfAKilledRunGo) {
  const TempDir folder;
  std::filesystem::create_directories(folder / "checkpoints/.tmp-step-000000010-99-0");
  put_file(folder / "checkpoints/.tmp-step-000000010-99-0/model.safetensors", "half");
  put_file(folder / "checkpoints/.tmp-latest-99-1", "st");
  { CheckpointStore cleans(folder.str(), 1); }
  EXPECT_EQ(names_in(folder.str()), Names{});
}

std::string latest_name(const std::string& run) {
  const std::string path = run + "/checkpoints/latest";
  return std::filesystem::exists(path) ? bytes_of_file(path) : "";
}

TEST(Checkpoint, SurvivesKillsAtRandomMoments) {
  const TempDir folder;
  Random random(5);
  std::int64_t last = 0;
  int saved = 0;
  for (int round = 0; round < 40; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        CheckpointStore store(folder.str(), 2);
        for (std::int64_t step = last + 1;; ++step) store.save(checkpoint_at(step), step % 3 == 0);
      } catch (...) {
        ::_exit(1);
      }
    }
    ASSERT_GT(child, 0);
    // Every other child has saved something before it is killed, however busy the machine is.
    const std::string before = latest_name(folder.str());
    for (int wait = 0; round % 2 && wait < 20'000 && latest_name(folder.str()) == before; ++wait)
      ::usleep(1000);
    ::usleep(static_cast<useconds_t>(random.below(40'000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
    std::vector<std::string> warnings;
    const auto latest = latest_checkpoint(folder.str(), warnings);
    EXPECT_TRUE(warnings.empty()) << warnings[0];
    if (!latest) {
      EXPECT_EQ(last, 0) << "the checkpoints are gone";
      continue;
    }
    const Checkpoint checkpoint = load(*latest);
    EXPECT_EQ(difference(checkpoint, checkpoint_at(checkpoint.step)), "");
    EXPECT_GE(checkpoint.step, last);
    if (checkpoint.step > last) ++saved;
    last = checkpoint.step;
    EXPECT_EQ(data::read_weights(folder.str()).tensors.size(), 2U);
  }
  EXPECT_GE(saved, 20);
  { CheckpointStore cleans(folder.str(), 2); }
  for (const auto& name : names_in(folder.str())) EXPECT_FALSE(name.starts_with(".tmp-")) << name;
}

// A file size limit is the full disk that any machine can offer.
TEST(Checkpoint, AFullDiskLeavesTheLastOne) {
  const TempDir folder;
  CheckpointStore store(folder.str(), 2);
  store.save(checkpoint_at(1), true);
  struct rlimit unlimited {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const std::string first = folder / "checkpoints/step-000000001/";
  for (const rlim_t bytes :
       {std::uintmax_t{1}, std::filesystem::file_size(first + "optimizer.safetensors") - 1,
        std::filesystem::file_size(first + "model.safetensors") - 1,
        std::filesystem::file_size(first + "state.json") - 1}) {
    const rlimit limit{bytes, unlimited.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const std::string message = message_of([&] { store.save(checkpoint_at(2), true); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    EXPECT_TRUE(message.starts_with(folder / "checkpoints/")) << message;
    EXPECT_TRUE(message.ends_with(": cannot write: File too large; free some space and run it again"))
        << message;
    EXPECT_EQ(names_in(folder.str()), (Names{"best", "latest", "step-000000001"}));
    EXPECT_EQ(difference(load(folder.str()), checkpoint_at(1)), "");
  }
  std::signal(SIGXFSZ, handler);
  store.save(checkpoint_at(2), true);
  EXPECT_EQ(difference(load(folder.str()), checkpoint_at(2)), "");
}

}  // namespace
}  // namespace vitral::train
