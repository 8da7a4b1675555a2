// Decodes event files byte by byte, on its own and not with the writer's helpers.
#include "train/run/tensorboard.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/support.h"
#include "tests/train/run/event_file.h"

namespace vitral::train {
namespace {

using test::Event;
using test::masked;
using test::read_events;
using test::Reader;
using test::TempDir;

TEST(Crc32c, GivesThePublishedTestVectors) {
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  std::string rising;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i);
  EXPECT_EQ(crc32c(rising), 0x46DD794EU);
}

TEST(TensorBoard, TheFirstRecordIsTheVersionByteForByte) {
  const TempDir dir;
  const TensorBoardWriter writer(dir.str());
  std::ifstream file(writer.path(), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  ASSERT_EQ(bytes.size(), 8U + 4 + 26 + 4);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x1a\0\0\0\0\0\0\0", 8));  // 26 bytes follow
  EXPECT_EQ(bytes[12], '\x09');                                         // field 1, the time
  EXPECT_EQ(bytes.substr(21, 2), std::string("\x10\0", 2));             // field 2, step 0
  EXPECT_EQ(bytes.substr(23, 15),
            "\x1a\x0d"
            "brain.Event:2");  // field 3
}

TEST(TensorBoard, SortsBehindNewerFilesOfAnotherClock) {
  const TempDir dir;
  std::ofstream(dir / "events.out.tfevents.1999999999.host") << "";
  const TensorBoardWriter first(dir.str()), second(dir.str(), 7);
  EXPECT_TRUE(first.path().starts_with(dir / "events.out.tfevents.2000000000.")) << first.path();
  EXPECT_TRUE(second.path().starts_with(dir / "events.out.tfevents.2000000001.")) << second.path();
}

TEST(TensorBoard, WritesTheScalarsOfARecord) {
  const TempDir dir;
  TensorBoardWriter writer(dir.str());
  EXPECT_TRUE(std::filesystem::path(writer.path()).filename().string().starts_with("events.out.tfevents."));
  writer.train({.step = 300,
                .epoch = 2,
                .loss = 1.5,
                .grad_norm = 3,
                .lr = 1e-3,
                .images_per_second = 12,
                .data_wait = 0.25});
  writer.val({.step = 5'000'000'000, .epoch = 2, .values = {{"loss", 2.5}, {"cosine", -0.5}}});
  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_EQ(events[1].step, 300);
  EXPECT_EQ(events[1].scalars, (std::map<std::string, float>{{"train/loss", 1.5F},
                                                             {"train/grad_norm", 3},
                                                             {"train/lr", 1e-3F},
                                                             {"train/images_per_second", 12},
                                                             {"train/data_wait", 0.25F}}));
  EXPECT_EQ(events[2].step, 5'000'000'000);
  EXPECT_EQ(events[2].scalars, (std::map<std::string, float>{{"val/loss", 2.5F}, {"val/cosine", -0.5F}}));
  for (const Event& event : events) {
    EXPECT_GT(event.wall_time, 1.6e9);
    EXPECT_LT(event.wall_time, 1e10);
    EXPECT_EQ(event.session_status, 0U);
  }
}

TEST(TensorBoard, AResumeStartsASessionInAFileOfItsOwn) {
  const TempDir dir;
  std::set<std::string> paths;
  for (int i = 0; i < 3; ++i) {
    const TensorBoardWriter writer(dir.str(), 40 + i);
    // TensorBoard reads the files in the order of their names.
    EXPECT_TRUE(paths.empty() || writer.path() > *paths.rbegin());
    EXPECT_TRUE(paths.insert(writer.path()).second);
    const auto events = read_events(writer.path());
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].file_version, "brain.Event:2");
    EXPECT_EQ(events[1].session_status, 1U);
    EXPECT_EQ(events[1].step, 41 + i);
  }
}

TEST(TensorBoard, AFolderThatIsNotThereIsAnErrorThatNamesTheFile) {
  const std::string message = test::message_of([] { TensorBoardWriter("no/such"); });
  EXPECT_TRUE(message.starts_with("no/such/events.out.tfevents.")) << message;
  EXPECT_TRUE(message.ends_with(": cannot be opened for writing: No such file or directory")) << message;
}

}  // namespace
}  // namespace vitral::train
