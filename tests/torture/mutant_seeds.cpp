#include "tests/torture/mutant_seeds.h"

#include <algorithm>
#include <csignal>
#include <filesystem>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "base/error.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

const std::string golden = "tests/golden/";

class Seeds {
 public:
  Seeds(const Workshop& shop, std::string folder) : shop_(shop), folder_(std::move(folder)) {
    prepare();
    datasets();
    embeddings();
    weights();
    towers();
    images();
    archives();
    texts();
    run_folders();
    journals();
  }
  std::vector<Seed> all;

 private:
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  void done(const Arguments& arguments) const {
    const Result r = Program(shop_.tools, folder_, {.arguments = arguments}).wait();
    if (r.status != 0) throw_error("vitral {} ended with {}: {}", arguments[0], r.status, r.err);
  }

  void add(const std::string& kind, const std::string& file, Format format, std::string bytes,
           std::vector<Arguments> commands) {
    all.push_back({kind, file, format, std::move(bytes), std::move(commands)});
  }

  static std::string configuration(const std::string& train, const std::string& more) {
    return "model: {image_size: 16, patch_size: 4, width: 16, layers: 1, heads: 4, window: 3}\n"
           "data: {train: [" +
           train +
           "], val: [], augment: none, workers: 1}\n"
           "train: {batch_size: 4, device: cpu, log_every: 1, output: run, " +
           more + "}\n";
  }

  void prepare() const {
    fs::create_directories(path("in/cats"));
    for (int i = 0; i < 6; ++i)
      data::write_png(path(fmt::format("in/cats/{}.png", i)),
                      test::noise({20 + i, 24, 3}, static_cast<std::uint64_t>(i), DType::uint8));
    test::write_tiny_clip(path("clip"));
    fs::copy(golden + "run_init.safetensors", path("student.safetensors"));
    fs::copy(golden + "run_dataset.h5", path("data.h5"));
    fs::copy(golden + "tokenizer_merges.txt", path("merges.txt"));
    test::put_file(path("config.yaml"), configuration("data.h5", "max_steps: 1"));
    done({"embed", "--text", "a cat", "dog", "--clip", "clip", "--template", "a {}", "-o", "texts.h5"});
    done({"embed", "student.safetensors", "in", "-o", "photos.h5", "--patches"});
    done({"pack", "in", "-o", "packed.h5", "--size", "16"});
    done({"pack", "in", "-o", "encoded.h5", "--encoded"});
    fs::copy(path("encoded.h5"), path("taught.h5"));
    done({"teach", "taught.h5", "--teacher", "clip", "--views", "2"});
  }

  void datasets() {
    std::vector<std::string> files{path("data.h5"), path("packed.h5"), path("encoded.h5"), path("taught.h5")};
    for (const auto& entry : fs::directory_iterator(golden))
      if (const auto name = entry.path().filename().string(); name.starts_with("layouts_"))
        files.push_back(golden + name);
    std::sort(files.begin(), files.end());
    for (const auto& file : files)
      add("hdf5", "m.h5", Format::hdf5, test::bytes_of_file(file),
          {{"info", "m.h5"},
           {"info", "m.h5", "--json"},
           {"eval", "student.safetensors", "m.h5", "--workers", "0"},
           {"train", "config.yaml", "data.train=[m.h5]"},
           {"teach", "m.h5", "--teacher", "clip", "--force"},
           {"teach", "m.h5", "--teacher", "clip", "--force", "--in-place"},
           {"activate", "student.safetensors", "m.h5", "-o", "a.png"},
           {"search", "student.safetensors", "m.h5", "--texts", "texts.h5"},
           {"report", "student.safetensors", "m.h5", "-o", "r.html"}});
  }

  void embeddings() {
    add("hdf5", "m.h5", Format::hdf5, test::bytes_of_file(path("photos.h5")),
        {{"info", "m.h5"},
         {"search", "m.h5", "--texts", "texts.h5", "--json"},
         {"search", "m.h5", "--query-image", "in/cats/1.png", "--student", "student.safetensors", "--root",
          "in", "-o", "a.png"},
         {"teach", "packed.h5", "--from", "m.h5", "--force"}});
    add("hdf5", "m.h5", Format::hdf5, test::bytes_of_file(path("texts.h5")),
        {{"info", "m.h5"},
         {"search", "photos.h5", "--texts", "m.h5"},
         {"activate", "student.safetensors", "in/cats/1.png", "--texts", "m.h5", "-o", "a.png"}});
    for (const char* name : {"embeddings.npz", "embeddings_compressed.npz"})
      add("npy, npz", "m.npz", Format::zip, test::bytes_of_file(golden + name),
          {{"teach", "packed.h5", "--from", "m.npz", "--force"}});
    std::string npy = "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 3), }";
    npy.resize(117, ' ');
    npy = std::string("\x93NUMPY\1\0\x76\0", 10) + npy + "\n" + std::string(72, 1);
    add("npy, npz", "m.npy", Format::text, npy, {{"teach", "packed.h5", "--from", "m.npy", "--force"}});
  }

