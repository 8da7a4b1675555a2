// Files that crash, hang or exhaust the HDF5 library: an Error of one line, nothing else is opened, and the
// program goes on. tests/golden/hostile has four of those that it (1.10.8) does not survive.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/hdf5/rows.h"
#include "tests/mutated.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

// Everything that `vitral info` and a training ask of a file; each part by itself, so that one that ends the
// child of one file hides nothing of the others.
void look_at(const std::string& path, std::vector<std::string>& messages) {
  const auto attempt = [&](auto&& part) {
    if (const std::string message = message_of(part); message != "no error") messages.push_back(message);
  };
  attempt([&] {
    const H5File file = H5File::open(path);
    for (const auto& entry : file.contents())
      attempt([&] {
        static_cast<void>(file.type_text(entry.name));
        if (file.layout(entry.name).text)
          static_cast<void>(file.read_strings(entry.name));
        else if (file.dtype(entry.name))
          static_cast<void>(file.read(entry.name));
      });
  });
  attempt([&] {
    const H5File file = H5File::open(path);
    for (const char* name : {"teacher", "transform", "view_size"}) static_cast<void>(file.attribute(name));
  });
  attempt([&] {
    const Dataset dataset = Dataset::open(path);
    static_cast<void>(dataset.description());
    for (std::int64_t i = 0; i < std::min<std::int64_t>(dataset.size(), 8); ++i) {
      attempt([&] { static_cast<void>(dataset.image(i)); });
      attempt([&] {
        if (dataset.width() > 0) static_cast<void>(dataset.target(i));
      });
    }
  });
}

void expect_lines(const std::vector<std::string>& messages, const std::string& path) {
  for (const auto& message : messages) {
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_TRUE(message.find(path) != std::string::npos || message.starts_with("image ")) << message;
  }
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(HostileHdf5, DeathsAndHangsAreOneLine) {
  int ends = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/hostile")) {
    SCOPED_TRACE(entry.path());
    // As `info` and as a training do it.
    const H5File file = H5File::open(entry.path());
    const std::vector<std::string> messages{message_of([&] { static_cast<void>(file.contents()); }),
                                            message_of([&] {
                                              const Dataset dataset = Dataset::open(entry.path());
                                              for (std::int64_t i = 0; i < dataset.size(); ++i)
                                                static_cast<void>(dataset.image(i));
                                            })};
    const std::string library = entry.path().string() + ": the HDF5 library ",
                      end = ", the file is damaged; write it again";
    for (const auto& message : messages) {
      if (!message.starts_with(library)) continue;
      EXPECT_TRUE(message == library + "crashed on it (signal 11)" + end ||
                  message == library + "crashed on it (signal 6)" + end ||
                  message == library + "crashed on it (status 1)" + end ||  // by AddressSanitizer
                  message == library + "took more than 4 s to interpret it" + end)
          << message;
    }
    ends += messages.back().starts_with(library);
  }
#if !H5_VERSION_GE(1, 10, 9)
  EXPECT_GE(ends, 4);
#endif
}

