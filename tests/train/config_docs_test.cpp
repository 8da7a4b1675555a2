// docs/config.md has one row for each key of the program, with its values and its default.
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "train/config.h"

namespace vitral::train {
namespace {

/// The cells of a Markdown table row, without the blanks around them; \| is no border.
std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> out;
  std::string cell;
  for (std::size_t i = 1; i < line.size(); ++i) {
    if (line[i] != '|' || line[i - 1] == '\\') {
      cell += line[i];
      continue;
    }
    const std::size_t first = cell.find_first_not_of(' ');
    out.push_back(first == std::string::npos ? ""
                                             : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
    cell.clear();
  }
  return out;
}

TEST(ConfigDocs, TheTablesHoldEveryKeyWithItsValuesAndDefault) {
  std::ifstream file("docs/config.md");
  ASSERT_TRUE(file) << "run from the root of the repository";
  std::map<std::string, std::vector<std::string>> documented;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    auto row = cells(line);
    ASSERT_EQ(row.size(), 4U) << line;
    const std::string name = row[0].substr(1, row[0].size() - 2);
    EXPECT_TRUE(documented.emplace(name, row).second) << name << " is documented twice";
  }
  for (const KeyInfo& key : config_keys()) {
    const auto it = documented.find(key.name);
    if (it == documented.end()) {
      ADD_FAILURE() << key.name << " is missing in docs/config.md";
      continue;
    }
    EXPECT_EQ(it->second[1], key.value) << key.name;
    EXPECT_EQ(it->second[2], "`" + key.default_value + "`") << key.name;
    EXPECT_GE(it->second[3].size(), 5U) << key.name << " has no meaning";
    documented.erase(it);
  }
  for (const auto& [name, row] : documented) ADD_FAILURE() << name << " is documented, but is no key";
}

}  // namespace
}  // namespace vitral::train
