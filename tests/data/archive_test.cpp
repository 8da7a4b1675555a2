// vitral pack of archives, as webdataset and img2dataset write them.
#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include "data/captions.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/pack.h"
#include "data/parquet_images.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

struct Member {
  std::string name, bytes;
  unsigned type = AE_IFREG;
};

void write_archive(const std::string& path, const std::vector<Member>& members) {
  archive* a = archive_write_new();
  if (path.ends_with(".zip")) {
    archive_write_set_format_zip(a);
  } else {
    archive_write_set_format_pax_restricted(a);
    if (path.ends_with(".gz")) archive_write_add_filter_gzip(a);
  }
  ASSERT_EQ(archive_write_open_filename(a, path.c_str()), ARCHIVE_OK);
  for (const auto& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.name.c_str());
    archive_entry_set_filetype(entry, member.type);
    archive_entry_set_perm(entry, 0644);
    if (member.type == AE_IFLNK) archive_entry_set_symlink(entry, "/etc/passwd");
    archive_entry_set_size(entry, static_cast<la_int64_t>(member.bytes.size()));
    ASSERT_EQ(archive_write_header(a, entry), ARCHIVE_OK);
    archive_write_data(a, member.bytes.data(), member.bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
}

std::string png(int seed) {
  const auto bytes = encode_png(test::noise_image(6, 7, seed));
  return {bytes.begin(), bytes.end()};
}

std::vector<Member> shard() {
  return {{"a/000.png", png(0)},      {"a/000.txt", "a red cat\n\na cat\n"},
          {"001.png", "no image"},    {"002.json", R"({"caption": "two dogs"})"},
          {"002.png", png(2)},        {"../../003.PNG", png(3)},
          {"link.png", "", AE_IFLNK}, {"clip.mp4", "x"},
          {"004.image", png(4)},      {"005", png(5)}};
}

PackOptions options(const TempDir& dir, const std::vector<std::string>& inputs) {
  PackOptions o;
  o.inputs = inputs;
  o.output = dir / "out.h5";
  o.encoded = true;
  o.force = true;
  o.workers = 3;
  return o;
}

TEST(PackArchives, MembersCaptionsAndWhatIsHarmless) {
  const TempDir dir;
  for (const char* name : {"a.tar", "a.tar.gz", "a.zip"}) {
    write_archive(dir / name, shard());
    const PackSummary s = pack(options(dir, {dir / name}));
    EXPECT_EQ(s.train, 5) << name;
    ASSERT_EQ(s.skipped.size(), 1U);
    EXPECT_EQ(s.skipped[0].reason.substr(0, 9), "001.png: ");
    EXPECT_EQ(s.left_out, (LeftOut{{".mp4", 1}, {"link or device", 1}}));
    const Dataset d = Dataset::open(dir / "out.h5");
    EXPECT_EQ(d.name(0), "a/000.png");
    EXPECT_EQ(d.name(2), "../../003.PNG");
    std::vector<std::uint8_t> bytes;
    d.read_encoded(1, bytes);
    EXPECT_EQ(std::string(bytes.begin(), bytes.end()), png(2));
    EXPECT_EQ(H5File::open(dir / "out.h5").read_strings("/captions"),
              (std::vector<std::string>{"a red cat", "a cat", "two dogs", "", "", "", "", "", "", ""}));
    EXPECT_EQ(d.name(4), "005");
    EXPECT_EQ(d.image(3).to_vector(), test::noise_image(6, 7, 4).to_vector());
  }
}

// As texts beside the images of a folder, they may come from any system.
TEST(PackArchives, CaptionsOfEverySystemAreTheSame) {
  const TempDir dir;
  const std::string mark = "\xEF\xBB\xBF", utf16(
                                               "\xFF\xFE"
                                               "a\0\r\0\n\0b\0",
                                               10);
  write_archive(dir / "a.tar", {{"0.png", png(0)},
                                {"0.txt", mark + "a\r\nb\r\n"},
                                {"1.png", png(1)},
                                {"1.txt", utf16},
                                {"2.png", png(2)},
                                {"2.json", mark + R"({"caption": "c"})"},
                                {"3.txt", "fine\ncaf\xE9"},
                                {"3.png", png(3)},
                                {"4.txt", std::string(longest_caption + 1, 'x')},
                                {"4.png", png(4)},
                                {"5.png", png(5)},
                                {"6.png", png(6)}});
  const PackSummary s = pack(options(dir, {dir / "a.tar"}));
  EXPECT_EQ(H5File::open(dir / "out.h5").read_strings("/captions"),
            (std::vector<std::string>{"a", "b", "a", "b", "c", "", "", "", "", ""}));
  ASSERT_EQ(s.skipped.size(), 2U);
  EXPECT_EQ(s.skipped[0].name, "3.png");
  EXPECT_EQ(s.skipped[0].reason,
            "3.txt:2: is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8 FILE");
  EXPECT_EQ(s.skipped[1].reason, "4.png: has a caption of 65537 bytes; at most 65536 are stored");
  // Those of a file of captions count alone.
  test::put_file(dir / "captions.tsv", "3.png\tthree\n");
  PackOptions o = options(dir, {dir / "a.tar"});
  o.captions = dir / "captions.tsv";
  EXPECT_EQ(pack(o).skipped.size(), 0U);
  EXPECT_EQ(H5File::open(dir / "out.h5").read_strings("/captions"),
            (std::vector<std::string>{"", "", "", "three", "", "", ""}));
}

TEST(PackArchives, ShardsLimitsAndFolders) {
  const TempDir dir;
  std::vector<Member> many;
  for (int i = 0; i < 40; ++i) many.push_back({fmt::format("{:03}.png", i), png(i)});
  write_archive(dir / "0.tar", many);
  write_archive(dir / "1.tar", many);
  std::filesystem::create_directory(dir / "photos");
  write_png(dir / "photos/x.png", test::noise_image(6, 7, 1));
  PackOptions o = options(dir, {dir / "0.tar", dir / "photos", dir / "1.tar"});
  EXPECT_EQ(pack(o).train, 81);
  const Dataset d = Dataset::open(dir / "out.h5");
  EXPECT_EQ(d.name(39), "0.tar/039.png");
  EXPECT_EQ(d.name(40), "x.png");
  EXPECT_EQ(d.name(80), "1.tar/039.png");
  EXPECT_EQ(d.image(80).to_vector(), test::noise_image(6, 7, 39).to_vector());
  EXPECT_FALSE(H5File::open(dir / "out.h5").has("/captions"));
  o.limits = {{"0.tar/*", 0}, {"*9.png", 2}};
  EXPECT_EQ(pack(o).train, 39);
  EXPECT_EQ(Dataset::open(dir / "out.h5").image(30).to_vector(), test::noise_image(6, 7, 30).to_vector());
}

// Wherever two images come from: names are unique, and what is there twice counts once.
TEST(PackArchives, NamesOfFoldersAndArchivesAreUnique) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "a");
  std::filesystem::create_directories(dir / "b");
  write_png(dir / "a/0.png", test::noise_image(6, 7, 7));
  write_archive(dir / "a/s.tar", {{"0.png", png(0)}, {"1.png", png(1)}, {"0.png", png(2)}});
  write_archive(dir / "b/s.tar", {{"0.png", png(3)}});
  const auto names = [&](const std::vector<std::string>& inputs) {
    std::vector<std::string> out;
    pack(options(dir, inputs));
    const Dataset d = Dataset::open(dir / "out.h5");
    for (std::int64_t i = 0; i < d.size(); ++i) {
      std::string name = d.name(i);
      if (const auto at = name.find(dir / ""); at == 0) name = name.substr((dir / "").size());
      out.push_back(name);
    }
    return out;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({dir / "a/s.tar", dir / "a/0.png"}), (Names{"a/s.tar/1.png", "a/s.tar/0.png", "a/0.png"}));
  EXPECT_EQ(names({dir / "a/s.tar", dir / "a/s.tar"}), (Names{"s.tar/1.png", "s.tar/0.png"}));
  EXPECT_EQ(names({dir / "a/s.tar", dir / "b/s.tar"}),
            (Names{"a/s.tar/1.png", "a/s.tar/0.png", "b/s.tar/0.png"}));
  EXPECT_EQ(Dataset::open(dir / "out.h5").image(1).to_vector(), test::noise_image(6, 7, 2).to_vector());
  EXPECT_EQ(pack(options(dir, {dir / "a/s.tar"})).left_out,
            (LeftOut{{"replaced further on in its archive", 1}}));
}

