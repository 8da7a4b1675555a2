// The program that docs/library.md explains is the file that the tests build and run.
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path << ": run from the root of the source tree";
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(LibraryPage, ShowsTheExampleAsItIs) {
  const std::string program = text_of("docs/examples/fit_network.cpp");
  const std::string page = text_of("docs/library.md"), fence = "```cpp\n";
  const std::size_t begin = page.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const std::size_t from = begin + fence.size();
  EXPECT_EQ(page.substr(from, page.find("```", from) - from), program)
      << "docs/library.md: its first program must be docs/examples/fit_network.cpp, copy the file into it";
}

}  // namespace
