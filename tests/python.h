// Python programs as references: VITRAL_PYTHON, or python3. Nothing here is needed to build or run vitral; a
// test skips, with the reason, where a module is missing.
#pragma once
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "tests/support.h"

namespace vitral::test {

struct PythonResult {
  int status = -1;
  std::string out;  // stdout and stderr
};

/// Runs `python ARGUMENTS...`; none of them may hold a quote.
inline PythonResult python(const std::vector<std::string>& arguments) {
  const TempDir dir;
  const char* program = std::getenv("VITRAL_PYTHON");
  std::string command = std::string("PYTHONDONTWRITEBYTECODE=1 '") + (program ? program : "python3") + "'";
  for (const auto& argument : arguments) command += " '" + argument + "'";
  command += " > '" + dir / "out" + "' 2>&1";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, bytes_of_file(dir / "out")};
}

/// Why modules cannot be imported, or "".
inline std::string why_no_python(const std::string& modules) {
  const PythonResult r = python({"-c", "import " + modules});
  if (r.status == 0) return "";
  const std::string text = r.out.substr(0, r.out.find_last_not_of('\n') + 1);
  return "python cannot import " + modules + ": " + text.substr(text.rfind('\n') + 1);
}

}  // namespace vitral::test

#define VITRAL_NEEDS_PYTHON(modules) \
  if (const std::string why = ::vitral::test::why_no_python(modules); !why.empty()) GTEST_SKIP() << why
