// The rule of direction: base <- base/files <- base/process, processes; base <- tensor <- autograd <- nn <-
// models <- train, infer <- ablate <- cli, models <- capi, and tensor <- data <- models; train and infer know
// processes. Nothing points back. The table says what the files of a folder may include besides their own
// folder; a folder without a row belongs to the one above it.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;
using Folders = std::set<std::string>;

Folders operator+(Folders a, const Folders& b) {
  a.insert(b.begin(), b.end());
  return a;
}

// Who computes (tensor/cpu, tensor/cuda) is nobody's business above the contracts in tensor/ops.
const Folders tensors{"base", "base/files", "tensor", "tensor/ops"};
const Folders rooms_of_data{"data/annotations", "data/hdf5", "data/images", "data/text", "data/weights"};
const Folders networks = tensors + Folders{"autograd", "nn"};
const Folders models = networks + rooms_of_data + Folders{"data", "models"};

const std::map<std::string, Folders> may_include{
    {"base", {}},
    {"base/files", {"base"}},
    {"base/process", {"base", "base/files"}},
    {"processes", {"base", "base/files"}},
    {"tensor", {"base", "tensor/ops"}},
    {"tensor/ops", {"base", "tensor"}},
    {"tensor/cpu", tensors},
    {"tensor/cuda", tensors},
    {"autograd", tensors},
    {"nn", networks},
    {"data", tensors + rooms_of_data},
    {"data/annotations", tensors + Folders{"data/images"}},
    {"data/benchmarks", tensors + Folders{"data", "data/images"}},
    {"data/hdf5", tensors + Folders{"base/process"}},
    {"data/images", tensors},
    {"data/text", tensors},
    {"data/weights", tensors},
    {"models", models},
    {"train", models + Folders{"processes"}},
    {"infer", models + Folders{"infer/measure", "infer/show", "processes"}},
    {"infer/measure", models + Folders{"processes"}},
    {"infer/show", models + Folders{"infer/measure"}},
    {"ablate", models + Folders{"infer", "infer/measure", "infer/show", "processes", "train"}},
    {"capi", models},
    {"cli", models + Folders{"ablate", "data/benchmarks", "infer", "infer/measure", "infer/show", "processes",
                             "train"}},
};

// The row of a file: that of its folder, or of the nearest one above.
std::string row_of(fs::path path) {
  do path = path.parent_path();
  while (path.has_parent_path() && !may_include.contains(path.string()));
  return path.string();
}

bool is_source(const fs::path& path) {
  return path.extension() == ".h" || path.extension() == ".cpp" || path.extension() == ".cu";
}

TEST(Layers, NothingPointsBack) {
  const std::regex include(R"re(^\s*#\s*include\s*"([^"]+)")re");
  int lines = 0;
  for (const auto& [folder, allowed] : may_include) {
    ASSERT_TRUE(fs::is_directory(folder)) << "run from the root of the source tree";
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!is_source(entry.path()) || row_of(entry.path()) != folder) continue;
      std::ifstream file(entry.path());
      std::string line;
      for (int number = 1; std::getline(file, line); ++number) {
        std::smatch match;
        if (!std::regex_search(line, match, include)) continue;
        ++lines;
        const std::string path = match[1], to = row_of(path);
        const std::string where = entry.path().string() + ":" + std::to_string(number);
        EXPECT_TRUE(fs::exists(path)) << where << ": " << path << " is not written from the root of the tree";
        EXPECT_TRUE(to == folder || allowed.contains(to))
            << where << ": " << folder << "/ may not include " << path;
      }
    }
  }
  EXPECT_GT(lines, 200);
}

TEST(Layers, FilesAreShort) {
  std::set<std::string> folders{"docs", "tests"};
  for (const auto& [folder, allowed] : may_include) folders.insert(folder);
  for (const auto& folder : folders)
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!is_source(entry.path())) continue;
      std::ifstream file(entry.path());
      std::string line;
      int lines = 0;
      while (std::getline(file, line)) ++lines;
      EXPECT_LE(lines, 450) << entry.path() << " has " << lines << " lines; what are its two parts?";
    }
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
