// Text files from every system, and paths from no shell.
#include "base/files/text_file.h"

#include <csignal>
#include <cstdlib>

#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>

#include "base/files/atomic.h"
#include "base/files/output_file.h"
#include "base/home.h"
#include "base/signals.h"
#include "base/text.h"
#include "tests/gzip.h"
#include "tests/support.h"

namespace vitral {
namespace {

using namespace std::string_literals;
using test::message_of;

std::string refused(const std::string& bytes) {
  return message_of([&] { decode_text(bytes, "list"); });
}

TEST(TextFile, IsTheSameFromEverySystem) {
  EXPECT_EQ(decode_text("\xEF\xBB\xBF"
                        "a\r\nü\rc\n\r\n",
                        "list"),
            "a\nü\nc\n\n");
  EXPECT_EQ(decode_text("\xFF\xFE"
                        "a\0\r\0\n\0\xFC\0\x3D\xD8\x00\xDE"s,
                        "list"),
            "a\nü😀");
  EXPECT_EQ(decode_text("\xFE\xFF"
                        "\0a\0\r\0\xFC\xD8\x3D\xDE\x00"s,
                        "list"),
            "a\nü😀");
  EXPECT_EQ(decode_text("\xFF\xFE", "list"), "");
  EXPECT_EQ(decode_text("", "list"), "");
}

TEST(TextFile, OthersAreRefusedWithTheLine) {
  EXPECT_EQ(refused("a\r\nb\r\xFC"
                    "c\n"),
            "list:3: is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8 FILE");
  EXPECT_EQ(refused("a\n\0"s),
            "list:2: has a NUL byte; it is no text, or UTF-16 without a byte order mark: save it as UTF-8");
  for (const std::string& bytes : {"\xFF\xFE"
                                   "a"s,
                                   "\xFF\xFE"
                                   "\x3D\xD8"s,
                                   "\xFF\xFE"
                                   "\x00\xDE"s})
    EXPECT_EQ(refused(bytes), "list:1: is not valid UTF-16, as its first bytes say; save it as UTF-8");
}

TEST(TextFile, LinesKeepTheirNumbers) {
  const test::TempDir dir;
  const std::string path = dir / "list";
  test::put_file(path,
                 "\xEF\xBB\xBF"
                 "a\r\n \t\r\n\rb");
  const auto lines = read_lines(path);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].text, "a");
  EXPECT_EQ(lines[1].number, 4);
  EXPECT_EQ(lines[1].text, "b");
  test::put_file(path, " \n");
  EXPECT_EQ(message_of([&] { read_lines(path); }), path + ": holds no lines; write one entry a line");
}

TEST(Home, IsPutInWhereAShellDidNot) {
  const test::TempDir dir;
  const std::string before = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::setenv("HOME", dir.str().c_str(), 1);
  EXPECT_EQ(expand_home("~"), dir.str());
  EXPECT_EQ(expand_home("~/x"), dir / "x");
  EXPECT_EQ(expand_home("./~"), "./~");
  EXPECT_EQ(expand_home("~root/x"), std::string(::getpwnam("root")->pw_dir) + "/x");
  EXPECT_EQ(message_of([] { expand_home("~nobody-is-called-so/x"); }),
            "~nobody-is-called-so/x: there is no user 'nobody-is-called-so' whose home folder ~ could be; "
            "write the path in full, or ./~");
  ::setenv("HOME", before.c_str(), 1);
  EXPECT_EQ(unexpanded_variable("$HOME/runs"), "$HOME");
  EXPECT_EQ(unexpanded_variable("runs/${USER}/x"), "${USER}");
  EXPECT_EQ(unexpanded_variable("a$b/5$/$1"), "");
}

