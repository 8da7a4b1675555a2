#include "base/home.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include <pwd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

namespace vitral {

std::string expand_home(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const std::size_t end = std::min(path.find('/'), path.size());
  const std::string user = path.substr(1, end - 1);
  std::string home;
  if (const char* named = std::getenv("HOME"); user.empty() && named) home = named;
  if (home.empty()) {
    const passwd* entry = user.empty() ? ::getpwuid(::getuid()) : ::getpwnam(user.c_str());
    if (entry && entry->pw_dir) home = entry->pw_dir;
  }
  if (home.empty())
    throw_error<UsageError>(
        "{}: there is no user '{}' whose home folder ~ could be; write the path in full, or ./~", shown(path),
        shown(user));
  return home + path.substr(end);
}

std::string unexpanded_variable(const std::string& path) {
  for (std::size_t begin = 0; begin < path.size(); begin = std::min(path.find('/', begin), path.size()) + 1) {
    if (path[begin] != '$' || begin + 1 >= path.size()) continue;
    const auto next = static_cast<unsigned char>(path[begin + 1]);
    std::error_code ignored;
    if ((std::isalpha(next) == 0 && next != '_' && next != '{') || std::filesystem::exists(path, ignored))
      continue;
    return path.substr(begin, std::min(path.find('/', begin), path.size()) - begin);
  }
  return "";
}

}  // namespace vitral