// Deeper than a recursion could follow, and fast: each path is not walked again from the root.
TEST(HostileHdf5, GroupsInGroups) {
  const TempDir dir;
  const std::string path = dir / "nested.h5";
  {
    H5File file = H5File::create(path);
    hid_t group = H5Gopen2(file.id(), "/", H5P_DEFAULT);
    for (int i = 0; i < 4000; ++i) {
      const hid_t inner = H5Gcreate2(group, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      ASSERT_GE(inner, 0);
      H5Gclose(group);
      group = inner;
    }
    H5Gclose(group);
    file.write("/last", Tensor::zeros({2}));
    file.close();
  }
  EXPECT_LT(seconds_of([&] {
              const auto entries = H5File::open(path).contents();
              ASSERT_EQ(entries.size(), 1U);
              EXPECT_EQ(entries[0].name, "/last");
            }),
            5);
}

// Many rows that are all the same long text: a small file, and gigabytes for who reads them.
TEST(HostileHdf5, OneTextAThousandTimes) {
  const TempDir dir;
  const std::string path = dir / "alias.h5";
  constexpr hsize_t rows = 3000, one = 1;
  {
    H5File file = H5File::create(path);
    const hid_t type = H5Tcopy(H5T_C_S1), creation = H5Pcreate(H5P_DATASET_CREATE),
                space = H5Screate_simple(1, &rows, nullptr);
    H5Tset_size(type, H5T_VARIABLE);
    H5Pset_chunk(creation, 1, &one);
    H5Pset_shuffle(creation);  // which leaves one value as it is, but the library must read it
    const hid_t made = H5Dcreate2(file.id(), "/names", type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    std::vector<std::string> texts{std::string(1 << 20, 'x')};
    for (hsize_t i = 1; i < rows; ++i) texts.push_back(std::to_string(100000 + i));
    std::vector<const char*> pointers;
    for (const auto& text : texts) pointers.push_back(text.c_str());
    ASSERT_GE(H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), 0);
    H5Dclose(made);
    H5Sclose(space);
    H5Pclose(creation);
    H5Tclose(type);
    file.close();
  }
  std::string bytes = test::bytes_of_file(path);
  // References: length (4 bytes, without or with the zero), address of the collection (8), number in it (4).
  std::size_t first = std::string::npos, others = 0;
  for (std::size_t at = 0; at + 16 <= bytes.size() && first == std::string::npos; ++at) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at, 4);
    std::uint64_t address = 0;
    std::memcpy(&address, bytes.data() + at + 4, 8);
    if ((length == 1 << 20 || length == (1 << 20) + 1) && address < bytes.size() &&
        bytes.compare(address, 4, "GCOL") == 0)
      first = at;
  }
  ASSERT_NE(first, std::string::npos);
  const std::string reference = bytes.substr(first, 16);
  for (std::size_t at = 0; at + 16 <= bytes.size(); ++at) {
    std::uint32_t length = 0, number = 0;
    std::uint64_t address = 0;
    std::memcpy(&length, bytes.data() + at, 4);
    std::memcpy(&address, bytes.data() + at + 4, 8);
    std::memcpy(&number, bytes.data() + at + 12, 4);
    if ((length != 6 && length != 7) || number == 0 || number > 65535 || address >= bytes.size() ||
        bytes.compare(address, 4, "GCOL") != 0)
      continue;
    bytes.replace(at, 16, reference);
    ++others;
  }
  ASSERT_EQ(others, rows - 1);
  test::put_file(path, bytes);
#ifndef __SANITIZE_ADDRESS__
  EXPECT_EQ(
      message_of([&] { static_cast<void>(H5File::open(path).read_strings("/names")); }),
      fmt::format("{}: the HDF5 library wanted more than {} MB to interpret it, the file is damaged; write "
                  "it again",
                  path, ((1ULL << 30) + bytes.size() + 4 * (rows * 16 + 16)) >> 20));
#endif
}

// A child that is killed from outside is told as such, every time, and leaves no zombie.
TEST(HostileHdf5, KilledInTheMiddle) {
  const std::string path = "tests/golden/layouts_gzip.h5";
  const auto file = std::make_shared<const H5File>(H5File::open(path));
  const RowReader rows(file, std::make_shared<const InputFile>(path), "/images");
  std::vector<std::uint8_t> row(static_cast<std::size_t>(rows.shape().product(1, rows.shape().rank())));
  rows.read(0, row.data());
  const pid_t child = file->child();
  ASSERT_GT(child, 0);
  ::kill(child, SIGKILL);
  const std::string line =
      path +
      ": the process that reads it was killed (signal 9), perhaps for want of memory; run the command again";
  EXPECT_EQ(message_of([&] { rows.read(1, row.data()); }), line);
  EXPECT_EQ(message_of([&] { rows.read(1, row.data()); }), line);
  EXPECT_EQ(message_of([&] { file->has("/images"); }), line);
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

// What is read by pread needs no child.
TEST(HostileHdf5, NoChildStaysWithoutNeed) {
  pid_t child = 0;
  std::optional<RowReader> rows;
  {
    const std::string path = "tests/golden/layouts_chunked.h5";
    const auto file = std::make_shared<const H5File>(H5File::open(path));
    child = file->child();
    rows.emplace(file, std::make_shared<const InputFile>(path), "/images");
    EXPECT_EQ(::kill(child, 0), 0);
  }
  EXPECT_EQ(::kill(child, 0), -1);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(rows->shape().product(1, rows->shape().rank())));
  rows->read(0, row.data());
}

