// Texts for people and terminals.
#include "base/text.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace vitral {
namespace {

// C0, DEL, the C1 character CSI, a letter whose UTF-8 begins like a C1 character's, and a byte that is no
// UTF-8.
const std::string hostile = "a\n\x7f\xc2\x9b\xc2\xa0\xff";

TEST(Text, NoControlCharactersInALine) {
  EXPECT_EQ(one_line(hostile), "a\\x0a\\x7f\\x9b\xc2\xa0\xff");
  EXPECT_EQ(shown("abc", 2), "ab...");
}

TEST(Text, NoControlCharactersInJson) {
  const std::string want = "{\"k\":\"a\\n\\u007f\\u009b\xc2\xa0\xef\xbf\xbd\"}";
  const nlohmann::json object{{"k", hostile}};
  EXPECT_EQ(json_text(object), want);
  EXPECT_EQ(json_text(nlohmann::ordered_json(object)), want);
  EXPECT_EQ(nlohmann::json::parse(want)["k"], "a\n\x7f\xc2\x9b\xc2\xa0\xef\xbf\xbd");
  EXPECT_EQ(json_text(nlohmann::json{{"k", 1}}, 1), "{\n \"k\": 1\n}");
}

}  // namespace
}  // namespace vitral
