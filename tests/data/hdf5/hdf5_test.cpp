#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/files/input_file.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/hdf5/row_writer.h"
#include "data/hdf5/rows.h"
#include "tests/support.h"

static int no_locks = 0;  // errno of every flock(), the HDF5 library's too; 0: they work
extern "C" int flock(int descriptor, int operation) noexcept {
  if (no_locks == 0) return static_cast<int>(::syscall(SYS_flock, descriptor, operation));
  errno = no_locks;
  return -1;
}

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

TEST(Hdf5, RoundTrip) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  {
    H5File f = H5File::create(path);
    f.write("/images", Tensor::full({3, 2, 2, 3}, 7, DType::uint8), 1);
    f.write("/half", Tensor::from(std::vector<float>{0.5F, -2.25F}, {2}).cast(DType::float16));
    f.write_strings("/concepts/names", {"red circle", "größe"});
    // Well-formed text of one to four bytes a letter, then what is not: Unicode Standard, table 3-7.
    f.write_strings("/text", {"a\u00e4\u20ac\U0001f600", "\xc1\x81", "\xe0\x80\xaf", "\xed\xa0\x80",
                              "\xf4\x90\x80\x80", "\xe2\x82"});
    f.set_attribute("model", "\xff");
    f.set_attribute("teacher", "clip");
    f.write_uint64("/seeds", {0, ~0ULL}, {2, 1});
    f.create_growing("/grown", {2}, DType::float32, 4);
    for (int i = 0; i < 5; ++i) f.append("/grown", Tensor::full({1, 2}, i));
    f.close();
  }
  const H5File f = H5File::open(path);
  EXPECT_EQ(f.shape("/images"), (Shape{3, 2, 2, 3}));
  EXPECT_EQ(f.dtype("/half"), DType::float16);
  EXPECT_EQ(f.read("/half").to_vector(), (std::vector<double>{0.5, -2.25}));
  EXPECT_EQ(f.read_strings("/concepts/names"), (std::vector<std::string>{"red circle", "größe"}));
  EXPECT_EQ(f.attribute("teacher"), "clip");
  EXPECT_EQ(f.attribute("model"), "\\xff");
  EXPECT_EQ(f.read_strings("/text"),
            (std::vector<std::string>{"a\u00e4\u20ac\U0001f600", R"(\xc1\x81)", R"(\xe0\x80\xaf)",
                                      R"(\xed\xa0\x80)", R"(\xf4\x90\x80\x80)", R"(\xe2\x82)"}));
  EXPECT_EQ(f.read_uint64("/seeds"), (std::vector<std::uint64_t>{0, ~0ULL}));
  EXPECT_EQ(f.attribute("transform"), std::nullopt);
  EXPECT_EQ(f.read("/grown").to_vector(), (std::vector<double>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}));
  EXPECT_FALSE(f.has("/concepts/embeddings"));
  EXPECT_FALSE(f.has("/nothing/at/all"));
  EXPECT_EQ(message_of([&] { f.read("/nothing"); }), path + ": has no dataset /nothing");
}