TEST(Outputs, KeepThePermissionsOfWhatTheyReplace) {
  const test::TempDir dir;
  const std::string path = dir / "x";
  const auto mode = [&] {
    struct stat info {};
    ::stat(path.c_str(), &info);
    return info.st_mode & 07777U;
  };
  for (const mode_t kept : {0600U, 0640U, 0664U}) {
    test::put_file(path, "old");
    ::chmod(path.c_str(), kept);
    write_file_atomic(path, "new");
    EXPECT_EQ(mode(), kept);
    OutputFile(path).commit();
    EXPECT_EQ(mode(), kept);
  }
}

TEST(Outputs, FollowNoLinkThatLiesInTheWay) {
  const test::TempDir dir;
  const std::string path = dir / "x.h5", other = dir / "other";
  test::put_file(other, "of somebody else");
  const auto expect_refused = [&] {
    EXPECT_EQ(message_of([&] { OutputFile output(path); }),
              path + ".partial: is a link, or no regular file; remove it");
    EXPECT_EQ(test::bytes_of_file(other), "of somebody else");
    std::filesystem::remove(path + ".partial");
  };
  std::filesystem::create_symlink(other, path + ".partial");
  expect_refused();
  std::filesystem::create_hard_link(other, path + ".partial");
  expect_refused();
  ASSERT_EQ(::mkfifo((path + ".partial").c_str(), 0600), 0);
  expect_refused();
  test::put_file(path + ".partial", "of a process that was killed");
  OutputFile(path).commit();
}

TEST(PackedText, IsWhatGzipPacked) {
  const test::TempDir dir;
  const std::string path = dir / "list.txt.gz", packed = test::zipped("a\r\nb\n");
  const auto message = [&](const std::string& bytes, std::uint64_t limit = 100) {
    test::put_file(path, bytes);
    return message_of([&] { read_packed_text(path, limit); });
  };
  EXPECT_EQ(message("plain\n"), "no error");
  EXPECT_EQ(read_packed_text(path), "plain\n");
  EXPECT_EQ(message(packed + test::zipped("") + test::zipped("c")), "no error");  // as cat joins two
  EXPECT_EQ(read_packed_text(path), "a\nb\nc");
  ASSERT_EQ(read_lines(path).size(), 3U);
  EXPECT_EQ(read_lines(path)[2].text, "c");
  const std::string large = test::zipped(std::string(101, 'x')), two = packed + packed;
  EXPECT_EQ(message(large), path + ": unpacks to more than 100 bytes; it is damaged or of another kind");
  EXPECT_EQ(message(large, 101), "no error");
  for (const std::string& whole : {packed, two})
    EXPECT_EQ(message(whole.substr(0, whole.size() - 1)),
              path + ": truncated, the gzip data end too early; copy it again");
  std::string damaged = two;
  damaged[packed.size() + 12] ^= 0x55;
  EXPECT_EQ(message(damaged), path + ": damaged gzip data; copy it again");
  EXPECT_EQ(message(test::zipped("a\n\xff")),
            path + ":2: is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8 FILE");
}

TEST(OneLine, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(one_line("a\nb\x1b[31m\x7f\r"), "a\\x0ab\\x1b[31m\\x7f\\x0d");
  EXPECT_EQ(one_line("\xc2\x9b"
                     "31m\xc2\x80\xc2\x9f"),
            "\\x9b31m\\x80\\x9f");
  const std::string words = "ü \xc2\xa0\xc2\xa9 Ā 猫 🐈 \xc2";
  EXPECT_EQ(one_line(words), words);
}

TEST(StopSignals, AreThoseOfPeopleAndBatchSystems) {
  ::signal(SIGHUP, SIG_DFL);  // whoever started the tests
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU}) {
    const StopSignals stop;
    ::raise(signal);
    EXPECT_EQ(stop.signal(), signal);
  }
  EXPECT_EQ(signal_name(SIGXCPU), "SIGXCPU");
  ::signal(SIGHUP, SIG_IGN);  // as nohup does
  {
    const StopSignals stop;
    ::raise(SIGHUP);
    EXPECT_FALSE(stop.requested());
  }
  ::signal(SIGHUP, SIG_DFL);
}

}  // namespace
}  // namespace vitral
