// The switches of the architecture against golden numbers (float64 PyTorch): forward 1e-5, gradients of a sum
// of all terms of the loss 1e-4, relative over each whole array; on a GPU 1e-4 for both. The terms are
// written out here, so that what is compared is the student alone.
#include <cmath>

#include <nlohmann/json.hpp>

#include "models/student/student.h"
#include "tests/golden.h"

namespace vitral::models {
namespace {

using nlohmann::json;
using test::relative_error;

// A variant of research.h5: a group with the keys of its model, weights, an input and what comes of it.
class Variant {
 public:
  Variant(const data::H5File& file, const std::string& name, Device device)
      : name(name), file_(file), device_(device) {
    std::map<std::string, std::string> metadata;
    const json model = json::parse(*file.attribute("model", name));
    for (const auto& [key, value] : model.items())
      metadata["model." + key] = value.is_string() ? value.get<std::string>() : value.dump();
    student = std::make_unique<Student>(*student_config_from_metadata(metadata, name));
    student->load_state(test::read_group(file, name + "/state"), name);
    student->to(device);
  }

  Tensor read(const std::string& what) const { return file_.read(name + "/" + what); }
  Variable on_device(const std::string& what) const { return Variable(read(what).to(device_)); }
  double expected(const std::string& attribute) const {
    return test::number_attribute(file_, attribute.c_str(), name.c_str());
  }
  json objective() const { return json::parse(*file_.attribute("objective", name)); }
  Device device() const { return device_; }

  std::string name;
  std::unique_ptr<Student> student;

 private:
  const data::H5File& file_;
  Device device_;
};

class Research : public testing::TestWithParam<Device::Kind> {
 protected:
  Device device() const { return {GetParam(), 0}; }
  double tolerance() const { return device().is_cpu() ? 1e-5 : 1e-4; }