// What a fuzz target found: names are whatever the archive says.
TEST(PackArchives, MessagesOfOddNamesAreOneLine) {
  const TempDir dir;
  const std::string caption(5000, 'x');
  write_archive(dir / "a.zip", {{"0.png", png(0)}, {"a\nb.txt", caption}});
  std::string bytes = test::bytes_of_file(dir / "a.zip");
  bytes[bytes.find("a\nb.txt") + 60] ^= 0x55;  // of the compressed caption
  test::put_file(dir / "a.zip", bytes);
  const std::string message = message_of([&] { pack(options(dir, {dir / "a.zip"})); });
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_EQ(describe({{".a\nb", 2}}), "left out: 2 .a\\x0ab");
}

TEST(PackArchives, DatasetsOfOtherPrograms) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "saved");
  for (const char* name : {"x.parquet", "x.arrow", "saved/data-00000-of-00001.arrow", "x.beton"})
    test::put_file(dir / name, "PAR1");
  const auto message = [&](const char* name) {
    return message_of([&] { pack(options(dir, {dir / name})); });
  };
  const auto expected = [&](const std::string& name, const std::string& what, const std::string& rows) {
    return (dir / name) + ": is a dataset of another kind (" + what +
           "), which is not read; write its images as files, in Python: for i, x in enumerate(datasets." +
           rows + "('" + (dir / name) + "')): x['image'].save(f'photos/{i:07}.png'), and pack photos";
  };
  if (!reads_parquet) {
    EXPECT_EQ(message("x.parquet"), expected("x.parquet", "Parquet", "Dataset.from_parquet"));
  }
  EXPECT_EQ(message("x.arrow"), expected("x.arrow", "Arrow of Hugging Face", "Dataset.from_file"));
  EXPECT_EQ(message("saved"), expected("saved", "Arrow of Hugging Face", "load_from_disk"));
  EXPECT_EQ(message("x.beton"),
            (dir / "x.beton") +
                ": is a dataset of another kind (FFCV), which is not read; write its images "
                "as files, and pack their folder");
  EXPECT_THROW(pack(options(dir, {dir / "x.arrow"})), UsageError);
}