TEST(Hdf5, BadFilesAreOneLine) {
  const TempDir dir;
  EXPECT_EQ(message_of([&] { H5File::open(dir / "none.h5"); }),
            dir / "none.h5" + std::string(": no such file"));
  EXPECT_EQ(message_of([&] { H5File::open(dir.str()); }),
            dir.str() + ": is a directory, an HDF5 file is needed");
  std::ofstream(dir / "text.h5") << "hello";
  EXPECT_EQ(message_of([&] { H5File::open(dir / "text.h5"); }),
            dir / "text.h5" + std::string(": is not an HDF5 file"));
  {
    H5File f = H5File::create(dir / "cut.h5");
    f.write("/x", Tensor::zeros({10000}));
  }
  const auto whole = std::filesystem::file_size(dir / "cut.h5");
  std::filesystem::resize_file(dir / "cut.h5", 20000);
  EXPECT_EQ(message_of([&] { H5File::open(dir / "cut.h5"); }),
            fmt::format("{}: is truncated: 20000 of its {} bytes are there; copy it or write it again",
                        dir / "cut.h5", whole));
  {
    std::fstream damage(dir / "cut.h5", std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(8);
    damage.put(99);  // the version of the superblock
  }
  EXPECT_EQ(message_of([&] { H5File::open(dir / "cut.h5"); }),
            dir / "cut.h5" + std::string(": cannot be opened as HDF5, it is damaged; write it again"));
}

// What a crash leaves, and what a SWMR writer looks like while it writes.
TEST(Hdf5, LeftOpenForWriting) {
  const TempDir dir;
  const std::string path = dir / "killed.h5";
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate((dir / "a.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  ASSERT_GE(file, 0);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  std::filesystem::copy(dir / "a.h5", path);
  H5Fclose(file);
  H5Pclose(access);
  EXPECT_EQ(message_of([&] { H5File::open(dir / "a.h5"); }), "no error");
  EXPECT_EQ(message_of([&] { H5File::open(path); }),
            path +
                ": is marked as open for writing; close the program that writes it, or if that has crashed, "
                "repair the file with h5clear -s " +
                path);
}

TEST(Hdf5, FileSystemsWithoutLocks) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  H5File::create(path).close();
  for (const int why : {ENOLCK, EOPNOTSUPP, ENOSYS}) {
    no_locks = why;
    EXPECT_EQ(message_of([&] { H5File::open(path); }), "no error");
    EXPECT_EQ(message_of([&] { H5File::modify(path); }), "no error");
    no_locks = 0;
  }
}

TEST(Hdf5, FilesThatCannotBeReadNow) {
  const TempDir dir;
  const std::string path = dir / "a.h5", pipe = dir / "pipe";
  H5File::create(path).close();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(message_of([&] { H5File::open(pipe); }), pipe + ": is not a regular file, name one");
  EXPECT_EQ(message_of([&] { InputFile reader(pipe); }), pipe + ": is not a regular file, name one");
  EXPECT_FALSE(H5File::is_hdf5(pipe));
  // What the library does to write, here and in h5py.
  const int writer = ::open(path.c_str(), O_RDWR);
  ASSERT_EQ(::flock(writer, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(message_of([&] { H5File::open(path); }),
            path + ": another program has it open for writing; close it there");
  ::close(writer);
  H5File::open(path);
  // The superuser may read everything.
  ASSERT_EQ(::chmod(dir.str().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  const uid_t me = ::geteuid();
  ASSERT_TRUE(me != 0 || ::seteuid(65534) == 0);
  const std::string message = message_of([&] { H5File::open(path); });
  ASSERT_TRUE(me != 0 || ::seteuid(me) == 0);
  EXPECT_EQ(message, path + ": cannot be read: Permission denied; check the path and its permissions");
}

// Chunks of 64 KiB, or of one row that is longer, or of all rows where there are few; the buffer is 4 MiB.
TEST(Hdf5, RowsAreWrittenInWholeChunks) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  struct Case {
    std::int64_t row_bytes, rows, at_once;
    const char* layout;
  };
  for (const Case& c : {Case{1, 0, 1, "chunks of 1 row"}, Case{100, 7, 3, "chunks of 7 rows"},
                        Case{1000, 9001, 70, "chunks of 65 rows"}, Case{70000, 150, 1, "chunks of 1 row"},
                        Case{5 << 20, 3, 2, "chunks of 1 row"}}) {
    Tensor all({c.rows, c.row_bytes}, DType::uint8);
    for (std::int64_t i = 0; i < all.numel(); ++i)
      all.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % 251 + i / c.row_bytes);
    H5File file = H5File::create(path);
    RowWriter rows(file, "/rows", {c.row_bytes}, DType::uint8);
    for (std::int64_t i = 0; i < c.rows; i += c.at_once)
      rows.add(all.rows(i, std::min(i + c.at_once, c.rows)));
    rows.finish();
    file.close();
    const H5File written = H5File::open(path);
    EXPECT_EQ(written.shape("/rows"), (Shape{c.rows, c.row_bytes}));
    const Tensor read = written.read("/rows");
    EXPECT_TRUE(all.numel() == 0 ||
                std::memcmp(read.raw(), all.raw(), static_cast<std::size_t>(all.bytes())) == 0);
    EXPECT_EQ(index_storage(written, InputFile(path), "/rows", written.layout("/rows")).layout, c.layout);
  }
}

// A dataset uint8 [4,100] of chunks of one row behind a filter, whose name and number the file keeps.
void write_filtered(const std::string& path, H5Z_filter_t filter) {
  H5File f = H5File::create(path);
  const hsize_t dims[] = {4, 100}, chunk[] = {1, 100};
  const hid_t space = H5Screate_simple(2, dims, nullptr), creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(creation, 2, chunk);
  H5Pset_filter(creation, filter, H5Z_FLAG_MANDATORY, 0, nullptr);
  const hid_t dataset =
      H5Dcreate2(f.id(), "/rows", H5T_NATIVE_UINT8, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  const std::vector<std::uint8_t> values(400, 77);
  EXPECT_GE(H5Dwrite(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  H5Dclose(dataset);
  H5Pclose(creation);
  H5Sclose(space);
  f.close();
}

TEST(Hdf5, CompressionThatTheLibraryLacks) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  struct Case {
    H5Z_filter_t number;
    const char *title, *said;
  };
  for (const Case& c : {Case{32000, "lzf", "lzf"}, Case{32015, "", "filter 32015"},
                        Case{32004, "HDF5 lz4 filter; see http://www.hdfgroup.org", "HDF5 lz4 filter"}}) {
    const H5Z_class2_t filter{H5Z_CLASS_T_VERS,
                              c.number,
                              1,
                              1,
                              c.title,
                              nullptr,
                              nullptr,
                              [](unsigned, std::size_t, const unsigned*, std::size_t bytes, std::size_t*,
                                 void**) { return bytes; }};
    H5File::create(path).close();  // opens the library
    ASSERT_GE(H5Zregister(&filter), 0);
    write_filtered(path, c.number);
    ASSERT_GE(H5Zunregister(c.number), 0);
    const auto file = std::make_shared<const H5File>(H5File::open(path));
    const std::string expected = fmt::format(
        "{}: /rows is compressed with {}, which this HDF5 cannot read; rewrite it with gzip or none", path,
        c.said);
    EXPECT_EQ(message_of([&] { file->read("/rows"); }), expected);
    EXPECT_EQ(message_of([&] { RowReader(file, std::make_shared<const InputFile>(path), "/rows"); }),
              expected);
  }
}

TEST(Hdf5, DamageInAnotherThreadIsOneLine) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  write_filtered(path, H5Z_FILTER_FLETCHER32);
  std::string bytes = test::bytes_of_file(path);
  const std::size_t third = bytes.find(std::string(100, 77)) + 2 * 104;  // each row with its checksum
  ASSERT_EQ(bytes.at(third + 50), 77);
  bytes[third + 50] = 78;
  test::put_file(path, bytes);
  const RowReader rows(std::make_shared<const H5File>(H5File::open(path)),
                       std::make_shared<const InputFile>(path), "/rows");
  std::string message;
  testing::internal::CaptureStderr();
  std::thread([&] {
    std::vector<std::uint8_t> row(100);
    message = message_of([&] { rows.read(2, row.data()); });
  }).join();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(message, path + ": /rows row 2 cannot be read; the file is damaged");
}

TEST(Hdf5, SoftLinksAreFollowedWithinTheFile) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  {
    H5File f = H5File::create(path);
    f.write("/real/deep/x", Tensor::full({3}, 5));
    const auto link = [&](const char* to, const char* name) {
      ASSERT_GE(H5Lcreate_soft(to, f.id(), name, H5P_DEFAULT, H5P_DEFAULT), 0);
    };
    link("/real", "/a");
    link("deep/./x", "/real/y");  // relative to its group
    link("/a//y", "/b");          // two more links on the way
    link("/gone/x", "/dangling");
    link("/loop", "/loop");
    ASSERT_GE(H5Lcreate_external("other.h5", "/x", f.id(), "/outside", H5P_DEFAULT, H5P_DEFAULT), 0);
    link("/outside", "/far");
    f.close();
  }
  const H5File f = H5File::open(path);
  for (const char* name : {"/a/deep/x", "/real/y", "/a/y", "/b"}) {
    EXPECT_TRUE(f.has(name)) << name;
    EXPECT_EQ(f.read(name).to_vector(), std::vector<double>(3, 5)) << name;
  }
  EXPECT_TRUE(f.is_group("/a"));
  EXPECT_FALSE(f.has("/a/z"));
  EXPECT_FALSE(f.has("/b/z"));
  const std::string copy = " lies in another file, copy it into this one";
  EXPECT_EQ(message_of([&] { f.has("/outside"); }), path + ": /outside" + copy);
  EXPECT_EQ(message_of([&] { f.has("/outside/x"); }), path + ": /outside/x" + copy);
  EXPECT_EQ(message_of([&] { f.read("/far"); }), path + ": /far" + copy);
  EXPECT_EQ(message_of([&] { f.has("/dangling"); }),
            path + ": /dangling is a link to /gone, which is not there; write it, or remove the link");
  EXPECT_EQ(message_of([&] { f.has("/loop"); }), path + ": /loop is a link that leads to itself; remove it");
}

TEST(Hdf5, ContentsOfAnyFile) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  {
    H5File f = H5File::create(path);
    f.write("/g/x", Tensor::full({3, 2}, 5));
    ASSERT_GE(H5Lcreate_hard(f.id(), "/", f.id(), "/g/up", H5P_DEFAULT, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_hard(f.id(), "/g", f.id(), "/g/again", H5P_DEFAULT, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_soft("/g", f.id(), "/soft", H5P_DEFAULT, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_external("b.h5", "/y", f.id(), "/outside", H5P_DEFAULT, H5P_DEFAULT), 0);
    const hid_t type = H5Tcopy(H5T_NATIVE_INT);
    ASSERT_GE(H5Tcommit2(f.id(), "/type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Tclose(type);
    const std::vector<hsize_t> ones(9, 1);
    const hid_t space = H5Screate_simple(9, ones.data(), nullptr);
    H5Dclose(H5Dcreate2(f.id(), "/nine", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    f.close();
  }
  const H5File f = H5File::open(path);
  std::vector<std::string> lines;
  for (const auto& e : f.contents()) lines.push_back(e.name + " " + e.dtype + " " + e.shape);
  EXPECT_EQ(lines,
            (std::vector<std::string>{"/g/x float32 [3, 2]", "/nine other ", "/outside link -> /y in b.h5",
                                      "/soft link -> /g", "/type other "}));
  EXPECT_EQ(
      message_of([&] { f.shape("/nine"); }),
      fmt::format("{}: /nine is of rank 9, at most {} is supported; reshape it", path, Shape::max_rank));
}

// Even to tell its extent the library opens what a virtual dataset names, and a pipe there would hang it.
TEST(Hdf5, VirtualDatasetsAreNeverLookedInto) {
  const TempDir dir;
  const std::string path = dir / "a.h5", pipe = dir / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  {
    H5File f = H5File::create(path);
    const hsize_t size = 4, unlimited = H5S_UNLIMITED, zero = 0, one = 1;
    const hid_t space = H5Screate_simple(1, &size, &unlimited), creation = H5Pcreate(H5P_DATASET_CREATE);
    ASSERT_GE(H5Sselect_hyperslab(space, H5S_SELECT_SET, &zero, nullptr, &unlimited, &one), 0);
    ASSERT_GE(H5Pset_virtual(creation, space, pipe.c_str(), "/x", space), 0);
    const hid_t dataset =
        H5Dcreate2(f.id(), "/images", H5T_NATIVE_UINT8, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    ASSERT_GE(dataset, 0);
    H5Dclose(dataset);
    H5Pclose(creation);
    H5Sclose(space);
    f.close();
  }
  const H5File f = H5File::open(path);
  const auto entries = f.contents();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].dtype + entries[0].shape, "other");
  for (const std::string& message :
       {message_of([&] { f.shape("/images"); }), message_of([&] { f.dtype("/images"); }),
        message_of([&] { f.read("/images"); })})
    EXPECT_EQ(message, path + ": /images lies in another file, copy it into this one");
}

TEST(Hdf5, NegativeNumbersAreNotUnsignedOnes) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  {
    H5File f = H5File::create(path);
    Tensor numbers = Tensor::full({3, 2}, 4, DType::int64);
    f.write("/signed", numbers);
    numbers.data<std::int64_t>()[3] = -5;
    f.write("/negative", numbers);
    f.close();
  }
  const H5File f = H5File::open(path);
  EXPECT_EQ(f.read_uint64("/signed"), std::vector<std::uint64_t>(6, 4));
  EXPECT_EQ(message_of([&] { f.read_uint64("/negative"); }),
            path + ": /negative row 1 is -5; numbers from 0 on are needed, write uint64");
}

}  // namespace
}  // namespace vitral::data
