// The terms of the loss that are about places, against PyTorch's numbers and by hand.
#include <hdf5.h>

#include "models/student/distillation.h"
#include "models/student/regions.h"
#include "tests/golden.h"
#include "tests/noise.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::noise;

double golden_number(const std::string& path, const std::string& group, const char* name) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t attribute = H5Aopen_by_name(file, group.c_str(), name, H5P_DEFAULT, H5P_DEFAULT);
  double number = 0;
  EXPECT_GE(H5Aread(attribute, H5T_NATIVE_DOUBLE, &number), 0) << group << " " << name;
  H5Aclose(attribute);
  H5Fclose(file);
  return number;
}

TEST(Places, LossesAreThoseOfTheReference) {
  VITRAL_NEEDS_SHARED(path, "golden/research.h5");
  int variants = 0;
  for (const auto& variant : test::golden_names(path, "/")) {
    if (variant == "optimizers") continue;
    SCOPED_TRACE(variant);
    ++variants;
    const auto read = [&](const char* name) {
      return test::read_golden(path, "/" + variant + "/" + name).cast(DType::float64);
    };
    data::Inputs inputs{};
    inputs.region_targets = read("regions");
    inputs.patch_targets = read("patches");
    const StudentOutput y{.embedding = Variable(read("embedding")),
                          .probs = Variable(read("probs")),
                          .patches = Variable(read("patch_embeddings"))};
    const Tensor boxes = test::read_golden(path, "/" + variant + "/boxes");
    const DistillationLoss loss({.terms = {{"regions", 1}, {"patches", 1}}, .regions = boxes});
    for (const Term& term : loss.terms(y, inputs))
      EXPECT_NEAR(term.value.item(), golden_number(path, "/" + variant, ("loss." + term.name).c_str()), 1e-6)
          << term.name;
  }
  EXPECT_GE(variants, 15);
}

TEST(Places, RegionsAreMeansOverThePatchesInTheirBoxes) {
  const Tensor boxes = Tensor::from(std::vector<float>{0, 0, 0.5, 0.5, 0.5, 0, 1, 1, 0, 0, 1, 1}, {3, 4});
  // The middles of a 3 x 3 grid are 1/6, 1/2 and 5/6: the middle one belongs to the right.
  const auto means = region_means(boxes, 3).to_vector();
  const std::vector<double> first{1, 0, 0, 0, 0, 0, 0, 0, 0};
  for (std::size_t n = 0; n < 9; ++n) {
    EXPECT_EQ(means[n], first[n]);
    EXPECT_NEAR(means[9 + n], n % 3 > 0 ? 1 / 6.0 : 0, 1e-7);
    EXPECT_NEAR(means[18 + n], 1 / 9.0, 1e-7);
  }
  EXPECT_EQ(
      message_of([&] {
        region_means(Tensor::from(std::vector<float>{0.2F, 0, 0.4F, 1}, {1, 4}), 3);
      }),
      "train.objective.regions: region 0 (0.2, 0, 0.4, 1) has no patch of the 3 x 3 whose middle lies in it; "
      "take fewer regions");
}

TEST(Places, AnObjectiveSaysWhatItReads) {
  StudentConfig config;
  config.image_size = 32;
  config.patch_size = 8;
  config.width = 8;
  config.heads = 2;
  config.layers = 1;
  const Tensor boxes = Tensor::from(std::vector<float>{0, 0, 0.5, 1, 0.5, 0, 1, 1}, {2, 4});
  EXPECT_FALSE(Distillation(config).places().regions.defined());
  EXPECT_EQ(Distillation(config).places().grid, 0);
  const Distillation both(config, 1,
                          {.terms = {{"l1", 1}, {"regions", 2}, {"patches", 3}}, .regions = boxes});
  EXPECT_EQ(both.places().regions.to_vector(), boxes.to_vector());
  EXPECT_EQ(both.places().grid, 4);
  data::Inputs inputs{noise({3, 32, 32, 3}, 1, DType::uint8), noise({3, 8}, 2)};
  inputs.region_targets = noise({3, 2, 8}, 3);
  inputs.patch_targets = noise({3, 16, 8}, 4);
  const auto terms = both.terms(inputs, DType::float32, {});
  ASSERT_EQ(terms.size(), 3U);
  EXPECT_NEAR(loss_of(terms).item(), both.measure(inputs, DType::float32)[0] / 3, 1e-5);
  EXPECT_EQ(message_of([&] {
              DistillationLoss({.terms = {{"regions", 1}}});
            }),
            "distillation: term 'regions' of the loss needs their boxes [R,4]");
}

}  // namespace
}  // namespace vitral::models
