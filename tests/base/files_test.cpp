// Files that are read, that grow, and journals of hours of work.
#include <cstring>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/files/append_file.h"
#include "base/files/digest.h"
#include "base/files/forward_reader.h"
#include "base/files/input_file.h"
#include "base/files/row_journal.h"
#include "base/hash.h"
#include "base/random.h"
#include "tests/support.h"

namespace vitral {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

TEST(ForwardReader, GivesTheBytesThatAreThere) {
  const TempDir folder;
  const std::string path = folder / "file";
  Random random(3);
  std::string bytes(3 << 20, 0);
  for (char& c : bytes) c = static_cast<char>(random.next());
  put_file(path, bytes);
  const InputFile file(path);
  ForwardReader reader(file);
  const auto expect_at = [&](std::size_t at, std::size_t count) {
    const unsigned char* const got = reader.read(at, count);
    ASSERT_EQ(0, std::memcmp(got, bytes.data() + at, count)) << at << " " << count;
  };
  for (std::size_t at = 0; at + 100 <= bytes.size(); at += 100) expect_at(at, 100);  // all, in small pieces
  for (int i = 0; i < 2000; ++i) {                                                   // in any order
    const std::size_t at = random.below(bytes.size());
    expect_at(at, 1 + random.below(std::min<std::size_t>(bytes.size() - at, 20000)));
  }
  expect_at(0, bytes.size());
  expect_at(bytes.size() - 1, 1);
  EXPECT_EQ(message_of([&] { reader.read(bytes.size() - 1, 2); }),
            path + ": truncated at byte 3145728; copy it again");
  expect_at(7, 1);
}

TEST(InputFile, ReadsWhatIsThereAndNamesWhatIsNot) {
  const TempDir folder;
  const std::string path = folder / "a", pipe = folder / "pipe";
  put_file(path, "0123456789");
  const InputFile file(path);
  EXPECT_EQ(file.size(), 10U);
  EXPECT_TRUE(file.holds(4, 6));
  EXPECT_FALSE(file.holds(4, 7));
  EXPECT_FALSE(file.holds(~std::uint64_t{0}, 2));
  EXPECT_EQ(file.lock_to_read(), 0);
  std::string some(4, '\0');
  file.read(3, some.data(), some.size());
  EXPECT_EQ(some, "3456");
  EXPECT_EQ(message_of([&] { file.read(8, some.data(), some.size()); }),
            path + ": truncated at byte 10; copy it again");
  EXPECT_EQ(std::string(file.map().get(), 10), "0123456789");
  EXPECT_EQ(read_text_file(path, 10), "0123456789");
  EXPECT_EQ(message_of([&] { read_text_file(path, 9); }),
            path + ": 10 bytes, at most 9 are expected; the file is damaged or of another kind");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(message_of([&] { InputFile(folder / "none"); }), folder / "none" + ": no such file");
  EXPECT_EQ(message_of([&] { InputFile(path + "/below"); }), path + "/below: no such file");
  using enum std::filesystem::file_type;
  EXPECT_EQ(file_status(path).type(), regular);
  EXPECT_EQ(file_status(folder.str()).type(), directory);
  EXPECT_EQ(file_status(folder / "none").type(), not_found);
  EXPECT_EQ(file_status(path + "/below").type(), not_found);
  // As a folder that may not be entered, which root never meets.
  std::filesystem::create_symlink("circle", folder / "circle");
  const std::string lost = folder / "circle/file";
  const std::string why =
      ": cannot be read: Too many levels of symbolic links; check the path and its permissions";
  EXPECT_EQ(message_of([&] { file_status(lost); }), lost + why);
  EXPECT_EQ(message_of([&] { InputFile{lost}; }), lost + why);
  EXPECT_EQ(message_of([&] { InputFile(folder.str()); }),
            folder.str() + ": is a directory, not a file; give a regular file");
  EXPECT_EQ(message_of([&] { InputFile other(pipe); }), pipe + ": is not a regular file, name one");
}

TEST(Hash, OfPiecesIsThatOfTheWhole) {
  const TempDir folder;
  put_file(folder / "a", "stained glass");
  Hash hash;
  hash.add("stained", 7);
  hash.add(" glass", 6);
  EXPECT_EQ(hash.value(), hash_of("stained glass"));
  EXPECT_EQ(digest_of(folder / "a"), (FileDigest{13, hash.value()}));
}

TEST(Bytes, LowestFirst) {
  EXPECT_EQ(le16(0x1234), "\x34\x12");
  EXPECT_EQ(le32(0x01020304), "\x04\x03\x02\x01");
  EXPECT_EQ(le64(0x0102030405060708), "\x08\x07\x06\x05\x04\x03\x02\x01");
}

TEST(AppendFile, GrowsByWholeRecords) {
  const TempDir folder;
  const std::string path = folder / "a";
  AppendFile(path, AppendFile::Mode::create).write("one\n");
  AppendFile file(path, AppendFile::Mode::append);
  file.write("two\n");
  file.sync();
  EXPECT_EQ(bytes_of_file(path), "one\ntwo\n");
  EXPECT_EQ(message_of([&] { AppendFile(path, AppendFile::Mode::create); }),
            path + ": cannot be opened for writing: File exists");
}

TEST(RowJournal, EndsBeforeTheFirstRowThatIsNotWhatWasWritten) {
  const TempDir folder;
  const std::string path = folder / "a", rows = "aaaabbbbccccdddd";
  const auto open = [&] { return RowJournal(path, "test-1", "x", 4); };
  open().append(rows.data(), 4);
  const std::string whole = bytes_of_file(path);
  const std::size_t head = std::string("test-1\nx\n").size();
  ASSERT_EQ(whole.size(), head + 4 * 12);
  const auto expect_rows = [&](const std::string& bytes, std::int64_t count, const std::string& what) {
    put_file(path, bytes);
    const RowJournal journal = open();
    EXPECT_EQ(journal.rows(), count) << what;
    std::string there(static_cast<std::size_t>(4 * count), '\0');
    journal.read(0, count, there.data());
    EXPECT_EQ(there, rows.substr(0, there.size())) << what;
    if (count == 0) return;  // it goes with its owner
    EXPECT_EQ(bytes_of_file(path), whole.substr(0, head + 12 * static_cast<std::size_t>(count)));
  };
  for (std::size_t bit = 0; bit < 8 * 4 * 12; ++bit) {
    std::string flipped = whole;
    flipped[head + bit / 8] = static_cast<char>(flipped[head + bit / 8] ^ 1 << bit % 8);
    expect_rows(flipped, static_cast<std::int64_t>(bit / 8 / 12), fmt::format("bit {}", bit));
  }
  for (std::size_t from = head; from <= whole.size(); ++from) {  // a tail that never reached the disk
    const std::string kept = whole.substr(0, from);
    const auto count = static_cast<std::int64_t>((from - head) / 12);
    expect_rows(kept, count, "cut");
    expect_rows(kept + std::string(whole.size() - from + 100, '\0'), count, "zeros");
  }
  std::string swapped = whole;
  swapped.replace(head + 12, 12, whole, head + 24, 12);
  expect_rows(swapped, 1, "a row in the place of another");

  put_file(path, whole);
  const RowJournal journal = open();
  std::string flipped = whole;
  flipped[head + 25] ^= 1;
  std::ofstream(path, std::ios::in | std::ios::out | std::ios::binary) << flipped;  // while it is open
  std::string there(16, '\0');
  EXPECT_EQ(message_of([&] { journal.read(1, 3, there.data()); }),
            path + ": row 2 has changed on the disk; run the command again, it goes on from there");
}

TEST(RowJournal, GoesOnAfterTheLastWholeRow) {
  const TempDir folder;
  const std::string path = folder / "a";
  const auto open = [&](const std::string& identity) { return RowJournal(path, "test-1", identity, 4); };
  {
    RowJournal journal = open("x");
    EXPECT_EQ(journal.rows(), 0);
    journal.append("aaaabbbb", 2);
  }
  const std::string whole = bytes_of_file(path);
  ASSERT_EQ(whole.size(), std::string("test-1\nx\n").size() + 2 * 12);
  for (const char* torn : {"", "c", "ccc"}) {
    put_file(path, whole + torn);
    RowJournal journal = open("x");
    EXPECT_EQ(journal.rows(), 2);
    journal.append("dddd", 1);
    std::string rows(8, '\0');
    journal.read(1, 2, rows.data());
    EXPECT_EQ(rows, "bbbbdddd");
    EXPECT_EQ(message_of([&] { journal.read(2, 2, rows.data()); }), "journal: rows [2, 4) of 3");
    EXPECT_EQ(message_of([&] { open("x"); }), path + ": another process is writing it; wait for that");
  }
  for (std::size_t length = 0; length < std::string("test-1\nx\n").size(); ++length) {  // not even the head
    put_file(path, whole.substr(0, length));
    RowJournal journal = open("x");
    EXPECT_EQ(journal.rows(), 0);
    EXPECT_EQ(bytes_of_file(path), "test-1\nx\n");
  }
  EXPECT_FALSE(std::filesystem::exists(path));  // it had no rows
  put_file(path, whole);
  EXPECT_EQ(message_of([&] { open("y"); }),
            path +
                ": an unfinished run of another kind (x) is kept here, this one is y; finish it with its own "
                "options, or start again with --restart");
  put_file(path, "something else\n");
  EXPECT_EQ(message_of([&] { open("x"); }), path + ": is in the way, and no journal of this work; move it");
  put_file(path, "");
  open("x").remove();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace vitral
