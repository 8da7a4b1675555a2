#include "base/terminal.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include <sys/ioctl.h>
#include <unistd.h>

namespace vitral {

bool can_redraw(std::FILE* file) {
  const char* term = std::getenv("TERM");
  return ::isatty(::fileno(file)) != 0 && term && std::string_view(term) != "dumb";
}

int columns_of(std::FILE* file) {
  winsize size{};
  if (::ioctl(::fileno(file), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return static_cast<int>(size.ws_col);
}

std::size_t room_on_line(int columns) { return static_cast<std::size_t>(std::max(columns, 1)) - 1; }

std::string longest_that_fits(const std::vector<std::string>& lines, int columns) {
  const auto fits = [&](const std::string& line) { return line.size() <= room_on_line(columns); };
  const auto found = std::find_if(lines.begin(), lines.end(), fits);
  return found == lines.end() ? "" : *found;
}

void redraw(std::FILE* file, const std::string& line) {
  std::fprintf(file, "\r%s\x1b[K", line.c_str());
  std::fflush(file);
}

}  // namespace vitral