  void weights() {
    const auto commands_of = [](const std::string& file) -> std::vector<Arguments> {
      return {{"info", file},
              {"embed", file, "in", "-o", "e.h5"},
              {"eval", file, "data.h5"},
              {"convert", file, "out.safetensors"},
              {"convert", file, "out.pt"},
              {"convert", file, "out.onnx"},
              {"train", "config.yaml", "model.init_from=" + file}};
    };
    add("safetensors", "m.safetensors", Format::safetensors, test::bytes_of_file(path("student.safetensors")),
        commands_of("m.safetensors"));
    for (const char* name : {"tiny.pt", "tiny_torchscript.pt", "run_torch.pt"}) {
      auto commands = commands_of("m.pt");
      commands.push_back({"train", "config.yaml", "--resume", "m.pt"});
      add("pt", "m.pt", Format::zip, test::bytes_of_file(golden + name), commands);
    }
    done({"convert", "student.safetensors", "student.onnx"});
    add("onnx", "m.onnx", Format::binary, test::bytes_of_file(path("student.onnx")),
        {{"info", "m.onnx"}, {"info", "m.onnx", "--json"}});
  }

  // Every file of every folder of pretrained weights.
  void towers() {
    fs::create_directory(path("towers"));
    for (const char* name : {"siglip", "siglip2", "dinov2"})
      fs::copy(golden + name, path("towers/") + name, fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(golden + "layouts"))
      if (entry.is_directory())
        fs::copy(entry.path(), path("towers") / entry.path().filename(), fs::copy_options::recursive);
    fs::copy(path("clip"), path("towers/clip"), fs::copy_options::recursive);
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(path("towers")))
      if (entry.is_regular_file() && entry.path().extension() != ".h5")
        files.push_back(fs::relative(entry.path(), folder_));
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      const std::string extension = fs::path(file).extension(), tower = fs::path(file).parent_path();
      const bool text = extension == ".json" || extension == ".txt", safe = extension == ".safetensors";
      add(text                                   ? "files beside weights"
          : extension.substr(1) == "safetensors" ? "safetensors"
                                                 : "pt",
          file,
          text   ? Format::text
          : safe ? Format::safetensors
                 : Format::zip,
          test::bytes_of_file(path(file)),
          {{"info", tower},
           {"embed", "--text", "a cat", "--clip", tower, "--vocab", "merges.txt", "-o", "e.h5"},
           {"embed", "--text", "a cat", "--clip", tower, "-o", "e.h5"},
           {"teach", "packed.h5", "--teacher", tower, "--force"}});
    }
    for (const char* name : {"clip_tokenizer.json", "siglip2_tokenizer.json", "tokenizer_merges.txt",
                             "sentence_piece/tokenizer.model"}) {
      const std::string file = "v" + fs::path(name).extension().string();
      for (const std::string tower : {"clip", "towers/siglip", "towers/siglip2"})
        add("vocabularies", file, file == "v.model" ? Format::binary : Format::text,
            test::bytes_of_file(golden + name),
            {{"embed", "--text", "a cat's photo", "caf\xc3\xa9 3", "--clip", tower, "--vocab", file, "-o",
              "e.h5"}});
    }
  }

  void images() {
    const data::H5File file = data::H5File::open(golden + "images.h5");
    for (const std::string& name : file.list("encoded")) {
      const Tensor bytes = file.read("encoded/" + name);
      const std::string m = "m" + fs::path(name).extension().string();
      add("images", m, Format::binary,
          {static_cast<const char*>(bytes.raw()), static_cast<std::size_t>(bytes.bytes())},
          {{"pack", m, "-o", "p.h5", "--size", "16"},
           {"pack", m, "-o", "p.h5", "--encoded"},
           {"pack", m, "-o", "p.h5", "--size", "16", "--scaled-decode"},
           {"embed", "student.safetensors", m, "-o", "e.h5"},
           {"report", "student.safetensors", m, "-o", "r.html"},
           {"activate", "student.safetensors", m, "-o", "a.png"}});
    }
  }

  std::string archive_of(bool zip, bool gzip) const {
    const std::string file = path("archive");
    archive* const a = archive_write_new();
    if (zip)
      archive_write_set_format_zip(a);
    else
      archive_write_set_format_pax_restricted(a);
    if (gzip) archive_write_add_filter_gzip(a);
    archive_write_open_filename(a, file.c_str());
    for (int i = 0; i < 4; ++i) {
      const std::string image = test::bytes_of_file(path(fmt::format("in/cats/{}.png", i)));
      for (const auto& [member, bytes] : {std::pair{fmt::format("a/{}.png", i), image},
                                          std::pair{fmt::format("a/{}.txt", i), std::string("a cat")}}) {
        archive_entry* const entry = archive_entry_new();
        archive_entry_set_pathname(entry, member.c_str());
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
        archive_write_header(a, entry);
        archive_write_data(a, bytes.data(), bytes.size());
        archive_entry_free(entry);
      }
    }
    archive_write_close(a);
    archive_write_free(a);
    return test::bytes_of_file(file);
  }

  void archives() {
    for (const std::string name : {"m.tar", "m.tar.gz", "m.zip"})
      add("archives", name, name == "m.zip" ? Format::zip : Format::binary,
          archive_of(name == "m.zip", name == "m.tar.gz"),
          {{"pack", name, "-o", "p.h5", "--size", "16"}, {"pack", name, "-o", "p.h5", "--encoded"}});
  }

  void texts() {
    const auto text = [&](const std::string& bytes, std::vector<Arguments> commands) {
      add("texts", "m.txt", Format::text, bytes, std::move(commands));
    };
    text("a {}\na photo of a {}.\n",
         {{"embed", "--text", "cat", "--clip", "clip", "--templates", "m.txt", "-o", "e.h5"}});
    text(
        "a cat\n\nthe dog of caf\xc3\xa9\n",
        {{"embed", "--text-file", "m.txt", "--clip", "clip", "-o", "e.h5"},
         {"activate", "student.safetensors", "in", "--text-file", "m.txt", "--clip", "clip", "-o", "a.png"}});
    text("cats\ta cat\n",
         {{"eval", "student.safetensors", "in", "--zero-shot", "--clip", "clip", "--classes", "m.txt"}});
    std::string captions, lines;
    for (int i = 0; i < 6; ++i) {
      captions += fmt::format("cats/{}.png\ta cat {}\n", i, i);
      lines += fmt::format("{{\"name\": \"cats/{}.png\", \"caption\": \"cat {}\"}}\n", i, i);
    }
    for (const auto& bytes : {captions, lines})
      text(bytes,
           {{"eval", "student.safetensors", "in", "--retrieval", "--clip", "clip", "--captions", "m.txt"},
            {"pack", "in", "-o", "p.h5", "--size", "16", "--captions", "m.txt"}});
    text("in/cats/1.png\nin\n", {{"pack", "--list", "m.txt", "-o", "p.h5", "--size", "16"}});
    // Never trained: there is no such dataset.
    add("yaml", "m.yaml", Format::text, configuration("none.h5", "epochs: 3"), {{"train", "m.yaml"}});
    for (const auto& entry : fs::directory_iterator("configs"))
      if (entry.path().extension() == ".yaml")
        add("yaml", "m.yaml", Format::text, test::bytes_of_file(entry.path()),
            {{"train", "m.yaml", "data.train=[none.h5]"}});
  }

  void run_folders() {
    test::put_file(path("long.yaml"), configuration("data.h5", "max_steps: 6, checkpoint_every: 2, keep: 2"));
    done({"train", "long.yaml"});
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(path("run")))
      if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), folder_));
    std::sort(files.begin(), files.end());
    for (const auto& file : files)
      add("run folders", file, file.ends_with(".safetensors") ? Format::safetensors : Format::text,
          test::bytes_of_file(path(file)),
          {{"train", "long.yaml", "--resume", "auto", "train.max_steps=7", "train.output=run"},
           {"info", "run"},
           {"eval", "run", "data.h5"},
           {"report", "run", "data.h5", "-o", "r.html"}});
  }

  // What a command leaves that is killed as soon as its journal has something.
  std::string journal_of(const Arguments& arguments, const std::string& journal) const {
    for (int attempt = 0; attempt < 200; ++attempt) {
      Program program(shop_.tools, folder_, {.arguments = arguments});
      std::error_code none;
      std::uintmax_t size = 0;
      while (!program.ends_within(0)) {
        const auto now = fs::file_size(path(journal), none);
        if (!none && size > 0 && now > size) break;
        if (!none) size = now;
      }
      ::kill(program.id(), SIGKILL);
      program.wait();
      if (fs::exists(path(journal))) return test::bytes_of_file(path(journal));
    }
    throw_error("vitral {} leaves no journal", arguments[0]);
  }

  void journals() {
    const Arguments embed{"embed", "student.safetensors", "in", "-o", "j.h5", "--batch", "1"};
    add("journals", "j.h5.embed", Format::binary, journal_of(embed, "j.h5.embed"), {embed});
    fs::remove(path("j.h5.embed"));
    done(embed);
    fs::rename(path("j.h5"), path("embedded.h5"));
    all.back().expected = "embedded.h5";
    fs::copy(path("encoded.h5"), path("j.h5"));
    const Arguments teach{"teach", "j.h5", "--teacher", "clip", "--views", "2", "--batch", "2"};
    add("journals", "j.h5.teach", Format::binary, journal_of(teach, "j.h5.teach"), {teach});
    all.back().expected = "taught.h5";
  }

  const Workshop& shop_;
  std::string folder_;
};

}  // namespace

std::vector<Seed> make_mutant_seeds(const Workshop& shop, const std::string& folder) {
  fs::create_directories(folder);
  return Seeds(shop, folder).all;
}

}  // namespace vitral::torture
