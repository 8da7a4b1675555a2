// The terms of the student's loss: golden values 1e-6, gradients against central differences.
#include "models/student/distillation_loss.h"

#include <cmath>

#include "autograd/gradcheck.h"
#include "tests/golden.h"
#include "tests/noise.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::noise;

StudentOutput output(const Tensor& embedding) {
  return {.embedding = Variable(embedding), .probs = {}, .patches = {}};
}

DistillationOptions one_term(const std::string& name, const Tensor& texts) {
  return {.terms = {{name, 1}}, .texts = texts};
}

// The terms that embeddings and texts are enough for.
std::vector<std::string> terms_of_embeddings() {
  std::vector<std::string> out;
  for (const DistillationTerm& term : distillation_terms())
    if (!term.reads_patches) out.emplace_back(term.name);
  return out;
}

class DistillationLossOn : public testing::TestWithParam<Device::Kind> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(device()); }
  Device device() const { return {GetParam(), 0}; }
};
INSTANTIATE_TEST_SUITE_P(Devices, DistillationLossOn, testing::Values(Device::Kind::cpu, Device::Kind::cuda),
                         [](const auto& info) { return info.param == Device::Kind::cpu ? "Cpu" : "Cuda"; });

TEST_P(DistillationLossOn, Golden) {
  VITRAL_NEEDS_SHARED(path, "golden/research.h5");
  const data::H5File file = data::H5File::open(path);
  int variants = 0;
  for (const std::string& variant : file.list()) {
    const std::string group = "/" + variant;
    if (variant == "optimizers") continue;
    ++variants;
    for (const std::string& name : terms_of_embeddings())
      for (const DType dtype : {DType::float64, DType::float32}) {
        SCOPED_TRACE(fmt::format("{} {} {}", variant, name, vitral::name(dtype)));
        const double want = test::number_attribute(file, ("loss." + name).c_str(), group.c_str());
        const auto read = [&](const char* what) {
          return file.read(group + "/" + what).cast(dtype).to(device());
        };
        const DistillationLoss loss(one_term(name, file.read(group + "/texts")));
        const StudentOutput y = output(read("embedding"));
        const data::Inputs inputs{.images = {}, .targets = read("target")};
        const double images = 4, tolerance = dtype == DType::float64 ? 1e-7 : 1e-6;
        EXPECT_NEAR(loss_of(loss.terms(y, inputs)).item() / want, 1, tolerance);
        EXPECT_NEAR(loss.measure(y, inputs).front() / images / want, 1, tolerance);
      }
  }
  EXPECT_GT(variants, 10);
}

TEST_P(DistillationLossOn, GradientsAgreeWithThoseOfTheCpu) {
  for (const std::string& name : terms_of_embeddings()) {
    const DistillationLoss loss(one_term(name, noise({5, 6}, 3)));
    const auto gradient = [&](Device where, DType dtype) {
      const Variable y(noise({3, 6}, 1).cast(dtype).to(where), true);
      const data::Inputs inputs{.images = {}, .targets = noise({3, 6}, 2).cast(dtype).to(where)};
      loss_of(loss.terms({.embedding = y, .probs = {}, .patches = {}}, inputs)).backward();
      return y.grad();
    };
    EXPECT_LE(test::relative_error(gradient(device(), DType::float32), gradient(cpu, DType::float64)), 1e-5)
        << name;
  }
}

TEST(DistillationLoss, Gradients) {
  const Tensor y = noise({3, 6}, 1).cast(DType::float64), t = noise({3, 6}, 2).cast(DType::float64),
               texts = noise({5, 6}, 3);
  for (const std::string& name : terms_of_embeddings()) {
    DistillationOptions options = one_term(name, texts);
    options.temperature = 0.5;
    const DistillationLoss loss(options);
    const auto result = gradcheck(
        [&](const std::vector<Variable>& x) {
          return loss_of(
              loss.terms({.embedding = x[0], .probs = {}, .patches = {}}, {.images = {}, .targets = t}));
        },
        {y});
    EXPECT_TRUE(result.passed) << name << ": " << result.message;
  }
}

