// A page in headless Chromium, where there is one: what it looks like to a script, and what it complains of.
#pragma once
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support.h"

namespace vitral::test {

/// The program, from VITRAL_CHROMIUM or the PATH; "" where there is none.
inline std::string find_chromium() {
  if (const char* given = std::getenv("VITRAL_CHROMIUM")) return given;
  const std::string path = std::getenv("PATH") ? std::getenv("PATH") : "";
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
    for (std::size_t begin = 0; begin <= path.size();) {
      const std::size_t end = std::min(path.find(':', begin), path.size());
      const std::string file = path.substr(begin, end - begin) + "/" + name;
      if (::access(file.c_str(), X_OK) == 0) return file;
      begin = end + 1;
    }
  return "";
}

#define VITRAL_NEEDS_CHROMIUM()                                                                  \
  if (::vitral::test::find_chromium().empty())                                                   \
  GTEST_SKIP() << "no chromium, chromium-browser or google-chrome in PATH; install one, or set " \
                  "VITRAL_CHROMIUM"

struct PageResult {
  nlohmann::json value;              // of the script
  std::vector<std::string> console;  // lines that the page wrote there, complaints of the browser among them
};

/// Opens a page from a file and evaluates a JavaScript expression in it after it has loaded; in the
/// expression `await later()` waits for what the page does soon.
inline PageResult open_page(const std::string& html, const std::string& expression,
                            const std::string& fragment = "", int width = 1200, int height = 900) {
  const TempDir dir;
  const std::string end = "</body>", file = dir / "page.html";
  const std::size_t at = html.rfind(end);
  EXPECT_NE(at, std::string::npos);
  // What the expression gives goes into an element, in an encoding that HTML leaves alone.
  const std::string script =
      "<pre id=\"result\"></pre><script>{\n"
      "const later = () => new Promise((resolve) => setTimeout(resolve, 200));\n"
      "addEventListener('load', async () => { await later(); document.getElementById('result').textContent "
      "=\n"
      "encodeURIComponent(JSON.stringify(" +
      expression + ")); }); }</script>";
  std::ofstream(file, std::ios::binary) << html.substr(0, at) << script << html.substr(at);
  const std::string command =
      "timeout 100 '" + find_chromium() +
      "' --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars "
      "--enable-logging=stderr" +
      " --user-data-dir='" + dir.str() + "/profile' --window-size=" + std::to_string(width) + "," +
      std::to_string(height) + " --virtual-time-budget=5000 --dump-dom 'file://" + file + fragment + "' >'" +
      dir.str() + "/dom' 2>'" + dir.str() + "/log' </dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0) << bytes_of_file(dir / "log");
  PageResult out;
  std::ifstream log(dir / "log");
  for (std::string line; std::getline(log, line);)
    if (line.find(":CONSOLE") != std::string::npos) out.console.push_back(line);
  const std::string dom = bytes_of_file(dir / "dom"), open = "<pre id=\"result\">";
  const std::size_t begin = dom.find(open);
  EXPECT_NE(begin, std::string::npos) << dom.substr(0, 2000);
  if (begin == std::string::npos) return out;
  std::string text;
  for (std::size_t i = begin + open.size(); i < dom.size() && dom[i] != '<'; ++i) {
    if (dom[i] != '%') {
      text += dom[i];
      continue;
    }
    text += static_cast<char>(std::stoi(dom.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  out.value = nlohmann::json::parse(text, nullptr, false);
  EXPECT_FALSE(out.value.is_discarded()) << text << (out.console.empty() ? "" : out.console.front());
  return out;
}

}  // namespace vitral::test