  template <class F>
  void for_each_variant(F&& f) {
    VITRAL_NEEDS_DEVICE(device());
    for (const auto& path : test::golden_files("research.h5")) {
      const data::H5File file = data::H5File::open(path);
      int variants = 0;
      for (const auto& name : file.list("/")) {
        if (!file.attribute("model", name)) continue;  // of the optimisers
        SCOPED_TRACE(path + ": " + name);
        f(Variant(file, name, device()));
        ++variants;
      }
      EXPECT_GT(variants, 0) << path;
    }
  }
};

TEST_P(Research, Forward) {
  for_each_variant([&](const Variant& v) {
    const NoGrad no_grad;
    const StudentOutput y = v.student->forward(v.on_device("input"));
    EXPECT_LE(relative_error(y.embedding.value(), v.read("embedding")), tolerance());
    EXPECT_LE(relative_error(y.probs.value(), v.read("probs")), tolerance());
    EXPECT_LE(relative_error(y.patches.value(), v.read("patch_embeddings")), tolerance());
    const Variable patches = patchify(v.on_device("input"), v.student->config().patch_size);
    EXPECT_LE(relative_error(v.student->embed(patches).value(), v.read("embedding")), tolerance());
  });
}

// [B,N] -> the mean over images of -log p of the diagonal, for p = softmax of the rows.
Variable cross_entropy_of_diagonal(const Variable& logits) {
  const std::int64_t n = logits.dim(0);
  Tensor eye = Tensor::zeros({n, n});
  for (std::int64_t i = 0; i < n; ++i) eye.data<float>()[i * n + i] = 1;
  return neg(mean(log(sum(mul(softmax(logits), Variable(eye.to(logits.device()))), 1))));
}

Variable one_minus_mean_cosine(const Variable& a, const Variable& b) {
  const Variable product = mul(l2_normalize(a), l2_normalize(b));
  return affine(mean(sum(product, product.rank() - 1)), -1, 1);
}

// [R,N]: 1 / their number for the patches whose middle lies in the box.
Tensor means_over_boxes(const Tensor& boxes, std::int64_t grid) {
  Tensor out = Tensor::zeros({boxes.dim(0), grid * grid});
  for (std::int64_t r = 0; r < boxes.dim(0); ++r) {
    const float* box = boxes.data<float>() + 4 * r;
    std::vector<std::int64_t> inside;
    for (std::int64_t i = 0; i < grid * grid; ++i) {
      const double x = (static_cast<double>(i % grid) + 0.5) / static_cast<double>(grid),
                   y = (static_cast<double>(i / grid) + 0.5) / static_cast<double>(grid);
      if (box[0] <= x && x < box[2] && box[1] <= y && y < box[3]) inside.push_back(i);
    }
    for (const std::int64_t i : inside)
      out.data<float>()[r * grid * grid + i] = 1 / static_cast<float>(inside.size());
  }
  return out;
}

std::map<std::string, Variable> terms_of(const Variant& v, const StudentOutput& y) {
  constexpr double temperature = 0.07;
  const Variable out = l2_normalize(y.embedding), target = l2_normalize(v.on_device("target"));
  const auto pairs =
      static_cast<double>(out.dim(0) * (out.dim(0) - 1));  // the diagonal of the difference is 0
  const Variable texts = l2_normalize(v.on_device("texts"));
  const auto classes = [&](const Variable& e) {
    return softmax(affine(matmul(e, texts, true), 1 / temperature));
  };
  const Variable q = classes(target), p = classes(out);
  const Tensor means = means_over_boxes(v.read("boxes"), v.student->config().grid());
  const Variable regions = permute(
      matmul(permute(y.patches, {0, 2, 1}), Variable(means.to(v.device())), true), {0, 2, 1});  // [B,R,W]
  return {{"l1", affine(mean(abs(sub(out, target))), 20)},
          {"cosine", one_minus_mean_cosine(out, target)},
          {"relational",
           affine(sum(square(sub(matmul(out, out, true), matmul(target, target, true)))), 1 / pairs)},
          {"contrastive", cross_entropy_of_diagonal(affine(matmul(out, target, true), 1 / temperature))},
          {"texts", mean(sum(mul(q, sub(log(q), log(p))), 1))},
          {"regions", one_minus_mean_cosine(regions, v.on_device("regions"))},
          {"patches", one_minus_mean_cosine(y.patches, v.on_device("patches"))}};
}

TEST_P(Research, LossAndGradients) {
  for_each_variant([&](const Variant& v) {
    const StudentOutput y = v.student->forward(v.on_device("input"));
    const auto terms = terms_of(v, y);
    Variable loss;
    const json objective = v.objective();
    for (const auto& [term, weight] : objective.items()) {
      EXPECT_NEAR(terms.at(term).item() / v.expected("loss." + term), 1, 1e-5) << term;
      const Variable part = affine(terms.at(term), weight.get<double>());
      loss = loss.defined() ? add(loss, part) : part;
    }
    EXPECT_NEAR(loss.item() / v.expected("loss"), 1, 1e-5);
    loss.backward();
    for (const auto& p : v.student->parameters()) {
      if (p.name.starts_with("ln_post")) {
        EXPECT_FALSE(p.value->grad().defined()) << p.name;
      } else if (p.name != "scale") {  // rounding noise: all terms are blind to lengths
        EXPECT_LE(relative_error(p.value->grad(), v.read("grad/" + p.name)), 1e-4) << p.name;
      }
    }
  });
}

// As training computes in bf16: weights beside their copies, activations of 16 bits.
TEST_P(Research, Bfloat16StaysNear) {
  for_each_variant([&](const Variant& v) {
    v.student->keep_copies(DType::bfloat16);
    const Variable patches =
        cast(patchify(v.on_device("input"), v.student->config().patch_size), DType::bfloat16);
    const Variable embedding = v.student->embed(patches);
    EXPECT_EQ(embedding.dtype(), DType::float32);
    const double error = relative_error(embedding.value(), v.read("embedding"));
    EXPECT_LE(error, 0.1);
    EXPECT_GT(error, 1e-5) << "nothing was rounded";
    const StudentOutput y = v.student->of_patches(patches);
    EXPECT_EQ(y.patches.dtype(), DType::float32);
    EXPECT_LE(relative_error(y.patches.value(), v.read("patch_embeddings")), 0.1);
    distillation_loss(embedding, v.on_device("target")).backward();
    for (const auto& p : v.student->parameters()) {
      if (!p.value->grad().defined()) continue;
      for (const double g : p.value->grad().to_vector()) ASSERT_TRUE(std::isfinite(g)) << p.name;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Devices, Research, testing::Values(Device::Kind::cpu, Device::Kind::cuda),
                         [](const auto& info) {
                           return std::string(info.param == Device::Kind::cpu ? "OnCpu" : "OnCuda");
                         });

}  // namespace
}  // namespace vitral::models
