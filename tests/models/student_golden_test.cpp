// The student against the original's numbers: forward 1e-5, gradients 1e-4 (relative, over each whole array);
// on a GPU 1e-4 for both.
#include <algorithm>

#include "base/random.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "models/pixels.h"
#include "tests/models/golden_student.h"

namespace vitral::models {
namespace {

using test::relative_error;

double tolerance(Device device) { return device.is_cpu() ? 1e-5 : 1e-4; }

using FileAndDevice = std::tuple<const char*, Device::Kind>;

std::string test_name(const testing::TestParamInfo<FileAndDevice>& info) {
  const std::string file = std::get<0>(info.param);
  return std::string(file.find("un") == std::string::npos ? "Masked" : "Unmasked") +
         (std::get<1>(info.param) == Device::Kind::cpu ? "OnCpu" : "OnCuda");
}

class StudentGolden : public testing::TestWithParam<FileAndDevice> {
 protected:
  Device device() const { return {std::get<1>(GetParam()), 0}; }

  template <class F>
  void for_each_file(F&& f) {
    VITRAL_NEEDS_DEVICE(device());
    for (const auto& path : test::golden_files(std::get<0>(GetParam()))) {
      SCOPED_TRACE(path);
      const data::H5File file = data::H5File::open(path);
      const auto load = [&](const StudentConfig& config, const auto& state) {
        auto student = std::make_unique<Student>(config);
        student->load_state(state, path);
        student->to(device());
        return student;
      };
      StudentConfig config = test::golden_config(file);
      auto state = test::read_group(file, "/state");
      const auto student = load(config, state);
      config.same_norm = false;
      std::erase_if(state, [](const auto& tensor) { return tensor.first == "scale"; });
      f(file, *student, *load(config, state));
    }
  }

