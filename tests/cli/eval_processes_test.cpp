// `vitral eval` on several processes: the same numbers as on one.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "tests/cli/processes.h"
#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

using test::expect_done;
using test::Processes;
using test::run;

// Localisation, zero-shot classification and retrieval; one picture does not decode.
TEST_F(Processes, EvalSharesImages) {
  const test::SmallRun data(22, true);
  expect_done(data({"train.max_steps=2", "train.output=" + data.output("run")}));
  std::filesystem::create_directory(data / "photos");
  for (int i = 0; i < 11; ++i)
    data::write_png(data / fmt::format("photos/{:02}.png", i), test::noise_image(40 + i, 50, i));
  std::ofstream(data / "photos/05.png") << "no picture";
  test::write_tiny_clip(data / "tiny", test::small_width);
  for (int i = 0; i < 5; ++i) {
    std::filesystem::create_directories(data / fmt::format("photos/{}", i % 2));
    data::write_png(data / fmt::format("photos/{}/{}.png", i % 2, i), test::noise_image(30, 40 + i, 20 + i));
  }
  {
    std::ofstream captions(data / "captions.tsv");
    for (int i = 0; i < 11; ++i) captions << fmt::format("{:02}.png\tpicture {}\n", i, i % 7);
    data::DatasetWriter writer(data / "masks.h5", std::nullopt);
    data::Concepts c;
    c.names = {"cat", "dog"};
    c.boxes = Tensor::zeros({0, 4});
    for (int i = 0; i < 7; ++i) {
      writer.add_encoded(data::encode_png(test::noise_image(30, 40, i)));
      data::LabelMap mask{30, 40, std::vector<std::uint16_t>(1200, 1)};
      std::fill_n(mask.labels.begin(), 100 * i, 2);
      writer.add_labels(mask);
    }
    writer.set_concepts(c);
    writer.finish();
  }
  for (const std::vector<std::string>& what :
       {std::vector<std::string>{data / "masks.h5", "--teacher", data / "tiny", "--protocol", "slide"},
        {data / "photos", "--zero-shot", "--retrieval", "--captions", data / "captions.tsv", "--candidates",
         "7", "--teacher", data / "tiny"}}) {
    std::vector<nlohmann::json> results;
    for (const int n : {1, 2, 4}) {
      std::vector<std::string> arguments{"eval",
                                         data.output("run"),
                                         "--clip",
                                         data / "tiny",
                                         "--json",
                                         "--batch=2",
                                         fmt::format("--processes={}", n)};
      arguments.insert(arguments.end(), what.begin(), what.end());
      results.push_back(nlohmann::json::parse(run(arguments).out));
      results.back().erase("seconds");
    }
    EXPECT_EQ(results[1], results[0]);
    EXPECT_EQ(results[2], results[0]);
  }
}

}  // namespace
}  // namespace vitral
