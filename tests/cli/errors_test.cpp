// Requests that are wrong and work that fails: one line, the right exit status, nothing written, nothing
// lost.
#include <dlfcn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "data/images/image.h"
#include "tensor/ops/gemm.h"
#include "tests/cli/small_run.h"

namespace vitral {
namespace {

using test::contents_of;
using test::expect_failure;
using test::Program;
using test::run;
using test::SmallRun;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, width 16

// `vitral train` fails and writes nothing.
void expect_no_run(const SmallRun& small, const Program::Arguments& more, int status,
                   const std::string& message) {
  SCOPED_TRACE(testing::PrintToString(more));
  const auto before = contents_of(small.folder());
  expect_failure(small(more), status, message);
  EXPECT_EQ(contents_of(small.folder()), before);
}

TEST(CommandLine, OneLineAndStatus2) {
  const std::string help = "; see vitral --help";
  expect_failure(run({}), 2, "A subcommand is required" + help);
  expect_failure(run({"trian"}), 2, "unknown command 'trian'" + help);
  expect_failure(run({"--nothing"}), 2, "A subcommand is required" + help);
  expect_failure(run({"train"}), 2, "config is required" + help);
  expect_failure(run({"train", "a.yaml", "--nothing"}), 2,
                 "The following argument was not expected: --nothing" + help);
  expect_failure(run({"train", "a.yaml", "--resume"}), 2, "--resume: 1 required auto|PATH missing" + help);
  expect_failure(run({"eval", weights}), 2, "files is required" + help);
  expect_failure(run({"eval", weights, "a.h5", "--batch", "0"}), 2,
                 "--batch: must be an integer >= 1, not 0" + help);
  expect_failure(run({"eval", weights, "a.h5", "--workers", "-1"}), 2,
                 "--workers: must be an integer >= 0, not -1" + help);
  expect_failure(run({"eval", weights, "a.h5", "--temperature", "nan"}), 2,
                 "--temperature: must be a number >= 1e-30, not nan" + help);
  expect_failure(run({"eval", weights, "a.h5", "--temperature", "1e-300"}), 2,
                 "--temperature: must be a number >= 1e-30, not 1e-300" + help);
  expect_failure(
      run({"eval", weights, "a.h5", "--attention", "all"}), 2,
      "--attention: must be neighbourhood or full, or a list of one for each layer, not all" + help);
  expect_failure(run({"embed", weights, "a.png"}), 2, "--output is required" + help);
  expect_failure(run({"info"}), 2, "file is required" + help);
  expect_failure(run({"pack"}), 2, "--output is required" + help);
  expect_failure(run({"shapes"}), 2, "--output is required" + help);
  expect_failure(run({"shapes", "-o", "x", "--train", "many"}), 2,
                 "--train: must be an integer >= 1, not many" + help);
  const std::string huge(20, '9');
  for (const std::string option : {"--train", "--val", "--seed"})
    expect_failure(run({"shapes", "-o", "x", option, huge}), 2,
                   option + ": must be an integer >= " + (option == "--seed" ? "0" : "1") +
                       " and < 2^63, not " + huge + help);
  expect_failure(run({"activate", weights, "a.h5", "-o", "a.png", "--image", "3", huge}), 2,
                 "--image: must be an integer >= 0 and < 2^63, not " + huge + help);
  expect_failure(run({"shapes", "-o", "x", "--val", "0"}), 2, "--val: must be an integer >= 1, not 0" + help);
}

TEST(TrainErrors, Configuration) {
  const SmallRun small;
  const std::string config = small.config(), folder = small.folder();
  expect_failure(run({"train", small / "none.yaml"}), 2,
                 small / "none.yaml" + ": no such configuration file");
  expect_failure(run({"train", folder}), 2, folder + ": is a directory, name the configuration file in it");
  expect_no_run(
      small, {"train.epoch=3"}, 2,
      "override train.epoch=3: unknown key; did you mean epochs? valid keys of train: batch_size, "
      "accumulate, slices, epochs, max_steps, objective, loss_norm, temperature, texts, freeze, seed, "
      "device, precision, products, recompute, clip_norm, ema, optimizer, "
      "scheduler, log_every, checkpoint_every, keep, output");
  expect_no_run(small, {"train.epochs=some"}, 2,
                "override train.epochs=some: must be an integer from 1 to 1073741824, not some");
  expect_no_run(small, {"epochs"}, 2,
                "override epochs: must have the form section.key=value, e.g. train.epochs=20");
  expect_no_run(small, {"model.patch_size=15"}, 2,
                "override model.patch_size=15: 15 must divide image_size 64");
  expect_no_run(small, {"model.heads=3"}, 2, "override model.heads=3: 3 must divide width 16");
  expect_no_run(small, {"train.precision=tf32"}, 2,
                "train.precision: tf32 needs a GPU, on the CPU choose fp32");
  if (!cpu_has_bfloat16())
    expect_no_run(small, {"train.precision=bf16"}, 2,
                  "train.precision: bf16 needs a GPU, or a processor with AVX512_BF16 or AMX in a build with "
                  "oneDNN; choose fp32");
  expect_no_run(small, {"--device", "gpu"}, 2,
                "override train.device=gpu: must be cpu, cuda, cuda:N or auto, not gpu");
  std::ofstream(small / "broken.yaml") << "model:\n  width: [\n";
  expect_failure(run({"train", small / "broken.yaml"}), 2,
                 small / "broken.yaml" + ":3: not valid YAML: end of sequence flow not found");
}

TEST(TrainErrors, WithoutAGpu) {
  const SmallRun small;
  const test::Result r = small({"--device", "cuda"});
  if (r.status == 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(r.status, 2);
  EXPECT_EQ(r.err.find("vitral: device cuda: "), 0U) << r.err;
  EXPECT_NE(r.err.find("use --device cpu"), std::string::npos) << r.err;
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
  EXPECT_FALSE(std::filesystem::exists(small.output("run")));
  const test::Result eval =
      run({"eval", "tests/golden/run_init.safetensors", "tests/golden/run_dataset.h5", "--device", "cuda"});
  EXPECT_EQ(eval.status, 2);
  EXPECT_EQ(eval.err.find("vitral: device cuda: "), 0U) << eval.err;
  EXPECT_EQ(std::count(eval.err.begin(), eval.err.end(), '\n'), 1) << eval.err;
}

// Something by the driver's name is there, so that the module is looked for.
TEST(TrainErrors, WithoutTheModule) {
  const SmallRun small;
  Dl_info library{};
  ASSERT_NE(::dladdr(reinterpret_cast<void*>(&::dlopen), &library), 0);
  std::filesystem::create_symlink(std::filesystem::canonical(library.dli_fname), small / "libcuda.so.1");
  const test::Result r = test::Program({"train", small.config(), "--device", "cuda"}, [&] {
                           ::setenv("LD_LIBRARY_PATH", small.folder().c_str(), 1);
                         }).wait();
  EXPECT_EQ(r.status, 2);
  const bool built = std::filesystem::exists(
      std::filesystem::path(std::getenv("VITRAL_PROGRAM")).parent_path() / "../libvitral_cuda.so");
  EXPECT_EQ(
      r.err.find(built ? "vitral: device cuda: "
                       : "vitral: device cuda: this vitral was built without CUDA, or its module cannot be "
                         "loaded (libvitral_cuda.so: cannot open shared object file"),
      0U)
      << r.err;
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
}

TEST(TrainErrors, Files) {
  const SmallRun small;
  const std::string folder = small.folder(), none = small / "none.h5", config = small.config();
  expect_no_run(small, {"data.train=" + none}, 2,
                "override data.train=" + none + ": " + none + ": no such file");
  expect_no_run(small, {"data.val=[" + folder + "]"}, 2,
                "override data.val=[" + folder + "]: " + folder + ": is a directory, an HDF5 file is needed");
  expect_no_run(small, {"model.init_from=" + none}, 2,
                "override model.init_from=" + none + ": " + none + ": no such file");
  std::ofstream(small / "other.yaml") << "model: {width: 16}\ndata:\n  val: []\n  train: [" << none << "]\n";
  expect_failure(run({"train", small / "other.yaml"}), 2,
                 small / "other.yaml" + ":4: data.train: " + none + ": no such file");
  std::ofstream(small / "other.yaml") << "data: {val: []}\n";
  expect_failure(run({"train", small / "other.yaml"}), 2,
                 small / "other.yaml" + ":1: data.train: train.h5: no such file");
  expect_no_run(small, {"data.train=" + config}, 2, config + ": is not an HDF5 file");
  expect_no_run(
      small, {"model.init_from=" + folder}, 2,
      folder +
          ": no weights in this folder (neither model.safetensors, pytorch_model.bin nor checkpoints/best or "
          "latest); give a run folder, a checkpoint folder, a .safetensors or a .pt file");
  expect_no_run(small, {"model.init_from=" + weights}, 2,
                weights +
                    ": weights 'positional_embedding' have shape [16, 20], this model needs [16, 18]; it "
                    "belongs to another architecture");
  expect_no_run(small, {"model.width=32"}, 2,
                small.train() +
                    ": /embeddings are 16 wide, model.width is 32; embed with the teacher that "
                    "fits, or set model.width=16");
  expect_no_run(small, {"train.output=" + config}, 1,
                config + "/checkpoints: cannot create the folder: Not a directory; choose another place");

  const std::string bad = small / "bad.h5";
  const auto expect_bad = [&](int status, const std::string& message) {
    expect_no_run(small, {"data.train=" + bad}, status, bad + ": " + message);
  };
  {
    data::H5File file = data::H5File::create(bad);
    file.write("/embeddings", Tensor::full({4, 16}, 1));
    file.close();
  }
  expect_bad(2, "has neither /images nor /encoded, it is not a dataset; make one with vitral pack");
  test::write_dataset(bad, 5, [](Tensor& e) { e = e.rows(0, 4).clone(); });
  expect_bad(2, "/embeddings has 4 rows but /images has 5; write one row for each image");
  test::write_dataset(bad, 5, [](Tensor& e) { e = {}; });
  expect_bad(2, "has no /embeddings; write them with vitral teach");
  test::write_dataset(bad, 5);
  const auto whole = std::filesystem::file_size(bad);
  std::filesystem::resize_file(bad, whole - 100);
  expect_bad(1, fmt::format("is truncated: {} of its {} bytes are there; copy it or write it again",
                            whole - 100, whole));
}

TEST(TrainErrors, Resume) {
  const SmallRun small;
  const std::string run = small.output("run"), config = small.config();
  const std::string none = small / "none";
  expect_no_run(small, {"--resume", none}, 2,
                none + ": no such checkpoint; give a run folder or a checkpoint folder");
  expect_no_run(small, {"--resume", small.folder()}, 2,
                small.folder() +
                    ": not a checkpoint (no state.json in it); give a run folder or a checkpoint "
                    "folder");
  test::expect_done(small());
  expect_no_run(
      small, {}, 2,
      run + ": holds a run already; continue it with --resume auto, or choose another train.output");
  expect_no_run(small, {"--resume", "auto", "train.ema=0.9"}, 2,
                run +
                    "/checkpoints/step-000000006: was written without train.ema, this configuration is with "
                    "it; set it alike");

  const std::string file = run + "/checkpoints/step-000000006/model.safetensors";
  const auto size = std::filesystem::file_size(file);
  std::filesystem::resize_file(file, 1000);
  const std::string truncated = fmt::format(
      "{}: truncated or damaged: 1000 bytes, state.json says {}; use another checkpoint", file, size);
  expect_no_run(small, {"--resume", run + "/checkpoints/step-000000006"}, 1, truncated);
  expect_failure(test::run({"eval", run, small.train()}), 1, truncated);
  // The one before is whole: the run goes on from there and says so.
  const test::Result r = small({"--resume", "auto"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.err.find("warning: " + truncated + " (passed over)\n"), 0U) << r.err;
  EXPECT_EQ(std::filesystem::file_size(file), size);
}

// A disk that fills up ends the run with one line; the checkpoints from before stay, and it resumes.
void expect_full_disk(const SmallRun& small, const test::Result& r, const std::string& run,
                      const std::string& reason) {
  EXPECT_EQ(r.status, 1) << r.err;
  const auto line = r.err.find("vitral: ");
  ASSERT_NE(line, std::string::npos) << r.err;
  const std::string message = r.err.substr(line);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_NE(message.find(": cannot write: " + reason + "; free some space and run it again"),
            std::string::npos)
      << message;
  for (const auto& [path, bytes] : contents_of(run + "/checkpoints"))
    EXPECT_EQ(path.find("/.tmp-"), std::string::npos) << path;
  if (std::filesystem::exists(run + "/checkpoints/latest"))
    test::expect_done(test::run({"eval", test::latest(run), small.train()}));
}

TEST(TrainErrors, FileSizeLimit) {
  const SmallRun small;
  Program program(small.arguments(), [] {
    const rlimit limit{30000, 30000};  // smaller than the weights
    ::setrlimit(RLIMIT_FSIZE, &limit);
  });
  expect_full_disk(small, program.wait(), small.output("run"), "File too large");
  test::expect_done(small({"--resume", "auto"}));
}

// A file system of 600 KB in memory, while it lives.
class TinyDisk {
 public:
  explicit TinyDisk(const std::string& path) : path_(path) {
    std::filesystem::create_directory(path);
    mounted_ = ::mount("none", path.c_str(), "tmpfs", 0, "size=600k") == 0;
  }
  ~TinyDisk() {
    if (mounted_) ::umount(path_.c_str());
  }
  TinyDisk(const TinyDisk&) = delete;
  TinyDisk& operator=(const TinyDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST(TrainErrors, FullDisk) {
  const SmallRun small;
  const std::string disk = small / "disk";
  const TinyDisk tiny(disk);
  if (!tiny.mounted()) GTEST_SKIP() << "a small file system cannot be mounted here";
  // Room for the first checkpoint, not for all of them.
  const std::string run = disk + "/run";
  const test::Result r = small({"train.output=" + run, "train.checkpoint_every=1"});
  expect_full_disk(small, r, run, "No space left on device");
  EXPECT_TRUE(std::filesystem::exists(run + "/checkpoints/latest"));
  std::filesystem::copy(run, small.output("rescued"), std::filesystem::copy_options::recursive);
  test::expect_done(small({"train.output=" + small.output("rescued"), "--resume", "auto"}));
  test::expect_done(small());
  test::expect_same_run(small.output("rescued"), small.output("run"));
}

// What the other commands were writing is not there, what was there stays as it was.
TEST(OtherErrors, FileSizeLimit) {
  const test::TempDir dir;
  const std::string images = dir / "images";
  std::filesystem::create_directory(images);
  for (int i = 0; i < 8; ++i)
    data::write_png(fmt::format("{}/{}.png", images, i),
                    test::noise({40, 40, 3}, static_cast<std::uint64_t>(i), DType::uint8));
  std::ofstream(dir / "e.h5") << "old";
  const auto before = contents_of(dir.str());
  const std::vector<Program::Arguments> commands{
      {"pack", images, "-o", dir / "p.h5", "--size", "64"},
      {"pack", images, "-o", dir / "p.h5", "--encoded"},
      {"embed", weights, images, "-o", dir / "e.h5", "--patches"},
      {"shapes", "-o", dir / "images", "--train", "9", "--val", "1"},
  };
  for (const auto& arguments : commands) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    Program program(arguments, [] {
      const rlimit limit{5000, 5000};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      // The HDF5 library never frees the caches of a file that it could not write to the end.
      ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    });
    const test::Result r = program.wait();
    EXPECT_EQ(r.status, 1);
    EXPECT_EQ(r.err.find("vitral: " + dir.str()), 0U) << r.err;
    EXPECT_NE(r.err.find("cannot be written"), std::string::npos) << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    EXPECT_EQ(contents_of(dir.str()), before);
  }
}

TEST(OtherErrors, DamagedWeights) {
  const test::TempDir dir;
  const std::string dataset = dir / "a.h5", cut = dir / "cut.safetensors", cut_pt = dir / "cut.pt";
  test::write_dataset(dataset, 4);
  std::filesystem::copy(weights, cut);
  std::filesystem::resize_file(cut, 20000);
  std::filesystem::copy("tests/golden/tiny.pt", cut_pt);
  std::filesystem::resize_file(cut_pt, 3000);
  for (const auto& path : {cut, cut_pt}) {
    SCOPED_TRACE(path);
    for (const auto& arguments : {Program::Arguments{"eval", path, dataset}, Program::Arguments{"info", path},
                                  Program::Arguments{"embed", path, "tests", "-o", dir / "e.h5"}}) {
      const test::Result r = run(arguments);
      EXPECT_EQ(r.status, 1);
      EXPECT_EQ(r.err.find("vitral: " + path + ": "), 0U) << r.err;
      EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    }
  }
}

TEST(OtherErrors, Files) {
  const test::TempDir dir;
  const std::string dataset = dir / "a.h5", none = dir / "none", text = dir / "text.txt";
  test::write_dataset(dataset, 4);
  std::ofstream(text) << "hello";
  const std::string kinds = "give a run folder, a checkpoint folder, a .safetensors or a .pt file";
  data::write_png(dir / "a.png", Tensor::full({20, 20, 3}, 9, DType::uint8));
  const auto before = contents_of(dir.str());

  expect_failure(run({"eval", weights, none}), 2, none + ": no such file");
  expect_failure(run({"eval", none, dataset}), 2, none + ": no such file or folder; " + kinds);
  expect_failure(run({"eval", dataset, dataset}), 2,
                 dataset + ": holds no weights that vitral can read; " + kinds);
  expect_failure(
      run({"eval", dir.str(), dataset}), 2,
      dir.str() +
          ": no weights in this folder (neither model.safetensors, pytorch_model.bin nor checkpoints/best or "
          "latest); " +
          kinds);
  expect_failure(run({"eval", weights, dir.str()}), 2,
                 dir.str() + ": is a directory, an HDF5 file is needed");
  expect_failure(run({"eval", weights, text}), 2, text + ": is not an HDF5 file");
  expect_failure(
      run({"eval", weights, dataset, "--window", "2"}), 2,
      "--window: must be an odd integer from 1 to 8191, or a list of one for each layer, not 2; see "
      "vitral --help");

  expect_failure(run({"info", none}), 2, none + ": no such file");
  const test::TempDir links;
  const std::string loop = links / "loop";
  std::filesystem::create_symlink("loop", loop);
  expect_failure(
      run({"info", loop}), 2,
      loop + ": cannot be read: Too many levels of symbolic links; check the path and its permissions");
  expect_failure(run({"info", text}), 2, text + ": holds no weights that vitral can read; " + kinds);

  const std::string picture = dir / "p.png";
  expect_failure(
      run({"activate", weights, dataset, "-o", picture}), 2,
      dataset + ": has no /concepts; write /concepts/names and /concepts/embeddings first, or give --text");
  expect_failure(run({"activate", weights, none, "-o", picture}), 2, none + ": no such file or folder");
  expect_failure(
      run({"activate", weights, dataset, "-o", dir / "no/p.png"}), 2,
      dir / "no/p.png" + ": cannot be created, there is no folder " + (dir / "no") + "; create it first");
  expect_failure(run({"activate", weights, dataset, "-o",
                      dir / "../" + std::filesystem::path(dir.str()).filename().string() + "/a.h5"}),
                 2,
                 dir / "../" + std::filesystem::path(dir.str()).filename().string() +
                     "/a.h5: is one of the inputs; name another file for the output");

  const std::string out = dir / "o.h5", image = dir / "a.png";
  expect_failure(run({"embed", weights, none, "-o", out}), 2, none + ": no such file or folder");
  expect_failure(run({"embed", none, image, "-o", out}), 2, none + ": no such file or folder; " + kinds);
  expect_failure(run({"embed", weights, image, "-o", dir.str()}), 2,
                 dir.str() + ": is a directory, name a file");
  expect_failure(
      run({"embed", weights, image, "-o", dir / "no/o.h5"}), 2,
      dir / "no/o.h5" + ": cannot be created, there is no folder " + (dir / "no") + "; create it first");
  const std::string pipe = dir / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_failure(run({"embed", weights, image, "-o", pipe}), 2, pipe + ": is not a regular file, name one");
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  expect_failure(run({"embed", weights, image, "-o", image}), 2,
                 image + ": is one of the inputs; name another file for the output");
  const test::Result r = run({"embed", weights, text, "-o", out});
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(r.err, "skipped 1 of 1 images: " + text + ": not an image of a known format\nvitral: " + out +
                       ": nothing written, none of the 1 images can be read\n");

  expect_failure(run({"pack", none, "-o", out}), 2, none + ": no such file or folder");
  // By their hashes a.png goes to the one file, f.png to the other.
  std::ofstream(dir / "f.png") << "no image";
  const test::Result left =
      run({"pack", image, dir / "f.png", "-o", out, "--val", "0.5", "--val-out", dir / "v.h5"});
  EXPECT_EQ(left.status, 1);
  EXPECT_EQ(left.err,
            "skipped 1 of 2 images: f.png: not an image of a known format\nvitral: " + (dir / "v.h5") +
                ": nothing was written, no image is left for it: 1 of 2 cannot be packed\n");
  std::filesystem::remove(dir / "f.png");
  expect_failure(run({"pack", image, "-o", dataset}), 2,
                 dataset + ": exists already; use --force to replace it");
  expect_failure(run({"pack", image, "-o", out, "--size", "8", "--encoded"}), 2,
                 "--size excludes --encoded; see vitral --help");
  expect_failure(run({"pack", image, "-o", out, "--limit", "x"}), 2,
                 "--limit x: must be PATTERN=N, for example 'cats/*=100'");
  expect_failure(run({"shapes", "-o", text, "--train", "1", "--val", "1"}), 2,
                 text + ": cannot be created as a folder: Not a directory");
  EXPECT_EQ(contents_of(dir.str()), before);
}

}  // namespace
}  // namespace vitral
