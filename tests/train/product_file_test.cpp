// The file of train.products: what it holds, who may write it, what is wrong with it.
#include "train/product_file.h"

#include <filesystem>
#include <regex>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support.h"
#include "train/setup.h"

namespace vitral::train {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;

const std::string h200 = "NVIDIA H200 9.0, cuBLASLt 13.1.0", a100 = "NVIDIA A100 8.0, cuBLASLt 13.1.0";

ProductChoice choice(std::int64_t m, std::int64_t tile = 409) {
  ProductChoice c;
  c.key = {.product = {.m = m, .n = 1584, .k = 528, .transpose_b = true, .epilogue = Epilogue::bias},
           .inputs = DType::bfloat16,
           .output = DType::bfloat16,
           .alignment = {256, 256, 256, 16}};
  c.algorithm = {.id = 66, .tile = tile, .stages = 35, .split_k = 4, .reduction = 2, .cluster_shape = 3};
  c.microseconds = 301.25;
  c.first_microseconds = 340.5;
  return c;
}

const std::string line =
    R"({"multiplier":"NVIDIA H200 9.0, cuBLASLt 13.1.0","m":64,"n":1584,"k":528,"batch":1,"transpose_a":false,)"
    R"("transpose_b":true,"shared_b":false,"accumulate":false,"epilogue":"bias","inputs":"bfloat16",)"
    R"("output":"bfloat16","tf32":false,"alignment":[256,256,256,16],"id":66,"tile":409,"stages":35,"split_k":4,)"
    R"("reduction":2,"swizzle":0,"custom":0,"inner_shape":0,"cluster_shape":3,)"
    R"("means":"128x176, stages 64xAUTO, split K 4 (compute type), id 66","microseconds":301.25,)"
    R"("first_microseconds":340.5})"
    "\n";

class ProductFileTest : public testing::Test {
 protected:
  using Missing = ProductFile::Missing;
  ProductFile open(const std::string& multiplier = h200, Missing missing = Missing::measure) const {
    return {path, read_product_file(path), multiplier, missing};
  }

