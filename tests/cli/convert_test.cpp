// Weights go from any kind of file into any other, and stay what they are.
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "data/weights/onnx_file.h"
#include "models/student/encoder.h"
#include "tests/cli/small_run.h"
#include "tests/golden.h"

namespace vitral {
namespace {

using test::expect_done;
using test::expect_failure;
using test::run;
using test::SmallRun;

const std::string bare = "tests/golden/run_init.safetensors";  // no configuration in it

void expect_same(const data::NamedTensors& a, const data::NamedTensors& b) {
  std::map<std::string, Tensor> other(b.begin(), b.end());
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_EQ(tensor.to_vector(), other[name].to_vector()) << name;
}

class Convert : public testing::Test {
 protected:
  test::TempDir dir_;
};

TEST_F(Convert, InEveryDirection) {
  const SmallRun small;
  expect_done(small({"train.max_steps=2", "model.window=5"}));
  const data::WeightsFile trained = data::read_weights(small.output("run"));
  std::string in = small.output("run");
  for (const char* name : {"a.safetensors", "b.pt", "c.bin", "d.pth", "e.safetensors"}) {
    SCOPED_TRACE(name);
    const test::Result r = run({"convert", in, dir_ / name});
    expect_done(r);
    EXPECT_TRUE(r.out.starts_with(dir_ / name + ": 19 tensors, ")) << r.out;
    EXPECT_EQ(r.err, "");
    in = dir_ / name;
    const data::WeightsFile got = data::read_weights(in);
    expect_same(got.tensors, trained.tensors);
    EXPECT_EQ(got.metadata, trained.metadata);  // the configuration, window 5 in it, and the format
  }
  EXPECT_EQ(test::bytes_of_file(dir_ / "a.safetensors"), test::bytes_of_file(dir_ / "e.safetensors"));
  expect_done(run({"convert", in, dir_ / "f.onnx"}));
  auto expected = trained.metadata;
  EXPECT_EQ(data::read_onnx_summary(dir_ / "f.onnx").metadata, expected);
}

TEST_F(Convert, AConfigurationIsWrittenWhereThereWasNone) {
  const auto config_of = [&](const std::vector<std::string>& more, const std::string& name) {
    std::vector<std::string> arguments{"convert", bare, dir_ / name, "--force"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_done(run(arguments));
    data::WeightsFile file = data::read_weights(dir_ / name);
    EXPECT_TRUE(file.metadata.contains("model.width"));
    const models::StudentConfig config = models::configure_student(file, name);
    models::Student(config).load_state(file.tensors, name);  // strictly
    return config;
  };
  for (const char* name : {"a.safetensors", "a.pt"}) {
    models::StudentConfig expected;
    expected.image_size = 16;
    expected.patch_size = 4;
    expected.width = 16;
    expected.layers = 2;
    expected.heads = 4;
    EXPECT_EQ(config_of({}, name), expected);
    expected.window = 5;
    EXPECT_EQ(config_of({"--window", "5"}, name), expected);
    expected.window = 3;
    expected.mlp = "gelu";
    EXPECT_EQ(config_of({"--mlp", "gelu"}, name), expected);
    expected.mlp = "quick_gelu";
    expected.attention = "full";
    expected.same_norm = false;
    EXPECT_EQ(config_of({"--attention", "full", "--same-norm", "false"}, name), expected);
  }
}

// What came after the first files stands in them where it is used, and goes where a flag takes it back.
TEST_F(Convert, SwitchesOfAttentionGoAlong) {
  const SmallRun small;
  expect_done(small({"train.max_steps=1", "model.layers=2", "model.attention=full,neighbourhood",
                     "model.dilation=2", "model.registers=3", "model.position=rope"}));
  const std::string trained = small.output("run"), plain = dir_ / "plain.safetensors";
  const auto before = data::read_weights(trained).metadata;
  EXPECT_EQ(before.at("model.attention"), "[full, neighbourhood]");
  EXPECT_EQ(before.at("model.dilation"), "2");
  EXPECT_EQ(before.at("model.registers"), "3");
  EXPECT_EQ(before.at("model.position"), "rope");
  expect_done(run({"convert", trained, plain, "--dilation", "1", "--window", "3,5"}));
  const auto after = data::read_weights(plain).metadata;
  EXPECT_FALSE(after.contains("model.dilation"));
  EXPECT_EQ(after.at("model.window"), "[3, 5]");
  const test::Result info = run({"info", plain, "--json"});
  expect_done(info);
  const auto model = nlohmann::json::parse(info.out)["model"];
  EXPECT_EQ(model["attention"], (nlohmann::json{"full", "neighbourhood"}));
  EXPECT_EQ(model["window"], (nlohmann::json{3, 5}));
  EXPECT_EQ(model["registers"], 3);
}

TEST_F(Convert, HalfPrecisionWorksInEveryCommand) {
  const SmallRun small(24, true);
  expect_done(small({"train.max_steps=3"}));
  const auto whole =
      nlohmann::json::parse(run({"eval", small.output("run"), small / "val.h5", "--json"}).out);
  for (const std::string dtype : {"float16", "bfloat16"}) {
    for (const std::string name : {"half.safetensors", "half.pt"}) {
      SCOPED_TRACE(dtype + " " + name);
      const std::string half = dir_ / (dtype + name);
      const auto r = run({"convert", small.output("run"), half, "--dtype", dtype, "--json"});
      expect_done(r);
      const auto answer = nlohmann::json::parse(r.out);
      EXPECT_EQ(answer["tensors"], 19);
      for (const auto& [key, tensor] : data::read_weights(half).tensors)
        EXPECT_EQ(std::string(vitral::name(tensor.dtype())), dtype) << key;
      const auto e = run({"eval", half, small / "val.h5", "--json"});
      expect_done(e);
      EXPECT_NEAR(nlohmann::json::parse(e.out)["loss"].get<double>(), whole["loss"].get<double>(), 2e-2);
      expect_done(run({"info", half}));
      expect_done(run({"convert", half, dir_ / (dtype + name + ".onnx")}));
      const std::string output = small.output(dtype + name);
      expect_done(small({"model.init_from=" + half, "train.max_steps=1", "train.output=" + output}));
    }
  }
  // And back: what float16 keeps.
  expect_done(run({"convert", dir_ / "float16half.pt", dir_ / "back.safetensors", "--dtype", "float32"}));
  for (const auto& [key, tensor] : data::read_weights(dir_ / "back.safetensors").tensors)
    EXPECT_EQ(tensor.dtype(), DType::float32) << key;
  expect_same(data::read_weights(dir_ / "back.safetensors").tensors,
              data::read_weights(dir_ / "float16half.pt").tensors);
}

TEST_F(Convert, OtherWeightsKeepTheirNamesAndTypes) {
  const std::string tiny = "tests/golden/tiny.pt";  // thirteen tensors of six dtypes, no student
  expect_done(run({"convert", tiny, dir_ / "a.safetensors"}));
  expect_same(data::read_weights(dir_ / "a.safetensors").tensors, data::read_weights(tiny).tensors);
  EXPECT_EQ(data::read_weights(dir_ / "a.safetensors").metadata.at("epoch"), "12");
  expect_done(run({"convert", tiny, dir_ / "b.pt", "--dtype", "float32"}));
  std::map<std::string, Tensor> t;
  for (const auto& [key, tensor] : data::read_weights(dir_ / "b.pt").tensors) t[key] = tensor;
  EXPECT_EQ(t["half"].dtype(), DType::float32);
  EXPECT_EQ(t["steps"].dtype(), DType::int64);
  const std::string why = tiny + ": has no weights 'ln_post.weight'; these are not a student's weights; ";
  expect_failure(run({"convert", tiny, dir_ / "c.onnx"}), 2, why + "only a student can become an ONNX model");
  expect_failure(
      run({"convert", tiny, dir_ / "c.pt", "--window", "5"}), 2,
      why +
          "--image-size, --student-heads, --attention, --window, --dilation, --position, --same-norm, "
          "--mlp, --norm, --last-block and --head are for a student");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "c.onnx"));
}

TEST_F(Convert, WrongRequestsChangeNothing) {
  const std::string out = dir_ / "a.pt", copy = dir_ / "copy.safetensors";
  test::put_file(out, "mine");
  test::put_file(copy, test::bytes_of_file(bare));
  expect_failure(run({"convert", bare, out}), 2,
                 out + ": is there already; give --force to replace it, or name another file");
  for (const char* force : {"--json", "--force"})
    expect_failure(run({"convert", copy, copy, force}), 2,
                   copy + ": is one of the inputs; name another file for the output");
  expect_failure(run({"convert", bare, dir_ / "a.txt"}), 2,
                 dir_ / "a.txt" +
                     ": its name says no format; end it in .safetensors, .pt, .pth, .bin or .onnx, or in / "
                     "for a folder for transformers");
  expect_failure(run({"convert", bare, dir_ / "a.onnx", "--dtype", "float16"}), 2,
                 "--dtype float16: an ONNX model is float32 or int8; leave the option out");
  expect_failure(run({"convert", dir_ / "none.pt", out, "--force"}), 2,
                 dir_ / "none.pt" +
                     ": no such file or folder; give a run folder, a checkpoint folder, a "
                     ".safetensors or a .pt file");
  expect_failure(
      run({"convert", bare, dir_ / "none/a.pt"}), 2,
      dir_ / "none/a.pt" + ": cannot be created, there is no folder " + dir_ / "none" + "; create it first");
  expect_failure(
      run({"convert", bare, out, "--force", "--window", "4"}), 2,
      "--window: must be an odd integer from 1 to 8191, or a list of one for each layer, not 4; see "
      "vitral --help");
  const std::string plain = dir_ / "plain.safetensors";
  expect_done(run({"convert", bare, plain, "--same-norm", "false"}));
  expect_failure(run({"convert", plain, out, "--force", "--same-norm", "true"}), 2,
                 plain + ": same_norm needs the weights 'scale', which this file does not have");
  EXPECT_EQ(test::bytes_of_file(out), "mine");
  EXPECT_EQ(test::bytes_of_file(copy), test::bytes_of_file(bare));
  expect_done(run({"convert", bare, out, "--force"}));
  expect_same(data::read_weights(out).tensors, data::read_weights(bare).tensors);
}

TEST_F(Convert, AFullDiskLeavesTheOldFile) {
  const std::string out = dir_ / "a.safetensors";
  test::put_file(out, "mine");
  test::Program program({"convert", bare, out, "--force"}, [] {
    struct rlimit limit {
      8192, 8192
    };  // bytes a file
    ::setrlimit(RLIMIT_FSIZE, &limit);
  });
  const test::Result r = program.wait();
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(r.err.starts_with("vitral: " + out + ": cannot write: File too large")) << r.err;
  EXPECT_EQ(test::bytes_of_file(out), "mine");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.str()), {}), 1);
}

}  // namespace
}  // namespace vitral