  Variable read(const data::H5File& file, const char* name) const {
    return Variable(file.read(name).to(device()));
  }
};

TEST_P(StudentGolden, Forward) {
  for_each_file([this](const data::H5File& file, Student& student, const Student& without_same_norm) {
    const NoGrad no_grad;
    const Variable input = read(file, "/input");
    const auto check = [&](const std::string& variant, const Student& student, double temperature, bool all) {
      const StudentOutput out = student.forward(input, temperature);
      EXPECT_LE(relative_error((all ? out.patches : out.embedding).value(),
                               file.read("/forward/" + variant + "/embedding")),
                tolerance(device()))
          << variant;
      if (file.has("/forward/" + variant + "/probs")) {
        EXPECT_LE(relative_error(out.probs.value(), file.read("/forward/" + variant + "/probs")),
                  tolerance(device()))
            << variant;
      }
    };
    check("default", student, 1, false);
    check("temp_0.5", student, 0.5, false);
    check("no_same_norm", without_same_norm, 1, false);
    check("all", student, 1, true);
    check("all_no_same_norm", without_same_norm, 1, true);
    // The way of training: the embedding alone, from patches.
    const Variable fused = student.embed(patchify(input, student.config().patch_size));
    EXPECT_LE(relative_error(fused.value(), file.read("/forward/default/embedding")), tolerance(device()));
    for (const auto& p : student.parameters())
      if (p.name == "scale") Tensor(p.value->value()).fill(12);
    check("scale_12", student, 1, false);
  });
}

TEST_P(StudentGolden, LossAndGradients) {
  for_each_file([this](const data::H5File& file, Student& student, const Student&) {
    const Variable patches = patchify(read(file, "/input"), student.config().patch_size);
    const Variable embedding = student.embed(patches), target = read(file, "/target");
    EXPECT_NEAR(distillation_loss(embedding, target, 1).item(), file.read("/loss/norm_1").item(), 1e-5);
    const Variable loss = distillation_loss(embedding, target, 20);
    EXPECT_NEAR(loss.item() / file.read("/loss/norm_20").item(), 1, 1e-5);
    loss.backward();
    int compared = 0;
    for (const auto& p : student.parameters()) {
      if (p.name.starts_with("ln_post")) {
        EXPECT_FALSE(p.value->grad().defined()) << p.name;
      } else if (p.name != "scale") {  // rounding noise: the loss is blind to the embedding's length
        EXPECT_LE(relative_error(p.value->grad(), file.read("/grad/" + p.name)), 1e-4) << p.name;
        ++compared;
      }
    }
    EXPECT_EQ(compared, 4 + 12 * student.config().layers);
  });
}

INSTANTIATE_TEST_SUITE_P(Files, StudentGolden,
                         testing::Combine(testing::Values("student_masked.h5", "student_unmasked.h5"),
                                          testing::Values(Device::Kind::cpu, Device::Kind::cuda)),
                         test_name);

double stream(std::uint64_t k, std::uint64_t i) {
  return 2 * static_cast<double>(splitmix64((i + (k << 40)) * 0x9E3779B97F4A7C15ULL) >> 11) * 0x1p-53 - 1;
}

// Weights by the formula of the golden README, so that the full model needs no file of weights.
void fill_by_formula(Student& student, std::uint64_t base) {
  auto parameters = student.parameters();
  std::sort(parameters.begin(), parameters.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    const auto& [name, variable] = parameters[k];
    const Tensor& value = variable->value();
    float* p = value.data<float>();
    const double fan = std::sqrt(3.0 / static_cast<double>(value.shape().product(1, value.rank())));
    for (std::int64_t i = 0; i < value.numel(); ++i) {
      const double u = stream(base + k, static_cast<std::uint64_t>(i));
      p[i] = static_cast<float>(name == "scale"                         ? 2.0
                                : name.ends_with("bias")                ? 0.02 * u
                                : name.find("ln_") != std::string::npos ? 1 + 0.1 * u
                                : name == "positional_embedding"        ? 0.04 * u
                                                                        : u * fan);
    }
  }
}

Tensor fill_stream(const Shape& shape, std::uint64_t k, double factor) {
  Tensor t(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.data<float>()[i] = static_cast<float>(factor * stream(k, static_cast<std::uint64_t>(i)));
  return t;
}

class Student21M : public testing::TestWithParam<Device::Kind> {};

TEST_P(Student21M, AgreesWithTheOriginal) {
  const Device device{GetParam(), 0};
  VITRAL_NEEDS_DEVICE(device);
  VITRAL_NEEDS_SHARED(path, "golden/student_21m.h5");
  const data::H5File file = data::H5File::open(path);
  const auto base = static_cast<std::uint64_t>(test::number_attribute(file, "stream_base"));
  for (const std::string variant : {"masked", "unmasked"}) {
    SCOPED_TRACE(variant);
    StudentConfig config;
    if (variant == "unmasked") config.attention = "full";
    Student student(config);
    EXPECT_EQ(student.parameter_count(), 21391361);
    EXPECT_EQ(student.parameters().size(), 79U);
    fill_by_formula(student, base);
    student.to(device);
    const double most = tolerance(device);
    const StudentOutput out =
        student.forward(Variable(fill_stream({2, 3, 224, 224}, base + 900, 2).to(device)));
    EXPECT_LE(relative_error(out.embedding.value(), file.read("/" + variant + "/embedding")), most);
    EXPECT_LE(relative_error(out.probs.value(), file.read("/" + variant + "/probs")), most);
    EXPECT_LE(relative_error(out.patches.value(), file.read("/" + variant + "/patch_embeddings")), most);
    const Variable loss =
        distillation_loss(out.embedding, Variable(fill_stream({2, 512}, base + 901, 1).to(device)), 20);
    EXPECT_NEAR(loss.item() / file.read("/" + variant + "/loss").item(), 1, 1e-5);
    loss.backward();
    for (const auto& p : student.parameters()) {
      if (p.name.starts_with("ln_post") || p.name == "scale") continue;
      const Tensor flat = p.value->grad().reshape({-1});
      double squares = 0;
      for (double g : flat.to_vector()) squares += g * g;
      EXPECT_NEAR(std::sqrt(squares) / file.read("/" + variant + "/grad_norm/" + p.name).item(), 1, 1e-4)
          << p.name;
      EXPECT_LE(relative_error(flat.rows(0, 8), file.read("/" + variant + "/grad_head/" + p.name)), 1e-3)
          << p.name;
    }
  }
}

// The first six photographs, from the files on: decoded, resized, through the full model.
TEST_P(Student21M, SeesPhotographsAsTheOriginal) {
  const Device device{GetParam(), 0};
  VITRAL_NEEDS_DEVICE(device);
  VITRAL_NEEDS_SHARED(path, "golden/clip_tiny_photos.h5");
  VITRAL_NEEDS_SHARED(formula, "golden/student_21m.h5");
  VITRAL_NEEDS_SHARED(photos, "photos");
  const NoGrad no_grad;
  const data::H5File file = data::H5File::open(path);
  const auto names = file.read_strings("/names");
  ASSERT_GE(names.size(), 6U);
  Tensor images({6, 224, 224, 3}, DType::uint8);
  for (std::int64_t i = 0; i < 6; ++i)
    images.rows(i, i + 1)
        .reshape({224, 224, 3})
        .copy_from(data::validation_transform(
            data::read_image(photos + "/" + names[static_cast<std::size_t>(i)]), 224));
  Student student(StudentConfig{});
  fill_by_formula(student, static_cast<std::uint64_t>(
                               test::number_attribute(data::H5File::open(formula), "stream_base")));
  student.to(device);
  const StudentOutput out = student.forward(normalize_pixels(images.to(device)));
  const auto expect = [&](const Variable& got, const std::string& name) {
    const Tensor expected = file.read("/student_21m/" + name);
    EXPECT_LE(relative_error(got.value().reshape(expected.shape()), expected), tolerance(device)) << name;
  };
  expect(out.embedding, "embeddings");
  expect(out.probs, "probs");
  expect(out.patches, "patch_embeddings");
}

INSTANTIATE_TEST_SUITE_P(Devices, Student21M, testing::Values(Device::Kind::cpu, Device::Kind::cuda),
                         [](const auto& info) {
                           return info.param == Device::Kind::cpu ? "OnCpu" : "OnCuda";
                         });

}  // namespace
}  // namespace vitral::models
