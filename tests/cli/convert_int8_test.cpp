// vitral convert --dtype int8, and every command with what it writes.
#include <nlohmann/json.hpp>

#include "data/images/image.h"
#include "data/weights/onnx_file.h"
#include "models/student/encoder.h"
#include "tests/cli/small_run.h"
#include "tests/golden.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::run;
using test::small_size;

class ConvertInt8 : public testing::Test {
 protected:
  ConvertInt8() {
    models::StudentConfig c = test::small_student(2);
    c.width = 62, c.heads = 2;
    const models::Student student(c, 3);
    data::write_safetensors(floats(), student.state(), models::to_metadata(c));
    data::H5File file = data::H5File::create(dir_ / "images.h5");
    file.write("/images", test::noise({9, small_size, small_size, 3}, 1, DType::uint8), 1);
    file.write("/embeddings", test::noise({9, 62}, 2));
    file.close();
  }

  std::string floats() const { return dir_ / "floats.safetensors"; }
  // The weights as int8.
  std::string int8() const {
    const std::string path = dir_ / "int8.safetensors";
    if (!std::filesystem::exists(path)) expect_done(run({"convert", floats(), path, "--dtype", "int8"}));
    return path;
  }
  static std::map<std::string, Tensor> tensors(const std::string& path) {
    const auto all = data::read_weights(path).tensors;
    return {all.begin(), all.end()};
  }
  static json json_of(const test::Result& r) {
    expect_done(r);
    return json::parse(r.out);
  }
  // Writes the int8 weights with one tensor changed (undefined: left out).
  std::string damaged(const std::string& name, const Tensor& value) const {
    data::WeightsFile file = data::read_weights(int8());
    std::erase_if(file.tensors, [&](const auto& t) { return t.first == name; });
    if (value.defined()) file.tensors.emplace_back(name, value);
    data::write_safetensors(dir_ / "damaged.safetensors", file.tensors, file.metadata);
    return dir_ / "damaged.safetensors";
  }

  // A folder of three images.
  std::string pictures() const {
    const std::string folder = dir_ / "pictures";
    std::filesystem::create_directory(folder);
    for (int i = 0; i < 3; ++i)
      data::write_png(fmt::format("{}/{}.png", folder, i), test::noise_image(40, 50, i));
    return folder;
  }

  test::TempDir dir_;
};

TEST_F(ConvertInt8, WritesAQuarterAndSaysWhatItCosts) {
  const std::string plain = dir_ / "plain.safetensors", fitted = dir_ / "fitted.safetensors";
  const auto r = run({"convert", floats(), plain, "--dtype", "int8"});
  expect_done(r);
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 1) << "nothing to see the cost on: " << r.out;
  const auto before = std::filesystem::file_size(floats()), after = std::filesystem::file_size(plain);
  EXPECT_LT(after, before * 0.35);
  const json sizes = json_of(run({"convert", floats(), dir_ / "copy.safetensors", "--json"})),
             answer = json_of(run({"convert", floats(), fitted, "--dtype", "int8", "--calibrate",
                                   dir_ / "images.h5", "--json"}));
  EXPECT_EQ(answer["parameters"], sizes["parameters"]) << "scales are none";
  EXPECT_EQ(answer["tensors"], sizes["tensors"].get<int>() + 9);  // conv1, and four a layer
  EXPECT_EQ(answer["bytes"], after);
  const json& cost = answer["int8"];
  EXPECT_EQ(cost["images"], 9);
  EXPECT_TRUE(cost["smoothing"].is_number());
  for (const char* what : {"embedding_cosine", "patch_cosine"}) {
    EXPECT_GT(cost[what]["least"], 0.98) << what;
    EXPECT_GE(cost[what]["mean"], cost[what]["least"]) << what;
    EXPECT_LE(cost[what]["mean"], 1.0001) << what;
  }
  EXPECT_GE(cost["best_patch_agrees"], 0.6);
  const auto text =
      run({"convert", floats(), fitted, "--dtype", "int8", "--calibrate", dir_ / "images.h5", "--force"});
  expect_done(text);
  EXPECT_NE(text.out.find(fmt::format("cosine of embeddings        mean {:.5f}, least {:.5f}\n",
                                      cost["embedding_cosine"]["mean"].get<double>(),
                                      cost["embedding_cosine"]["least"].get<double>())),
            std::string::npos)
      << text.out;
  EXPECT_NE(text.out.find("on 9 images, smoothing "), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("best patch agrees "), std::string::npos) << text.out;
  for (const auto& [name, tensor] : tensors(fitted))
    EXPECT_EQ(tensor.dtype() == DType::int8, tensors(plain).at(name).dtype() == DType::int8) << name;
}

