// Every block of C++, C and Python of the pages is a part of a program in docs/examples or docs/course, which
// the tests build and run, and every file that they link to is there.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

Lines lines_of(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path << ": run from the root of the source tree";
  Lines lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::size_t indent(const std::string& line) { return std::min(line.find_first_not_of(' '), line.size()); }

// Whether the program has these lines one after the other, all of them indented by as much more.
bool quotes(const Lines& program, const Lines& block) {
  const auto same = [&](std::size_t at, std::size_t by) {
    for (std::size_t i = 0; i < block.size(); ++i)
      if (program[at + i] != (block[i].empty() ? "" : std::string(by, ' ') + block[i])) return false;
    return true;
  };
  for (std::size_t at = 0; at + block.size() <= program.size(); ++at)
    if (indent(program[at]) >= indent(block[0]) && same(at, indent(program[at]) - indent(block[0])))
      return true;
  return false;
}

std::vector<fs::path> pages() {
  std::vector<fs::path> out;
  for (const char* folder : {".", "docs", "docs/course"})
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".md") out.push_back(entry.path());
  return out;
}

TEST(Pages, QuoteProgramsThatRun) {
  std::vector<Lines> programs;
  std::string built;
  for (const std::string& line : lines_of("docs/examples/meson.build")) built += line;
  for (const auto& entry : fs::directory_iterator("docs/examples")) {
    const std::string suffix = entry.path().extension();
    if (suffix != ".cpp" && suffix != ".c" && suffix != ".py") continue;
    programs.push_back(lines_of(entry.path()));
    EXPECT_TRUE(suffix == ".py" ||
                built.find(fmt::format("'{}'", entry.path().stem().string())) != std::string::npos)
        << entry.path() << " is not in docs/examples/meson.build";
  }
  for (const auto& entry : fs::directory_iterator("docs/course"))
    if (entry.path().extension() == ".cpp") programs.push_back(lines_of(entry.path()));
  int blocks = 0;
  for (const fs::path& page : pages()) {
    const Lines lines = lines_of(page);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      // cpp, c; py: ours. What other programs are asked to run is ```python.
      if (!lines[i].starts_with("```c") && lines[i] != "```py") continue;
      const auto first = lines.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                 last = std::find(first, lines.end(), "```");
      ASSERT_NE(first, last) << page << ":" << i + 1;
      const Lines block(first, last);
      EXPECT_TRUE(
          std::any_of(programs.begin(), programs.end(), [&](const Lines& p) { return quotes(p, block); }))
          << page << ":" << i + 1
          << ": no program in docs/examples or docs/course has these lines; put them into one, or copy its "
             "lines";
      ++blocks;
      i += block.size() + 1;
    }
  }
  EXPECT_GE(blocks, 5);
}

// [text](path), [text](path#part): relative to the page.
TEST(Pages, LinkToFilesThatAreThere) {
  const std::regex link(R"(\]\(([^)#: ]+)(#[^)]*)?\))");
  int links = 0;
  for (const fs::path& page : pages()) {
    const Lines lines = lines_of(page);
    for (std::size_t i = 0; i < lines.size(); ++i)
      for (std::sregex_iterator it(lines[i].begin(), lines[i].end(), link), end; it != end; ++it) {
        ++links;
        EXPECT_TRUE(fs::exists(page.parent_path() / (*it)[1].str()))
            << page << ":" << i + 1 << ": there is no " << (*it)[1];
      }
  }
  EXPECT_GE(links, 50);
}

}  // namespace