TEST(PackLists, PathsOneALineOrEndedByNul) {
  const TempDir dir;
  write_png(dir / "a b.png", test::noise_image(6, 7, 1));
  std::filesystem::create_directory(dir / "c");
  const std::string file = dir / "a b.png", odd = dir / "c\xff";
  std::filesystem::create_directory(odd);
  test::put_file(dir / "list", "\xef\xbb\xbf" + file + "\r\n\r\n" + (dir / "c") + "\r\n");
  EXPECT_EQ(read_path_list(dir / "list"), (std::vector<std::string>{file, dir / "c"}));
  test::put_file(dir / "list", file + '\0' + odd + '\0');
  EXPECT_EQ(read_path_list(dir / "list"), (std::vector<std::string>{file, odd}));
  test::put_file(dir / "list", file + "\n\n" + (dir / "none.png"));
  EXPECT_EQ(message_of([&] { read_path_list(dir / "list"); }),
            (dir / "list") + ":3: " + (dir / "none.png") + ": no such file or folder");
  test::put_file(dir / "list", "\n");
  EXPECT_EQ(message_of([&] { read_path_list(dir / "list"); }),
            (dir / "list") + ": names no files; write one a line");
  EXPECT_EQ(message_of([&] { read_path_list(dir / "no"); }), (dir / "no") + ": no such file");
}

TEST(PackArchives, DamageIsOneLine) {
  const TempDir dir;
  write_archive(dir / "a.tar", shard());
  std::filesystem::resize_file(dir / "a.tar", 3000);
  const std::string cut = message_of([&] { pack(options(dir, {dir / "a.tar"})); });
  EXPECT_TRUE(cut.starts_with((dir / "a.tar") + ": is damaged behind its first 3 members: Truncated")) << cut;
  EXPECT_TRUE(cut.ends_with("; fetch it or write it again")) << cut;
  EXPECT_FALSE(std::filesystem::exists(dir / "out.h5"));
  test::put_file(dir / "b.tar", "this is no archive at all, only a text that is called like one");
  EXPECT_EQ(message_of([&] { pack(options(dir, {dir / "b.tar"})); }),
            (dir / "b.tar") + ": cannot be read as an archive: Unrecognized archive format; write it again");
  EXPECT_EQ(message_of([&] { pack(options(dir, {dir / "none.tar"})); }),
            (dir / "none.tar") + ": no such file");
}

}  // namespace
}  // namespace vitral::data
