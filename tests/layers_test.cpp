// The rule of direction: base <- tensor <- autograd <- nn <- models <- train, infer <- cli, and
// tensor <- data <- models.
// Nothing points back. The table says what the files of a folder may include besides their own folder.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> may_include{
    {"base", {}},
    {"tensor", {"base"}},
    {"autograd", {"base", "tensor"}},
    {"nn", {"autograd", "base", "tensor"}},
    {"data", {"base", "tensor"}},
    {"models", {"autograd", "base", "data", "nn", "tensor"}},
    {"train", {"autograd", "base", "data", "models", "nn", "tensor"}},
    {"infer", {"autograd", "base", "data", "models", "nn", "tensor"}},
    {"cli", {"autograd", "base", "data", "infer", "models", "nn", "tensor", "train"}},
};

bool is_source(const fs::path& path) {
  return path.extension() == ".h" || path.extension() == ".cpp" || path.extension() == ".cu";
}

TEST(Layers, NothingPointsBack) {
  const std::regex include(R"re(^\s*#\s*include\s*"([^"]+)")re");
  int lines = 0;
  for (const auto& [folder, allowed] : may_include) {
    ASSERT_TRUE(fs::is_directory(folder)) << "run from the root of the source tree";
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!is_source(entry.path())) continue;
      std::ifstream file(entry.path());
      std::string line;
      for (int number = 1; std::getline(file, line); ++number) {
        std::smatch match;
        if (!std::regex_search(line, match, include)) continue;
        ++lines;
        const std::string path = match[1], to = path.substr(0, path.find('/'));
        const std::string where = entry.path().string() + ":" + std::to_string(number);
        EXPECT_TRUE(fs::exists(path)) << where << ": " << path << " is not written from the root of the tree";
        EXPECT_TRUE(to == folder || allowed.contains(to))
            << where << ": " << folder << "/ may not include " << path;
      }
    }
  }
  EXPECT_GT(lines, 200);
}

TEST(Layers, EveryFolderOfSourcesIsInTheTable) {
  const std::set<std::string> others{"docs", "tests"};
  for (const auto& entry : fs::directory_iterator(".")) {
    const std::string name = entry.path().filename();
    if (!entry.is_directory() || name.starts_with(".") || name.starts_with("build") || others.contains(name))
      continue;
    for (const auto& file : fs::directory_iterator(entry.path()))
      EXPECT_FALSE(is_source(file.path()) && !may_include.contains(name))
          << file.path() << " is in a folder without a place in the rule of direction";
  }
}

}  // namespace
