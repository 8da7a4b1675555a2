// A large file that is changed in its place: whatever fails on the way, the old file is there or the change
// is completed.
#include "base/files/in_place.h"

#include <cerrno>
#include <cstring>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support.h"
#include "tests/system_calls.h"

namespace vitral {
namespace {

namespace fs = std::filesystem;
using test::bytes_of_file;
using test::Fault;
using test::garbled;
using test::lost;
using test::message_of;
using test::put_file;

class InPlace : public testing::Test {
 protected:
  InPlace() {
    for (std::size_t i = 0; i < 50000; ++i) old_ += static_cast<char>(i * i % 251 + 1);
    new_ = old_;
    new_.replace(3, 5, "first");
    new_.replace(8190, 10, "two blocks");
    new_.replace(45000, 4, "last");
    new_ += std::string(30000, 'e');
    put_file(file_, old_);
    OutputFile output(file_);
    output.copy(file_, unchanged_);
    sparse_ = bytes_of_file(output.partial());
    put_file(changed_, new_);
  }
  void start() const {
    put_file(file_, old_);
    fs::remove(change_of(file_));
  }
  void change() const { change_in_place(file_, changed_, unchanged_); }
  bool is_old() const { return bytes_of_file(file_).substr(0, old_.size()) == old_; }

  test::TempDir folder_;
  std::string file_ = folder_ / "f", changed_ = folder_ / "changed", old_, new_, sparse_;
  std::vector<ByteRange> unchanged_{{10000, 30000}, {20000, 40000}};
};

TEST_F(InPlace, CopiesAndChangesAllButWhatStays) {
  std::string expected = old_;
  expected.replace(10000, 30000, std::string(30000, '\0'));
  EXPECT_TRUE(sparse_ == expected || sparse_ == old_) << "of shared blocks";
  new_.replace(15000, 10, "not looked");  // at
  put_file(changed_, new_);
  change();
  new_.replace(15000, 10, old_.substr(15000, 10));
  EXPECT_EQ(bytes_of_file(file_), new_);
  EXPECT_FALSE(is_half_changed(file_));
  put_file(changed_, old_.substr(0, 45100));  // shorter again
  change();
  EXPECT_EQ(bytes_of_file(file_), old_.substr(0, 45100));
}

TEST_F(InPlace, LeavesTheOldFileOrCompletesTheChange) {
  for (const auto& [call, error] : {std::pair{"pwrite", ENOSPC},
                                    {"pwrite", lost},
                                    {"pwrite", garbled},
                                    {"write", ENOSPC},
                                    {"write", lost},
                                    {"write", garbled},
                                    {"fsync", EIO},
                                    {"rename", EIO},
                                    {"open", EIO},
                                    {"pread", EIO}}) {
    SCOPED_TRACE(fmt::format("{} {}", call, error));
    start();
    int calls = 0, half = 0;
    {
      const Fault counted(call, 0, -1, folder_.str());
      change();
      calls = counted.count();
    }
    ASSERT_GT(calls, 0);
    for (int k = 0; k < calls; ++k) {
      SCOPED_TRACE(k);
      start();
      std::string message;
      {
        const Fault fault(call, error, k, folder_.str());
        message = message_of([&] { change(); });
      }
      if (message == "no error") {
        EXPECT_EQ(bytes_of_file(file_), new_);
        continue;
      }
      EXPECT_TRUE(message.starts_with(folder_.str())) << message;
      if (error == lost || error == garbled) {
        EXPECT_NE(message.find(": cannot write: what was read back is not what was written; check the disk"),
                  std::string::npos)
            << message;
      }
      if (!is_half_changed(file_)) {
        EXPECT_TRUE(is_old() || bytes_of_file(file_) == new_);
        change();
      } else {
        ++half;
        complete_change(file_);
      }
      EXPECT_EQ(bytes_of_file(file_), new_);
      EXPECT_FALSE(is_half_changed(file_));
    }
    if (call == std::string("pwrite")) {
      EXPECT_GE(half, 3);
    }
  }
}

TEST_F(InPlace, AChangeIsOfItsFileOnly) {
  const auto interrupt = [&] {
    start();
    const Fault fault("pwrite", EIO, 2, file_);
    message_of([&] { change(); });
  };
  interrupt();
  ASSERT_TRUE(is_half_changed(file_));
  fs::create_symlink("f", folder_ / "link");
  EXPECT_TRUE(is_half_changed(folder_ / "link"));
  // A copy of both can be completed.
  fs::copy_file(file_, folder_ / "copy");
  fs::copy_file(change_of(file_), change_of(folder_ / "copy"));
  complete_change(folder_ / "copy");
  EXPECT_EQ(bytes_of_file(folder_ / "copy"), new_);
  // Another file under the name.
  fs::remove(file_);
  const std::string other(new_.size(), 'o');
  put_file(file_, other);
  EXPECT_EQ(message_of([&] { complete_change(file_); }),
            fmt::format("{0}.change: is of another file than {0} is now; remove it", file_));
  EXPECT_EQ(bytes_of_file(file_), other);
  { OutputFile(file_).commit(); }
  EXPECT_FALSE(is_half_changed(file_)) << "the file that it was of is replaced";
  // A damaged one.
  interrupt();
  std::string bytes = bytes_of_file(change_of(file_));
  bytes[bytes.size() / 2] ^= 1;
  put_file(change_of(file_), bytes);
  EXPECT_EQ(
      message_of([&] { complete_change(file_); }),
      fmt::format("{0}.change: is damaged; {0} may be half changed, write it again and remove both", file_));
}

}  // namespace
}  // namespace vitral