// Sharp temperatures overflow no exponential.
TEST_P(DistillationLossOn, SmallTemperatures) {
  const Tensor y = noise({4, 6}, 1).to(device()), t = noise({4, 6}, 2).to(device());
  for (const char* name : {"contrastive", "texts"}) {
    DistillationOptions options = one_term(name, noise({5, 6}, 3));
    options.temperature = 1e-4;
    Variable x(y, true);
    const Variable loss =
        DistillationLoss(options)
            .terms({.embedding = x, .probs = {}, .patches = {}}, {.images = {}, .targets = t})[0]
            .value;
    loss.backward();
    EXPECT_TRUE(std::isfinite(loss.item())) << name;
    for (const double g : x.grad().to_vector()) EXPECT_TRUE(std::isfinite(g)) << name;
  }
}

// What couples images has nothing to compare where there is one.
TEST(DistillationLoss, OneImageAlone) {
  const StudentOutput y = output(noise({1, 6}, 1));
  const data::Inputs inputs{.images = {}, .targets = noise({1, 6}, 2)};
  for (const DistillationTerm& term : distillation_terms())
    if (term.couples_images) {
      EXPECT_NEAR(DistillationLoss(one_term(term.name, {})).measure(y, inputs)[0], 0, 1e-6) << term.name;
    }
}

TEST(DistillationLoss, SumsTermsInTheOrderOfTheTable) {
  const StudentOutput y = output(noise({4, 6}, 1).cast(DType::float64));
  const data::Inputs inputs{.images = {}, .targets = noise({4, 6}, 2).cast(DType::float64)};
  const DistillationLoss loss({.terms = {{"relational", 3}, {"cosine", 0.5}, {"l1", 0.25}, {"texts", 0}}});
  EXPECT_EQ(loss.measures(),
            (std::vector<std::string>{"loss", "cosine", "loss.l1", "loss.cosine", "loss.relational"}));
  const auto terms = loss.terms(y, inputs);
  ASSERT_EQ(terms.size(), 3U);
  EXPECT_EQ(terms[0].name, "l1");
  EXPECT_EQ(terms[2].name, "relational");
  const auto sums = loss.measure(y, inputs);
  ASSERT_EQ(sums.size(), 5U);
  EXPECT_NEAR(sums[0], 0.25 * sums[2] + 0.5 * sums[3] + 3 * sums[4], 1e-9);
  EXPECT_NEAR(sums[1], 4 - sums[3], 1e-9);
  EXPECT_NEAR(loss_of(terms).item(), sums[0] / 4, 1e-9);
}

// The default's records have the keys that they always had.
TEST(DistillationLoss, RecordsTermsWhereTheyAreNotTheDefault) {
  EXPECT_FALSE(DistillationLoss().records_terms());
  EXPECT_EQ(DistillationLoss().measures(), (std::vector<std::string>{"loss", "cosine"}));
  EXPECT_TRUE(DistillationLoss({.terms = {{"l1", 2}}}).records_terms());
  EXPECT_TRUE(DistillationLoss({.terms = {{"cosine", 1}}}).records_terms());
  EXPECT_TRUE(DistillationLoss({.terms = {{"l1", 1}, {"cosine", 1}}}).records_terms());
}

TEST(DistillationLoss, Errors) {
  const auto problem = [](DistillationOptions options) {
    return message_of([&] { DistillationLoss{options}; });
  };
  EXPECT_EQ(
      problem({.terms = {{"l3", 1}}}).find("distillation: term 'l3' of the loss is unknown, choose of l1, "),
      0U);
  EXPECT_EQ(problem({.terms = {}}).find("distillation: the loss has no term, choose of l1, "), 0U);
  EXPECT_EQ(problem({.terms = {{"l1", 0}}}).find("distillation: the loss has no term, choose of l1, "), 0U);
  EXPECT_EQ(problem({.terms = {{"l1", -1}}}),
            "distillation: term 'l1' of the loss has weight -1, it must be a number >= 0");
  EXPECT_EQ(problem({.terms = {{"l1", INFINITY}}}),
            "distillation: term 'l1' of the loss has weight inf, it must be a number >= 0");
  EXPECT_EQ(problem({.terms = {{"texts", 1}}}),
            "distillation: term 'texts' of the loss needs embeddings of texts [K,D]");
  EXPECT_EQ(problem(one_term("texts", Tensor::zeros({2, 3}))),
            "distillation: an embedding of the texts has no direction");
}

}  // namespace
}  // namespace vitral::models
