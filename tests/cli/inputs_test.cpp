// Lists, names, paths and files as people have them, through the program.
#include <sys/stat.h>

#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/weights/torch_write.h"
#include "tests/cli/small_run.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::Program;
using test::run;

const std::string student = fs::absolute("tests/golden/run_init.safetensors");  // 16x16 pixels, width 16

// The same lines as programs of other systems save them.
std::string utf16(const std::string& ascii) {
  std::string out = "\xFF\xFE";
  for (const char c : ascii) out += {c, '\0'};
  return out;
}
std::vector<std::pair<std::string, std::string>> spellings(const std::string& lines) {
  std::string windows, old_mac = lines;
  for (const char c : lines) windows += c == '\n' ? "\r\n" : std::string(1, c);
  std::replace(old_mac.begin(), old_mac.end(), '\n', '\r');
  return {{"plain", lines},
          {"mark", "\xEF\xBB\xBF" + lines},
          {"windows", "\xEF\xBB\xBF" + windows},
          {"old mac", old_mac},
          {"utf16", utf16(windows)}};
}

// Three folders of pictures in `photos`, and CLIP.
class Inputs : public testing::Test {
 protected:
  Inputs() {
    test::write_tiny_clip(clip_);
    std::uint64_t seed = 0;
    for (const char* name : {"n1/1.png", "n1/2.png", "n2/1.png", "n3/1.png"})
      picture("photos/" + std::string(name), seed++);
  }
  std::string operator/(const std::string& name) const { return dir_ / name; }
  void picture(const std::string& name, std::uint64_t seed) const {
    fs::create_directories(fs::path(dir_ / name).parent_path());
    data::write_png(dir_ / name, test::noise({20, 24, 3}, seed, DType::uint8));
  }
  std::string write(const std::string& name, const std::string& bytes) const {
    test::put_file(dir_ / name, bytes);
    return dir_ / name;
  }
  // The program with a file as its standard input, started in the folder of the test.
  test::Result with_input(const Program::Arguments& arguments, const std::string& file) const {
    return Program(arguments, [&] { ::dup2(::open(file.c_str(), O_RDONLY), 0); }).wait();
  }
  test::Result here(const Program::Arguments& arguments) const {
    return Program(
               arguments,
               [&] {
                 if (::chdir(dir_.str().c_str()) != 0 || ::setenv("HOME", (dir_ / "home").c_str(), 1) != 0)
                   ::_exit(126);
               })
        .wait();
  }
  Program::Arguments embed_texts(const std::string& list) const {
    return {"embed", "--text-file", list, "--clip", clip_, "-o", dir_ / "texts.h5"};
  }
  std::vector<double> embedded() const {
    const data::H5File file = data::H5File::open(dir_ / "texts.h5");
    EXPECT_EQ(file.read_strings("/texts"), (std::vector<std::string>{"a cat", "a dog"}));
    return file.read("/embeddings").to_vector();
  }
  Program::Arguments eval(const Program::Arguments& more) const {
    Program::Arguments out{"eval", student, dir_ / "photos", "--clip", clip_, "--json"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  test::TempDir dir_;
  std::string clip_ = dir_ / "clip";
};

TEST_F(Inputs, TextsOfEverySystemAreTheSame) {
  expect_done(run(embed_texts(write("list", "a cat\na dog\n"))));
  const auto expected = embedded();
  for (const auto& [name, bytes] : spellings("a cat\n\na dog\n")) {
    SCOPED_TRACE(name);
    expect_done(run(embed_texts(write("list", bytes))));
    EXPECT_EQ(embedded(), expected);
  }
  const std::string list = write("list", "a cat\na dog");
  for (const char* input : {"-", "/dev/stdin"}) {
    expect_done(with_input(embed_texts(input), list));
    EXPECT_EQ(embedded(), expected);
  }
  const std::string pipe = dir_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  Program reader(embed_texts(pipe));
  std::ofstream(pipe) << "a cat\na dog\n";
  expect_done(reader.wait());
  EXPECT_EQ(embedded(), expected);

  const std::string latin = write("latin", "a cat\nun \xE9l\xE9phant\n");
  expect_failure(run(embed_texts(latin)), 2,
                 latin + ":2: is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8 FILE");
  const std::string bare = write("bare", utf16("a cat\n").substr(2));
  expect_failure(
      run(embed_texts(bare)), 2,
      bare + ":1: has a NUL byte; it is no text, or UTF-16 without a byte order mark: save it as UTF-8");
  expect_failure(with_input(embed_texts("-"), write("empty", "\n")), 2,
                 "standard input: holds no lines; write one entry a line");
}

TEST_F(Inputs, TemplatesVocabulariesAndConfigurationsAreReadAlike) {
  const auto with_templates = [&](const std::string& list) {
    expect_done(
        run({"embed", "--text", "cat", "--templates", list, "--clip", clip_, "-o", dir_ / "texts.h5"}));
    return data::H5File::open(dir_ / "texts.h5").read("/embeddings").to_vector();
  };
  const std::string texts = write("texts", "a cat\na dog\n"),
                    merges = test::bytes_of_file(test::small_merges);
  const auto expected = with_templates(write("list", "a {}\nthe {}\n"));
  expect_done(run(embed_texts(texts)));
  const auto both = embedded();
  for (const auto& [name, bytes] : spellings("a {}\nthe {}\n"))
    EXPECT_EQ(with_templates(write("list", bytes)), expected) << name;
  for (const auto& [name, bytes] : spellings(merges)) {
    if (name == "utf16") continue;  // of ASCII alone here
    write("clip/merges.txt", bytes);
    expect_done(run(embed_texts(texts)));
    EXPECT_EQ(embedded(), both) << name;
  }
  test::write_dataset(dir_ / "train.h5", 8);
  for (const auto& [name, bytes] :
       spellings("model: {image_size: 64, patch_size: 16, width: 16, layers: 1, heads: 2}\n"
                 "data: {train: train.h5, val: [], augment: none}\n"
                 "train: {batch_size: 8, max_steps: 1, device: cpu}\n")) {
    write("c.yaml", bytes);
    expect_done(here({"train", "c.yaml", "train.output=runs/" + name}));
  }
}

// A byte order mark made the first line another one: its class lost its images, its image the caption.
TEST_F(Inputs, ClassesAndCaptionsOfEverySystemAreTheSame) {
  const auto all_are_counted = [](const test::Result& r) {
    const json told = json_of(r);
    EXPECT_EQ(told["images"], 4);
    EXPECT_EQ(told["unlabelled"], 0);
    return told["student"];
  };
  const std::string classes = "n1\ta dog\nn2\ta cat\nn3\ta bird\n",
                    table = "n1/1.png\tone\nn1/2.png\ttwo\nn2/1.png\tthree\nn3/1.png\tfour\n",
                    objects =
                        "{\"name\": \"n1/1.png\", \"caption\": \"one\"}\n"
                        "{\"name\": \"n1/2.png\", \"captions\": [\"two\"]}\n"
                        "{\"name\": \"n2/1.png\", \"caption\": \"three\"}\n"
                        "{\"name\": \"n3/1.png\", \"caption\": \"four\"}\n";
  for (const auto& [option, lines] :
       {std::pair{"--classes", classes}, {"--captions", table}, {"--captions", objects}}) {
    json expected;
    for (const auto& [name, bytes] : spellings(lines)) {
      SCOPED_TRACE(option + (" " + name));
      const std::string task = option == std::string("--classes") ? "--zero-shot" : "--retrieval";
      const std::string list = write("list", bytes);
      const json told = all_are_counted(run(eval({task, option, list})));
      if (expected.is_null()) expected = told;
      EXPECT_EQ(told, expected);
      EXPECT_EQ(all_are_counted(with_input(eval({task, option, "-"}), list)), expected);
    }
  }
}

TEST_F(Inputs, FoldersThatAreNumbersAreInTheirOrder) {
  for (int i = 0; i < 12; ++i)
    for (int k = 0; k < (i == 10 ? 3 : 1); ++k)
      picture(fmt::format("numbers/{}/{}.png", i, k), static_cast<std::uint64_t>(10 * i + k));
  std::string names;
  for (int i = 0; i < 12; ++i) names += fmt::format("class number {}\n", i);
  const Program::Arguments arguments{"eval",   student, dir_ / "numbers", "--zero-shot",
                                     "--clip", clip_,   "--classes",      write("names", names)};
  const auto with = [&](const char* option) {
    Program::Arguments all = arguments;
    all.emplace_back(option);
    return run(all);
  };
  const std::string table = with("--per-class").out;
  EXPECT_NE(table.find("of 3, folder 10\n"), std::string::npos) << table;
  const json told = json_of(with("--json"));
  const json classes = told["student"]["zero_shot"]["classes"];
  ASSERT_EQ(classes.size(), 12U);
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(classes[i]["class"], fmt::format("class number {}", i));
    EXPECT_EQ(classes[i]["images"], i == 10 ? 3 : 1) << i;
    EXPECT_EQ(classes[i]["folders"], json::array({fmt::format("{}", i)}));
  }
}

// What every command that reads a folder of images says of the rest in it.
TEST_F(Inputs, LinkedFoldersAreFollowedAndTheRestIsCounted) {
  fs::create_directory(dir_ / "subset");
  fs::create_directory_symlink("../photos/n1", dir_ / "subset/n1");
  fs::create_directory_symlink("../photos/n2", dir_ / "subset/n2");
  write("subset/film.mp4", "a film");
  const std::string in = dir_ / "subset", out = dir_ / "out.h5";
  const std::vector<Program::Arguments> commands{
      {"pack", in, "-o", out, "--size", "8"},
      {"embed", student, in, "-o", dir_ / "e.h5"},
      {"search", student, in, "--text", "a", "--clip", clip_},
      {"eval", student, in, "--zero-shot", "--clip", clip_},
      {"activate", student, in, "--text", "a", "--clip", clip_, "-o", dir_ / "a.png"},
      {"report", student, in, "--text", "a", "--clip", clip_, "-o", dir_ / "r.html"},
  };
  for (Program::Arguments arguments : commands) {
    SCOPED_TRACE(arguments.front());
    arguments.emplace_back("--json");
    const test::Result r = run(arguments);
    expect_done(r);
    EXPECT_EQ(r.err, "left out: 1 .mp4\n");
    const json told = json::parse(r.out);
    EXPECT_EQ(told["left_out"], (json{{".mp4", 1}}));
    EXPECT_EQ(told["images"].is_array() ? json(told["images"].size()) : told["images"], 3) << r.out;
  }
}

TEST_F(Inputs, TheHomeFolderIsMeantWhereverAPathStands) {
  fs::create_directory(dir_ / "home");
  test::write_dataset(dir_ / "home/train.h5", 8);
  const auto config = [&](const std::string& output) {
    return write("c.yaml",
                 "model: {image_size: 64, patch_size: 16, width: 16, layers: 1, heads: 2}\n"
                 "data: {train: ~/train.h5, val: [], augment: none}\n"
                 "train: {batch_size: 8, max_steps: 1, device: cpu, output: " +
                     output + "}\n");
  };
  const test::Result in_yaml = here({"train", config("~/runs/in-yaml")});
  expect_done(in_yaml);
  EXPECT_TRUE(in_yaml.out.starts_with((dir_ / "home/runs/in-yaml") + ": step 1, ")) << in_yaml.out;
  expect_done(here({"train", "c.yaml", "train.output=~/runs/override"}));
  expect_done(here({"info", "~/runs/override"}));
  for (const char* run : {"in-yaml", "override"})
    EXPECT_TRUE(fs::exists(dir_ / "home/runs/" + run + "/checkpoints/latest")) << run;

  const std::string advice = " is not expanded here; write the path in full, or ~/ for the home folder";
  expect_failure(here({"train", "c.yaml", "train.output=$HOME/runs/x"}), 2,
                 "override train.output=$HOME/runs/x: $HOME/runs/x: $HOME" + advice);
  config("'${HOME}/runs/x'");
  expect_failure(here({"train", "c.yaml"}), 2, "c.yaml:3: train.output: ${HOME}/runs/x: ${HOME}" + advice);
  expect_failure(
      here({"info", "~nobody-at-all/x"}), 2,
      "file: ~nobody-at-all/x: there is no user 'nobody-at-all' whose home folder ~ could be; write the path "
      "in full, or ./~; see vitral --help");
  EXPECT_FALSE(fs::exists(dir_ / "~"));
  EXPECT_FALSE(fs::exists(dir_ / "$HOME"));
}

class Names : public Inputs {
 protected:
  Names() {
    picture("a/x.png", 21);
    picture("b/x.png", 22);
  }
  test::Result search(const std::string& root) const {
    return here({"search", "e.h5", "--query-image", "b/x.png", "--student", student, "-k", "1", "--root",
                 root, "-o", "sheet.png", "--cell", "64"});
  }
  // Whether a/x.png or b/x.png stands in the sheet; "": neither.
  std::string shown() const {
    const auto drawn = [&](const std::string& name) {
      expect_done(here({"search", student, name, "--query-image", "b/x.png", "-k", "1", "-o", "one.png",
                        "--cell", "64", "--exif", "ignore"}));
      // The lines of pixels between heading and caption.
      const auto cell = [&](const char* sheet) {
        return data::read_image(dir_ / sheet).rows(48, 100).to_vector();
      };
      return cell("sheet.png") == cell("one.png");
    };
    return drawn("a/x.png") ? "a/x.png" : drawn("b/x.png") ? "b/x.png" : "";
  }
  const std::string found_ = "b/x.png\n  rank   cosine  stored\n     1   1.0000  ";
};

// Two folders with an x.png each: every command tells them apart, and the sheet shows the one that was found.
TEST_F(Names, OfTwoFoldersAreUnique) {
  expect_done(here({"embed", student, "a", "b", "-o", "e.h5"}));
  {
    const data::H5File file = data::H5File::open(dir_ / "e.h5");
    EXPECT_EQ(file.read_strings("/names"), (std::vector<std::string>{"a/x.png", "b/x.png"}));
    EXPECT_EQ(file.attribute("names"), "paths");
  }
  for (const std::string& root : {std::string("."), dir_.str(), std::string("a"), std::string("b")}) {
    SCOPED_TRACE(root);
    const test::Result r = search(root);
    expect_done(r);
    EXPECT_EQ(r.err, "");
    EXPECT_EQ(r.out, found_ + "b/x.png\n");
    EXPECT_EQ(shown(), "b/x.png");
  }
  fs::rename(dir_ / "b", dir_ / "c");
  const test::Result moved = here({"search", "e.h5", "--query-image", "c/x.png", "--student", student, "-k",
                                   "1", "--root", "a", "-o", "sheet.png"});
  expect_done(moved);
  EXPECT_EQ(
      moved.err,
      "left empty in sheet.png: b/x.png: is neither in a nor here; /names of e.h5 are paths, --root must be "
      "the folder they began in\n");
}

TEST_F(Names, OfOneFolderAreRelativeToIt) {
  expect_done(here({"embed", student, "b", "-o", "e.h5"}));
  EXPECT_FALSE(data::H5File::open(dir_ / "e.h5").attribute("names"));
  expect_done(search("b"));
  EXPECT_EQ(shown(), "b/x.png");
  EXPECT_EQ(
      search(".").err,
      "left empty in sheet.png: ./x.png: is not there; --root must be the folder that /names of e.h5 are "
      "relative to\n");
}

// As older versions wrote them, and other programs do.
TEST_F(Names, ThatSeveralRowsHaveFindNoImage) {
  expect_done(here({"embed", student, "a", "b", "-o", "e.h5"}));
  {
    data::H5File file = data::H5File::modify(dir_ / "e.h5");
    file.remove("/names");
    file.write_strings("/names", std::vector<std::string>{"x.png", "x.png"});
    file.close();
  }
  const test::Result r = search("a");
  expect_done(r);
  EXPECT_EQ(r.err,
            "left empty in sheet.png: x.png: several rows of e.h5 have this name; embed the images again\n");
  EXPECT_EQ(r.out, found_ + "x.png\n");
  const test::Result both =
      here({"search", "e.h5", "--query-image", "b/x.png", "--student", student, "--json"});
  expect_done(both);
  EXPECT_EQ(both.err, "rows 1 and 0 are both called x.png; --json tells such rows apart by index\n");
  EXPECT_EQ(json::parse(both.out)["queries"][0]["hits"][0]["index"], 1);
}

// Files that other readers take and that are whole: the images of jpeg-warnings and png-metadata.
TEST_F(Inputs, ImagesWithHarmlessDamageArePacked) {
  const std::string golden = "tests/golden/images.h5";
  fs::create_directory(dir_ / "odd");
  std::vector<std::string> names = test::golden_names(golden, "encoded");
  std::erase_if(
      names, [](const std::string& name) { return !name.starts_with("jpeg_") && !name.starts_with("png_"); });
  ASSERT_GT(names.size(), 20U);
  for (const auto& name : names) {
    const Tensor bytes = test::read_golden(golden, "encoded/" + name);
    test::put_file(dir_ / "odd" + ("/" + name),
                   {bytes.data<std::uint8_t>(), static_cast<std::size_t>(bytes.numel())});
  }
  const json told = json_of(run({"pack", dir_ / "odd", "-o", dir_ / "odd.h5", "--encoded", "--json"}));
  EXPECT_EQ(told["images"], names.size());
  EXPECT_EQ(told["skipped"], json::array());
  const data::Dataset dataset = data::Dataset::open(dir_ / "odd.h5");
  for (std::size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(dataset.image(static_cast<std::int64_t>(i)).to_vector(),
              test::read_golden(golden, "decoded/" + names[i]).to_vector())
        << names[i];
}

// What torch.compile, DataParallel and both together make of the names.
TEST_F(Inputs, WeightsOfAStudentMayHaveAPrefix) {
  const auto state = data::read_weights(student).tensors;
  expect_done(run({"embed", student, dir_ / "photos", "-o", dir_ / "plain.h5"}));
  const auto embeddings = [&](const std::string& file) {
    return data::H5File::open(dir_ / file).read("/embeddings").to_vector();
  };
  for (const std::string prefix : {"module.", "_orig_mod.", "module._orig_mod."}) {
    SCOPED_TRACE(prefix);
    data::NamedTensors prefixed;
    for (const auto& [name, tensor] : state) prefixed.emplace_back(prefix + name, tensor);
    data::write_torch_file(dir_ / "p.pt", prefixed);
    expect_done(run({"embed", dir_ / "p.pt", dir_ / "photos", "-o", dir_ / "p.h5"}));
    EXPECT_EQ(embeddings("p.h5"), embeddings("plain.h5"));
    expect_done(run({"convert", dir_ / "p.pt", dir_ / "p.safetensors", "--force"}));
    expect_done(run({"embed", dir_ / "p.safetensors", dir_ / "photos", "-o", dir_ / "p.h5"}));
    EXPECT_EQ(embeddings("p.h5"), embeddings("plain.h5"));
  }
}

}  // namespace
}  // namespace vitral