  test::TempDir dir;
  std::string path = dir / "products.jsonl";
};

TEST_F(ProductFileTest, KeepsWhatIsAddedInLinesThatPeopleCanRead) {
  {
    ProductFile file = open();
    EXPECT_EQ(file.find(choice(64).key), std::nullopt);
    EXPECT_EQ(file.add(choice(64)), choice(64).algorithm);
    EXPECT_EQ(file.find(choice(64).key), choice(64).algorithm);
    EXPECT_EQ(bytes_of_file(path), line);
    file.add(choice(128, 20));
  }
  ProductFile again = open(h200, Missing::tell);
  EXPECT_EQ(again.own_lines(), 2);
  EXPECT_EQ(again.other_lines(), 0);
  EXPECT_EQ(again.find(choice(64).key), choice(64).algorithm);
  EXPECT_EQ(again.find(choice(128).key), choice(128, 20).algorithm);
  EXPECT_EQ(again.where(choice(128).key), path + ":2");
  EXPECT_EQ(again.where(choice(9).key), path);
}

TEST_F(ProductFileTest, EveryMemberComesBack) {
  ProductChoice all;
  all.key = {.product = {.m = 1,
                         .n = 2,
                         .k = 3,
                         .batch = 4,
                         .transpose_a = true,
                         .shared_b = true,
                         .accumulate = true,
                         .epilogue = Epilogue::sum_of_a},
             .inputs = DType::float32,
             .output = DType::float32,
             .tf32 = true,
             .alignment = {2, 4, 8, 0}};
  all.algorithm = {.id = 1,
                   .tile = 2,
                   .stages = 3,
                   .split_k = 4,
                   .reduction = 4,
                   .swizzle = 1,
                   .custom = 5,
                   .inner_shape = 6,
                   .cluster_shape = 7};
  open().add(all);
  EXPECT_EQ(open().find(all.key), all.algorithm);
  all.key.product.m = 7;
  all.algorithm = {.id = ProductAlgorithm::first_proposal};
  open().add(all);
  EXPECT_EQ(open().find(all.key), all.algorithm);
  EXPECT_NE(bytes_of_file(path).find("\"means\":\"the library's first proposal\""), std::string::npos);
  for (const auto& [algorithm, means] :
       {std::pair{ProductAlgorithm{.id = ProductAlgorithm::apart}, "the product, then the activation"},
        {{.id = ProductAlgorithm::cudnn, .custom = 91900}, "both in one kernel of cuDNN 9.19.0"}}) {
    ++all.key.product.m;
    all.key.product.epilogue = Epilogue::quick_gelu_gradient;
    all.algorithm = algorithm;
    open().add(all);
    EXPECT_EQ(open().find(all.key), algorithm);
    EXPECT_NE(bytes_of_file(path).find(fmt::format("\"means\":\"{}\"", means)), std::string::npos);
  }
  all.key.output = DType::float64;  // another product
  EXPECT_EQ(open().find(all.key), std::nullopt);
}

TEST_F(ProductFileTest, LinesOfOtherGpusStayAndAreNotUsed) {
  open(a100).add(choice(64, 20));
  ProductFile file = open();
  EXPECT_EQ(file.own_lines(), 0);
  EXPECT_EQ(file.other_lines(), 1);
  EXPECT_EQ(file.find(choice(64).key), std::nullopt);
  file.add(choice(64));
  EXPECT_EQ(file.find(choice(64).key), choice(64).algorithm);
  EXPECT_EQ(open(a100).find(choice(64).key), choice(64, 20).algorithm);
}

TEST_F(ProductFileTest, OfTwoThatMeasureTheFirstHolds) {
  ProductFile one = open(), two = open();
  one.add(choice(64, 20));
  two.add(choice(128));
  EXPECT_EQ(two.add(choice(64)), choice(64, 20).algorithm);
  EXPECT_EQ(two.find(choice(64).key), choice(64, 20).algorithm);
  EXPECT_EQ(open().own_lines(), 2);
}

TEST_F(ProductFileTest, ARunThatMeasuresNothingSaysOnceWhatItMisses) {
  put_file(path, line);
  ProductFile file = open(h200, Missing::tell);
  testing::internal::CaptureStderr();
  EXPECT_FALSE(file.measures());
  for (int i = 0; i < 2; ++i) EXPECT_EQ(file.find(choice(128).key), std::nullopt);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "vitral: train.products: " + path +
                " has no line for [128, 528] x [528, 1584] bfloat16, and several processes measure nothing; "
                "it is made as without train.products\n");
  EXPECT_EQ(bytes_of_file(path), line);
  // Nor is it said by processes behind the first, or where there is no line at all, which is said before.
  testing::internal::CaptureStderr();
  EXPECT_EQ(open(h200, Missing::silent).find(choice(128).key), std::nullopt);
  EXPECT_EQ(open(a100, Missing::tell).find(choice(128).key), std::nullopt);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(ProductFileTest, DamageIsNamedWithItsLine) {
  const auto damaged = [&](const std::string& pattern, const std::string& by) {
    const std::string second = std::regex_replace(line, std::regex("\"m\":64"), "\"m\":65");
    put_file(path, line + std::regex_replace(second, std::regex(pattern), by));
    return message_of([&] { open(); });
  };
  const auto message = [&](const std::string& what) {
    return path + ":2: " + what + "; remove the line, and its product is measured again";
  };
  EXPECT_EQ(damaged("nothing", ""), "no error");
  EXPECT_EQ(damaged("\"means.*", ""), message("is no JSON object"));
  EXPECT_EQ(damaged("^\\{", "[{"), message("is no JSON object"));
  EXPECT_EQ(damaged("\n", "\n\n"),
            path + ":3: is no JSON object; remove the line, and its product is measured again");
  EXPECT_EQ(damaged("\"k\":528,", ""), message("\"k\" is missing"));
  EXPECT_EQ(damaged("\"k\":528", "\"k\":0"), message("\"k\" must be an integer >= 1"));
  EXPECT_EQ(damaged("\"k\":528", "\"k\":\"528\""), message("\"k\" must be an integer >= 1"));
  EXPECT_EQ(damaged("\"k\":528", "\"k\":1e30"), message("\"k\" must be an integer >= 1"));
  EXPECT_EQ(damaged("\"k\":528", "\"k\":99999999999999"), message("\"k\" must be an integer >= 1"));
  EXPECT_EQ(damaged("\"k\":528", "\"k\":18446744073709551615"), message("\"k\" must be an integer >= 1"));
  EXPECT_EQ(damaged("\"id\":66", "\"id\":-4"), message("\"id\" must be an integer >= -3"));
  EXPECT_EQ(damaged("\"tf32\":false", "\"tf32\":0"), message("\"tf32\" must be true or false"));
  EXPECT_EQ(damaged("\"inputs\":\"bfloat16\"", "\"inputs\":\"int8\""),
            message("\"inputs\" must be float32, float64 or bfloat16"));
  EXPECT_EQ(damaged("\"bias\"", "\"gelu\""),
            message("\"epilogue\" must be none, bias, sum_of_a, quick_gelu or quick_gelu_gradient"));
  EXPECT_EQ(damaged("256,16\\]", "256]"), message("\"alignment\" must be a list of 4 numbers"));
  EXPECT_EQ(damaged("256,16\\]", "256,-1]"), message("\"alignment\" must be an integer >= 0"));
  EXPECT_EQ(damaged("301.25", "-1"), message("\"microseconds\" must be a number >= 0"));
  EXPECT_EQ(damaged("\"multiplier\":\"[^\"]*\"", "\"multiplier\":3"),
            message("\"multiplier\" must be a text"));
  EXPECT_EQ(damaged("\"swizzle\"", "\"swizzler\""), message("\"swizzle\" is missing"));
  EXPECT_EQ(damaged("\"swizzle\"", "\"x\":1,\"swizzle\""), message("\"x\" is no member of a product"));
  EXPECT_EQ(damaged("\"m\":65", "\"m\":64"), message("is the second line of its product"));
}

TEST_F(ProductFileTest, DamageByAnotherProcessIsFoundWhenALineIsAdded) {
  ProductFile file = open();
  put_file(path, std::string_view("{\n"));
  EXPECT_EQ(message_of([&] { file.add(choice(64)); }),
            path + ":1: is no JSON object; remove the line, and its product is measured again");
  EXPECT_EQ(bytes_of_file(path), "{\n");
}

TEST_F(ProductFileTest, ALineWithoutItsEndIsWhole) {
  put_file(path, line.substr(0, line.size() - 1));
  open().add(choice(128));
  EXPECT_EQ(open().own_lines(), 2);
}

TEST_F(ProductFileTest, AFileThatCannotBeWrittenIsNamed) {
  path = dir / "nowhere/products.jsonl";
  ProductFile file = open();
  const std::string message = message_of([&] { file.add(choice(64)); });
  EXPECT_TRUE(message.starts_with(path + ": cannot write")) << message;
}

// --- what a resume says ---

TEST_F(ProductFileTest, FingerprintsHoldWhileLinesOnlyCome) {
  ProductFile file = open();
  const std::string none = file.fingerprint();
  file.add(choice(64));
  const std::string one = file.fingerprint();
  open(a100).add(choice(64));
  file.add(choice(128));
  EXPECT_NE(one, none);
  EXPECT_TRUE(file.agrees_with(none));
  EXPECT_TRUE(file.agrees_with(one));
  EXPECT_TRUE(open().agrees_with(file.fingerprint()));
  for (const char* text : {"", "x", "1 0000000000000000", "99999999999999999999 0", "3 0"})
    EXPECT_FALSE(file.agrees_with(text)) << text;
  // Times are not what was chosen.
  put_file(path, std::regex_replace(bytes_of_file(path), std::regex("301.25"), "1.5"));
  EXPECT_TRUE(open().agrees_with(one));
  put_file(path, std::regex_replace(bytes_of_file(path), std::regex("\"tile\":409"), "\"tile\":20"));
  EXPECT_FALSE(open().agrees_with(one));
}

TEST_F(ProductFileTest, AResumeSaysThatTheBitsWillDiffer) {
  ProductFile file = open();
  file.add(choice(64));
  EXPECT_EQ(changed_choices(&file, file.fingerprint(), "run"), "");
  EXPECT_EQ(changed_choices(nullptr, "", "run"), "");
  EXPECT_EQ(changed_choices(&file, "", "run"),
            "run: was trained without train.products: the last bits will differ");
  EXPECT_EQ(
      changed_choices(nullptr, file.fingerprint(), "run"),
      "run: was trained with train.products, and this configuration has none: the last bits will differ");
  EXPECT_EQ(
      changed_choices(&file, "7 0000000000000000", "run"),
      "run: was trained with other lines of train.products than there are now: the last bits will differ");
}

TEST_F(ProductFileTest, OnTheCpuItIsNotReadAndThatIsSaid) {
  put_file(path, std::string_view("damaged"));
  TrainConfig config;
  std::vector<std::string> notes;
  EXPECT_EQ(open_products(config, cpu, alone(), notes), nullptr);
  EXPECT_TRUE(notes.empty());
  config.products = path;
  EXPECT_EQ(open_products(config, cpu, alone(), notes), nullptr);
  EXPECT_EQ(notes, std::vector<std::string>{"train.products: on the CPU there is nothing to choose, " + path +
                                            " is not read"});
}

// --- names ---

TEST(ProductNames, AreThoseOfCublasLt) {
  EXPECT_EQ(tile_name(0), "any tile");
  EXPECT_EQ(tile_name(1), "8x8");
  EXPECT_EQ(tile_name(201), "176x128");
  EXPECT_EQ(tile_name(409), "128x176");
  EXPECT_EQ(tile_name(467), "192x176");
  EXPECT_EQ(tile_name(504), "256x176");
  EXPECT_EQ(tile_name(634), "512x1024");
  EXPECT_EQ(tile_name(635), "635");
  EXPECT_EQ(stages_name(15), "64x3");
  EXPECT_EQ(stages_name(38), "768xAUTO");
  EXPECT_EQ(stages_name(39), "39");
  EXPECT_EQ(reduction_name(2), "compute type");
  EXPECT_EQ(reduction_name(8), "8");
}

}  // namespace
}  // namespace vitral::train
