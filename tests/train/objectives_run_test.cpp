// Whole runs with other objectives and optimisers: what they record, that they go on bit for bit, and what
// they refuse.
#include <gtest/gtest.h>

#include "data/hdf5/file.h"
#include "tests/cli/small_run.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

using test::message_of;
using test::SmallRun;

const std::string all_terms =
    "train.objective={l1: 1, cosine: 0.5, relational: 2, contrastive: 0.25, texts: 0.75}";

class ObjectiveRun : public testing::Test {
 protected:
  void run(const std::string& name, std::vector<std::string> overrides, const std::string& resume = "") {
    overrides.push_back("train.output=" + small_.output(name));
    std::FILE* out = std::fopen((small_ / "log").c_str(), "w");
    try {
      train(load_config(small_.config(), overrides), resume, out);
    } catch (...) {
      std::fclose(out);
      throw;
    }
    std::fclose(out);
  }
  /// Embeddings of three texts, as `vitral embed --text` writes them.
  std::string texts(std::int64_t width = test::small_width) const {
    const std::string path = small_ / fmt::format("texts{}.h5", width);
    data::H5File file = data::H5File::create(path);
    file.write_strings("/texts", {"a", "b", "c"});
    file.write("/embeddings", test::noise({3, width}, 5));
    file.close();
    return path;
  }

  SmallRun small_{22, true};  // the last batch is smaller
};

TEST_F(ObjectiveRun, RecordsEachTerm) {
  run("all", {all_terms, "train.texts=" + texts()});
  const std::map<std::string, double> weights{
      {"l1", 1}, {"cosine", 0.5}, {"relational", 2}, {"contrastive", 0.25}, {"texts", 0.75}};
  for (const auto& line : test::metrics(small_.output("all"))) {
    double sum = 0;
    for (const auto& [name, weight] : weights) sum += weight * line.at("loss." + name).get<double>();
    EXPECT_NEAR(line["loss"].get<double>() / sum, 1, 1e-5) << line;
    EXPECT_EQ(line["kind"] == "train", line.contains("grad_norm") && line["grad_norm"].get<double>() > 0)
        << line;
    EXPECT_NEAR(line.value("cosine", 1 - line["loss.cosine"].get<double>()),
                1 - line["loss.cosine"].get<double>(), 1e-6);
  }
}

TEST_F(ObjectiveRun, TheDefaultKeepsItsKeys) {
  run("plain", {});
  for (const auto& line : test::metrics(small_.output("plain"))) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : line.items()) keys.push_back(key);
    EXPECT_EQ(keys, line["kind"] == "train"
                        ? (std::vector<std::string>{"epoch", "grad_norm", "kind", "loss", "lr", "step"})
                        : (std::vector<std::string>{"cosine", "epoch", "kind", "loss", "step"}));
  }
}

// Micro-batches are averages of their own terms.
TEST_F(ObjectiveRun, CouplingTermsAreThoseOfMicroBatches) {
  const auto first = [&](const std::string& name, int accumulate, const std::string& term) {
    run(name + term, {"train.objective={" + term + ": 1}", fmt::format("train.accumulate={}", accumulate)});
    return test::metric(small_.output(name + term), "train", "loss").front();
  };
  EXPECT_NEAR(first("one", 1, "cosine"), first("two", 2, "cosine"), 1e-6);
  EXPECT_GT(first("one", 1, "contrastive"), first("two", 2, "contrastive") + 0.1);
}

TEST_F(ObjectiveRun, GoesOnBitForBit) {
  const std::string texts_key = "train.texts=" + texts();
  for (const char* optimizer : {"adamw", "sgd", "lion", "muon"}) {
    SCOPED_TRACE(optimizer);
    const std::string name = optimizer, key = "train.optimizer.name=" + name;
    run(name, {all_terms, texts_key, key});
    run(name + "-parts", {all_terms, texts_key, key, "train.max_steps=3"});  // an epoch
    run(name + "-parts", {all_terms, texts_key, key}, "auto");
    test::expect_same_run(small_.output(name), small_.output(name + "-parts"));
  }
}

TEST_F(ObjectiveRun, AnotherOptimizerDoesNotGoOn) {
  run("run", {"train.max_steps=2"});
  const std::string message = message_of([&] { run("run", {"train.optimizer.name=lion"}, "auto"); });
  EXPECT_EQ(message,
            test::latest(small_.output("run")) +
                ": has exp_avg, exp_avg_sq, step of 'positional_embedding', train.optimizer.name lion "
                "keeps exp_avg, step: another optimizer has written it; set it as it was, or start a "
                "new run with model.init_from");
}

TEST_F(ObjectiveRun, TextsAreThoseOfTheFileOrOfTheData) {
  const auto problem = [&](const std::vector<std::string>& overrides) {
    return message_of([&] { run("none", overrides); });
  };
  EXPECT_EQ(problem({"train.objective.texts=1"}),
            "train.objective.texts: " + small_.train() +
                " has no /concepts/embeddings; name a file of `vitral embed --text` with train.texts");
  EXPECT_EQ(problem({"train.objective.texts=1", "train.texts=" + texts(7)}),
            small_ / "texts7.h5" +
                ": the texts' embeddings are 7 wide, model.width is 16; embed them with the "
                "same teacher");
  EXPECT_FALSE(std::filesystem::exists(small_.output("none")));

  run("file", {"train.objective={texts: 1}", "train.texts=" + texts()});
  data::H5File file = data::H5File::modify(small_.train());
  file.write_strings("/concepts/names", {"a", "b", "c"});
  file.write("/concepts/embeddings", test::noise({3, test::small_width}, 5));
  file.close();
  run("data", {"train.objective={texts: 1}"});
  EXPECT_EQ(test::metrics(small_.output("file")), test::metrics(small_.output("data")));
}

}  // namespace
}  // namespace vitral::train
