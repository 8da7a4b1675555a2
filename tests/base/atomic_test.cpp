#include "base/files/atomic.h"

#include <cerrno>
#include <functional>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support.h"
#include "tests/system_calls.h"

namespace vitral {
namespace {

namespace fs = std::filesystem;
using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

TEST(AtomicFile, IsThereAfterCommitOnly) {
  const TempDir folder;
  const std::string path = folder / "a";
  {
    AtomicFile file(path);
    file.write("left behind");
  }
  EXPECT_TRUE(fs::is_empty(folder.str()));
  put_file(path, "old");
  AtomicFile file(path);
  file.write("ne");
  file.write("w");
  EXPECT_EQ(bytes_of_file(path), "old");
  const FileDigest digest = file.commit();
  EXPECT_EQ(bytes_of_file(path), "new");
  EXPECT_EQ(digest, digest_of(path));
  EXPECT_EQ(digest.bytes, 3U);
  EXPECT_EQ(write_file_atomic(folder / "empty", "").xxh3, 0x2d06800538d394c2U);  // XXH3-64 of nothing
}

TEST(AtomicFile, WhatAKilledProcessLeftIsWrittenOver) {
  const TempDir folder;
  const std::string path = folder / "a", left = folder / ".tmp-a";
  put_file(left, "the first half of something longer");
  write_file_atomic(path, "new");
  EXPECT_EQ(bytes_of_file(path), "new");
  EXPECT_FALSE(fs::exists(left));
  // Of two writers at once each has its own, and the last one stays.
  AtomicFile first(path), second(path);
  first.write("1");
  second.write("22");
  second.commit();
  EXPECT_EQ(bytes_of_file(path), "22");
  first.commit();
  EXPECT_EQ(bytes_of_file(path), "1");
  // A link, or another name of a file, is nothing to write over.
  put_file(folder / "other", "mine");
  for (const auto& make : {std::function([&] { fs::create_symlink("other", left); }),
                           std::function([&] { fs::create_hard_link(folder / "other", left); })}) {
    make();
    write_file_atomic(path, "newer");
    EXPECT_EQ(bytes_of_file(path), "newer");
    EXPECT_EQ(bytes_of_file(folder / "other"), "mine");
    fs::remove(left);
  }
}

TEST(AtomicFile, LinksStayAndWhatIsNoFileIsRefused) {
  const TempDir folder;
  put_file(folder / "file", "old");
  fs::create_symlink("file", folder / "link");
  write_file_atomic(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(bytes_of_file(folder / "file"), "new");
  EXPECT_EQ(message_of([] { write_file_atomic("/dev/null", "x"); }),
            "/dev/null: cannot write: this is not a regular file; choose the name of a file");
  EXPECT_EQ(message_of([&] { write_file_atomic(folder.str(), "x"); }),
            folder.str() + ": cannot write: this is a directory; choose the name of a file");
  EXPECT_EQ(message_of([&] { write_file_atomic(folder / "none/x", "x"); }),
            folder / "none/x" + ": cannot write: No such file or directory; create the folder first");
  if (::geteuid() != 0) {
    fs::permissions(folder.str(), fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_EQ(message_of([&] { write_file_atomic(folder / "x", "x"); }),
              folder / "x" + ": cannot write: Permission denied; choose a folder you may write to");
    fs::permissions(folder.str(), fs::perms::owner_all);
  }
}

TEST(AtomicFile, IsReadBackBeforeItTakesItsName) {
  const TempDir folder;
  const std::string path = folder / "a";
  put_file(path, "old");
  for (const int error : {test::lost, test::garbled})
    for (int k = 0; k < 2; ++k) {
      EXPECT_EQ(message_of([&] {
                  const test::Fault fault("write", error, k, folder.str());
                  AtomicFile file(path);
                  file.write("ne");
                  file.write("w");
                  file.commit();
                }),
                path + ": cannot write: what was read back is not what was written; check the disk");
      EXPECT_EQ(bytes_of_file(path), "old");
    }
  const test::Fault fault("pread", EIO, 0, folder.str());
  EXPECT_EQ(message_of([&] { write_file_atomic(path, "new"); }),
            path + ": cannot write: reading it back: Input/output error; check the disk");
  EXPECT_EQ(bytes_of_file(path), "old");
}

TEST(AtomicDirectory, SyncsEachFileAndEachFolderOnce) {
  const TempDir folder;
  const test::Fault counted("fsync", 0, -1, folder.str());
  AtomicDirectory directory(folder / "d");
  for (const char* name : {"a", "b", "c"}) write_file_atomic(directory.file(name), name);
  EXPECT_EQ(counted.count(), 3);
  directory.commit();
  EXPECT_EQ(counted.count(), 3 + 2);
}

TEST(AtomicDirectory, CreatesFoldersAbove) {
  const TempDir folder;
  create_folders(folder / "a/b/c");
  create_folders(folder / "a/b/c/");
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
  put_file(folder / "file", "x");
  EXPECT_EQ(message_of([&] { create_folders(folder / "file/a"); }),
            folder / "file/a" + ": cannot create the folder: Not a directory; choose another place");
}

TEST(AtomicDirectory, AppearsWholeAndReplacesWhole) {
  const TempDir folder;
  const std::string path = folder / "d";
  {
    AtomicDirectory directory(path);
    write_file_atomic(directory.file("x"), "1");
  }
  EXPECT_TRUE(fs::is_empty(folder.str()));
  for (const char* name : {"first", "second"}) {
    AtomicDirectory directory(path + "/");
    write_file_atomic(directory.file(name), "1");
    EXPECT_TRUE(is_temporary_name(fs::path(directory.temporary()).filename().string()));
    directory.commit();
    EXPECT_TRUE(fs::exists(path + "/" + name));
  }
  EXPECT_FALSE(fs::exists(path + "/first"));
  EXPECT_TRUE(remove_folder_atomic(path));
  EXPECT_FALSE(remove_folder_atomic(path));
  EXPECT_TRUE(fs::is_empty(folder.str()));
}

}  // namespace
}  // namespace vitral