// Tells whether anything in a folder is opened.
class Watch {
 public:
  explicit Watch(const std::string& folder) : descriptor_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    EXPECT_GE(::inotify_add_watch(descriptor_, folder.c_str(), IN_OPEN), 0);
  }
  ~Watch() { ::close(descriptor_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  bool opened() const {
    alignas(inotify_event) char events[4096];
    return ::read(descriptor_, events, sizeof events) > 0;
  }

 private:
  int descriptor_;
};

TEST(HostileHdf5, NothingElseIsOpened) {
  const TempDir dir;
  const std::string others = dir / "others", path = dir / "a.h5", fifo = others + "/fifo.h5",
                    other = others + "/other0.h5";
  std::filesystem::create_directory(others);
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  {
    H5File file = H5File::create(other);
    file.write("/images", Tensor::zeros({4, 2, 2, 3}, DType::uint8), 1);
    file.close();
  }
  {
    H5File file = H5File::create(path);
    file.write("/images", Tensor::zeros({4, 2, 2, 3}, DType::uint8), 1);
    const hsize_t count[] = {4, 2, 2, 3}, most[] = {H5S_UNLIMITED, 2, 2, 3};
    int number = 0;
    for (const std::string& target : {fifo, other, others + "/other%b.h5"}) {
      const std::string name = std::to_string(number++);
      const hid_t fixed = H5Screate_simple(4, count, nullptr), growing = H5Screate_simple(4, count, most);
      const bool counts = target.find('%') == std::string::npos;  // else one file after the other
      for (const bool grows : {!counts, true}) {
        const hid_t space = grows ? growing : fixed, creation = H5Pcreate(H5P_DATASET_CREATE);
        const hid_t source = H5Scopy(counts ? space : fixed);
        if (grows) {
          const hsize_t start[] = {0, 0, 0, 0}, stride[] = {4, 2, 2, 3}, blocks[] = {H5S_UNLIMITED, 1, 1, 1};
          ASSERT_GE(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, blocks, stride), 0);
          ASSERT_TRUE(!counts ||
                      H5Sselect_hyperslab(source, H5S_SELECT_SET, start, stride, blocks, stride) >= 0);
        }
        ASSERT_GE(H5Pset_virtual(creation, space, target.c_str(), "/images", source), 0);
        const hid_t made =
            H5Dcreate2(file.id(), ("/virtual" + std::to_string(number++)).c_str(), H5T_NATIVE_UINT8,
                       grows ? growing : fixed, H5P_DEFAULT, creation, H5P_DEFAULT);
        ASSERT_GE(made, 0);
        H5Dclose(made);
        H5Pclose(creation);
        H5Sclose(source);
      }
      H5Sclose(fixed);
      H5Sclose(growing);
      const hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(4, count, nullptr);
      ASSERT_GE(H5Pset_external(creation, target.c_str(), 0, 48), 0);
      const hid_t made = H5Dcreate2(file.id(), ("/external" + name).c_str(), H5T_NATIVE_UINT8, space,
                                    H5P_DEFAULT, creation, H5P_DEFAULT);
      H5Dclose(made);
      H5Sclose(space);
      H5Pclose(creation);
      ASSERT_GE(H5Lcreate_external(target.c_str(), "/images", file.id(), ("/link" + name).c_str(),
                                   H5P_DEFAULT, H5P_DEFAULT),
                0);
    }
    file.close();
  }
  const Watch watch(others);
  std::vector<std::string> messages;
  look_at(path, messages);
  const H5File file = H5File::open(path);
  const auto entries = file.contents();
  EXPECT_EQ(entries.size(), 1U + 3 * 4);
  for (const auto& entry : entries) {
    if (entry.name == "/images") continue;
    EXPECT_EQ(message_of([&] { file.read(entry.name); }),
              path + ": " + entry.name + " lies in another file, copy it into this one");
    EXPECT_FALSE(file.holds_files(entry.name));
    message_of([&] { Dataset::open(path, {.images = entry.name, .embeddings = ""}); });
    message_of([&] { Dataset::open(path, {.images = "/images", .embeddings = entry.name}); });
  }
  EXPECT_FALSE(watch.opened());
  H5File::open(other);
  EXPECT_TRUE(watch.opened());  // it would have told
}