TEST_F(ConvertInt8, CalibratesWithFilesAndLeavesOutWhatDoesNotDecode) {
  const std::string folder = pictures();
  std::ofstream(folder + "/broken.png") << "no picture";
  const auto convert = [&](const std::vector<std::string>& images) {
    std::vector<std::string> arguments{"convert", floats(), dir_ / "a.safetensors", "--force", "--json",
                                       "--dtype", "int8",   "--calibrate"};
    arguments.insert(arguments.end(), images.begin(), images.end());
    return run(arguments);
  };
  const auto r = convert({folder});
  EXPECT_EQ(json_of(r)["int8"]["images"], 3);
  EXPECT_NE(r.err.find("skipped 1 of 4 images"), std::string::npos) << r.err;
  expect_failure(convert({folder + "/broken.png"}), 1,
                 folder + "/broken.png: none of the images decodes, nothing to calibrate with");
  EXPECT_EQ(convert({dir_ / "missing"}).status, 2);
}

TEST_F(ConvertInt8, EveryCommandTakesThem) {
  const std::string images = dir_ / "images.h5", weights = int8();
  const json info = json_of(run({"info", weights, "--json"}));
  EXPECT_EQ(info["model"]["width"], 62);
  EXPECT_EQ(info["parameters"], json_of(run({"info", floats(), "--json"}))["parameters"]);
  std::map<std::string, std::string> dtypes;
  for (const auto& t : info["tensors"]) dtypes[t["name"]] = t["dtype"];
  EXPECT_EQ(dtypes["conv1.weight"], "int8");
  EXPECT_EQ(dtypes["conv1.weight.scale"], "float32");
  EXPECT_EQ(dtypes["ln_pre.weight"], "float32");
  EXPECT_NE(run({"info", weights}).out.find("int8"), std::string::npos);
  for (const std::string& in : {weights, floats()})
    expect_done(run({"embed", in, pictures(), "-o", in + ".h5", "--patches"}));
  const auto embeddings = [](const std::string& of) {
    return data::H5File::open(of + ".h5").read("/embeddings");
  };
  const double error = test::relative_error(embeddings(weights), embeddings(floats()));
  EXPECT_LT(error, 0.05);
  EXPECT_GT(error, 1e-6) << "int8 was not computed with";
  const auto loss = [&](const std::string& of) {
    return json_of(run({"eval", of, images, "--json"}))["loss"].get<double>();
  };
  EXPECT_NEAR(loss(weights), loss(floats()), 0.02);
  expect_done(run({"report", weights, images, "-o", dir_ / "a.html"}));
}

TEST_F(ConvertInt8, BecomeFloatsAgain) {
  const std::string back = dir_ / "back.safetensors";
  for (const auto& [dtype, out] :
       {std::pair{"float32", back}, {"float32", dir_ / "back.pt"}, {"bfloat16", dir_ / "half.safetensors"}}) {
    expect_done(run({"convert", int8(), out, "--dtype", dtype}));
    const auto got = tensors(out), before = tensors(floats());
    ASSERT_EQ(got.size(), before.size());
    for (const auto& [name, tensor] : before) {
      EXPECT_EQ(std::string(vitral::name(got.at(name).dtype())), dtype);
      if (tensor.rank() > 1) {
        EXPECT_LT(test::relative_error(got.at(name), tensor), 0.02) << name;
      }
    }
  }
  // What was int8 once is it again.
  const std::string again = dir_ / "again.safetensors", copy = dir_ / "copy.safetensors";
  expect_done(run({"convert", back, again, "--dtype", "int8"}));
  const auto a = tensors(again), b = tensors(int8());
  for (const auto& [name, tensor] : b)
    if (tensor.dtype() == DType::int8) {
      EXPECT_EQ(a.at(name).to_vector(), tensor.to_vector()) << name;
    }
  // And without a dtype, or the same, stays it.
  expect_done(run({"convert", int8(), copy}));
  expect_done(run({"convert", int8(), copy, "--dtype", "int8", "--force"}));
  EXPECT_TRUE(test::bytes_of_file(copy) == test::bytes_of_file(int8()));
}