// Small files of every layout with a few bytes changed, which is how most of what kills the library was
// found.
TEST(HostileHdf5, Mutants) {
  const TempDir dir;
  const std::string path = dir / "mutant.h5";
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden"))
    if (const std::string name = entry.path().filename();
        name.starts_with("layouts_") && name.ends_with(".h5"))
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  ASSERT_GE(files.size(), 19U);
  Random random(14);
  const auto start = std::chrono::steady_clock::now();
  int done = 0, refused = 0;
  for (; done < 300 && std::chrono::steady_clock::now() - start < std::chrono::seconds(60); ++done) {
    const std::string whole = test::bytes_of_file(files[static_cast<std::size_t>(done) % files.size()]);
    // Not what is cut: that is seen before anything is interpreted.
    std::string bytes = whole;
    for (auto edits = 1 + random.below(6); edits > 0; --edits)
      bytes[random.below(bytes.size())] = "\0\1\2\7\xff\x7f\x80@"[random.below(8)];
    test::put_file(path, bytes);
    std::vector<std::string> messages;
    const double seconds = seconds_of([&] { look_at(path, messages); });
    expect_lines(messages, path);
    refused += !messages.empty();
    EXPECT_LT(seconds, 60) << "mutant " << done;
  }
  EXPECT_GE(done, 50);
  EXPECT_GE(refused, done / 20);
}

// The same for what is written into a file of somebody else's: it is in a child, too.
TEST(HostileHdf5, ChangingAFile) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  std::filesystem::copy("tests/golden/layouts_chunked.h5", path);
  {
    H5File file = H5File::modify(path);
    ASSERT_GT(file.child(), 0);
    file.write("/more/numbers", Tensor::full({3, 2}, 4), 1);
    file.set_attribute("note", "changed");
    file.create_growing("/rows", {2}, DType::float32, 8);
    file.append("/rows", Tensor::full({5, 2}, 6));
    file.append("/rows", Tensor::full({5, 2}, 7));
    file.rename("/rows", "/all");
    file.remove("/embeddings");
    file.close();
  }
  const H5File file = H5File::open(path);
  EXPECT_EQ(file.attribute("note"), "changed");
  EXPECT_EQ(file.read("/more/numbers").to_vector(), std::vector<double>(6, 4));
  EXPECT_EQ(file.shape("/all"), (Shape{10, 2}));
  EXPECT_EQ(file.read("/all").to_vector().back(), 7);
  EXPECT_FALSE(file.has("/embeddings"));
  EXPECT_TRUE(file.has("/images"));
  H5File lost = H5File::modify(path);
  ::kill(lost.child(), SIGKILL);
  EXPECT_EQ(message_of([&] { lost.set_attribute("note", "x"); }),
            path +
                ": the process that reads it was killed (signal 9), perhaps for want of memory; run the "
                "command again");
  EXPECT_NE(message_of([&] { lost.close(); }), "no error");
}

}  // namespace
}  // namespace vitral::data