TEST_F(ConvertInt8, IntoOnnx) {
  const std::string copy = dir_ / "copy.safetensors", from_floats = dir_ / "a.onnx",
                    from_int8 = dir_ / "b.onnx";
  expect_done(run({"convert", floats(), copy}));  // with the same metadata as int8()
  expect_done(run({"convert", copy, from_floats, "--dtype", "int8"}));
  expect_done(run({"convert", int8(), from_int8}));
  EXPECT_TRUE(test::bytes_of_file(from_floats) == test::bytes_of_file(from_int8));
  const data::OnnxSummary summary = data::read_onnx_summary(from_int8);
  std::map<std::string, int> nodes;
  for (const auto& node : summary.nodes) ++nodes[node.operation];
  EXPECT_EQ(nodes["QuantizeLinear"], 9);
  EXPECT_EQ(nodes["DequantizeLinear"], 18);
  EXPECT_LT(std::filesystem::file_size(from_int8), std::filesystem::file_size(floats()) * 0.5);
}

TEST_F(ConvertInt8, WhatDoesNotGoTogetherIsRefused) {
  const std::string images = dir_ / "images.h5", out = dir_ / "out.safetensors", pt = dir_ / "out.pt";
  expect_failure(run({"convert", floats(), out, "--calibrate", images}), 2,
                 "--calibrate: images are for --dtype int8; add it, or leave them out");
  for (const std::string& target : {pt, dir_ / "folder/"})
    expect_failure(run({"convert", floats(), target, "--dtype", "int8"}), 2,
                   target + ": int8 weights are written as .safetensors or .onnx; name such a file");
  expect_failure(run({"convert", int8(), pt}), 2,
                 int8() +
                     ": its weights are int8, which are written as .safetensors or .onnx; give --dtype "
                     "float32 for " +
                     pt);
  expect_failure(run({"convert", int8(), out, "--dtype", "int8", "--calibrate", images}), 2,
                 int8() +
                     ": its weights are int8 already; calibrate with the float32 ones, or leave "
                     "--calibrate out");
  expect_failure(
      run({"convert", "tests/golden/tiny.pt", out, "--dtype", "int8"}), 2,
      "tests/golden/tiny.pt: has no weights 'ln_post.weight'; these are not a student's weights; only "
      "a student can become int8");
  expect_failure(run({"convert", floats(), dir_ / "a.onnx", "--dtype", "float16"}), 2,
                 "--dtype float16: an ONNX model is float32 or int8; leave the option out");
  EXPECT_FALSE(std::filesystem::exists(out));
  EXPECT_FALSE(std::filesystem::exists(pt));
}

TEST_F(ConvertInt8, CannotBeTrained) {
  const test::SmallRun small;
  const std::string before = small / "before.safetensors", weights = small / "int8.safetensors";
  data::write_safetensors(before, models::Student(test::small_student()).state());
  expect_done(run({"convert", before, weights, "--dtype", "int8"}));
  expect_failure(small({"model.init_from=" + weights}), 2,
                 weights +
                     ": its weights are int8, which have no gradients; train from the float32 ones that "
                     "they were made of");
}

TEST_F(ConvertInt8, DamagedFilesAreRefusedInOneLine) {
  const std::string weight = "transformer.resblocks.1.mlp.c_fc.weight";
  const auto scale = tensors(int8()).at(weight + ".scale");
  const auto refuse = [&](const std::string& name, const Tensor& value, const std::string& what) {
    const std::string path = damaged(name, value);
    for (const auto& command : std::vector<std::vector<std::string>>{
             {"embed", path, pictures(), "-o", dir_ / "e.h5"}, {"convert", path, dir_ / "e.onnx"}})
      expect_failure(run(command), 2, path + ": weights " + what + "; convert the float32 weights again");
  };
  const std::string named = "'" + weight + "' are int8, but ", scales = "'" + weight + ".scale' ";
  Tensor zero = scale.clone(), infinite = scale.clone();
  zero.data<float>()[3] = 0;
  infinite.data<float>()[0] = std::numeric_limits<float>::infinity();
  refuse(weight + ".scale", {}, named + "their scales '" + weight + ".scale' are missing");
  refuse(weight + ".scale", scale.rows(0, 5), named + scales + "is float32 [5] instead of float32 [256]");
  refuse(weight + ".scale", zero, named + scales + "holds 0 in row 3, where a scale is positive and finite");
  refuse(weight + ".scale", infinite,
         named + scales + "holds inf in row 0, where a scale is positive and finite");
  refuse("ln_pre.weight", Tensor::full({64}, 1, DType::int8),
         "'ln_pre.weight' are int8, but only those that linear layers multiply with can be");
}

}  // namespace
}  // namespace vitral
