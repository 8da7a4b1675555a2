#include "base/files/text_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files/descriptor.h"
#include "base/files/gzip.h"
#include "base/files/input_file.h"
#include "base/utf8.h"

namespace vitral {
namespace {

std::int64_t line_at(std::string_view text, std::size_t end) {
  std::int64_t line = 1;
  for (std::size_t i = 0; i < end; ++i)
    line += text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n')) ? 1 : 0;
  return line;
}

std::string from_utf16(std::string_view bytes, bool big_endian, const std::string& where) {
  const auto refuse = [&](std::string_view before) {
    throw_error<UsageError>("{}:{}: is not valid UTF-16, as its first bytes say; save it as UTF-8", where,
                            line_at(before, before.size()));
  };
  const auto unit = [&](std::size_t at) {
    const auto first = static_cast<unsigned char>(bytes[at]),
               second = static_cast<unsigned char>(bytes[at + 1]);
    return static_cast<char32_t>(big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string out;
  for (std::size_t at = 2; at < bytes.size(); at += 2) {
    if (at + 1 == bytes.size()) refuse(out);
    char32_t code = unit(at);
    if (code >= 0xD800 && code < 0xE000) {  // the first of a pair of surrogates
      if (code >= 0xDC00 || at + 3 >= bytes.size()) refuse(out);
      const char32_t second = unit(at += 2);
      if (second < 0xDC00 || second >= 0xE000) refuse(out);
      code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
    }
    append_utf8(code, out);
  }
  return out;
}

void check_utf8(std::string_view text, const std::string& where) {
  const std::size_t valid = valid_utf8(text);
  if (valid < text.size())
    throw_error<UsageError>(
        "{}:{}: is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8 FILE", where,
        line_at(text, valid));
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)
    throw_error<UsageError>(
        "{}:{}: has a NUL byte; it is no text, or UTF-16 without a byte order mark: save it as UTF-8", where,
        line_at(text, zero));
}

void end_lines_alike(std::string& text) {
  if (text.find('\r') == std::string::npos) return;
  std::size_t to = 0;
  for (std::size_t from = 0; from < text.size(); ++from) {
    if (text[from] == '\r' && from + 1 < text.size() && text[from + 1] == '\n') continue;
    text[to++] = text[from] == '\r' ? '\n' : text[from];
  }
  text.resize(to);
}

std::string read_stream(int descriptor, const std::string& name, std::uint64_t limit) {
  std::string text;
  for (;;) {
    const std::size_t done = text.size(), block = std::size_t{1} << 16;
    text.resize(done + block);
    const ssize_t got = ::read(descriptor, text.data() + done, block);
    if (got < 0 && errno != EINTR)
      throw_error("{}: cannot be read: {}; give a file", name, std::strerror(errno));
    text.resize(done + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (text.size() > limit)
      throw_error("{}: holds more than {} bytes; it is damaged or of another kind", name, limit);
    if (got == 0) return text;
  }
}

bool is_stream(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

std::string shown_name(const std::string& path) { return path == "-" ? "standard input" : path; }

}  // namespace

std::string decode_text(std::string bytes, const std::string& where) {
  std::string text;
  if (bytes.starts_with("\xFF\xFE"))
    text = from_utf16(bytes, false, where);
  else if (bytes.starts_with("\xFE\xFF"))
    text = from_utf16(bytes, true, where);
  else
    text = std::move(bytes);
  if (text.starts_with(byte_order_mark)) text.erase(0, byte_order_mark.size());
  check_utf8(text, where);
  end_lines_alike(text);
  return text;
}

std::string read_bytes(const std::string& path, std::uint64_t limit) {
  if (path == "-") return read_stream(STDIN_FILENO, shown_name(path), limit);
  if (!is_stream(path)) return read_text_file(path, limit);
  const Descriptor pipe(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (pipe < 0)
    throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", path,
                            std::strerror(errno));
  return read_stream(pipe, path, limit);
}

std::string read_text(const std::string& path, std::uint64_t limit) {
  return decode_text(read_bytes(path, limit), shown_name(path));
}

std::string read_packed_text(const std::string& path, std::uint64_t limit) {
  std::string bytes = read_bytes(path, limit);
  if (is_gzip(bytes)) bytes = gunzip(bytes, shown_name(path), limit);
  return decode_text(std::move(bytes), shown_name(path));
}

std::vector<TextLine> read_lines(const std::string& path, std::uint64_t limit) {
  const std::string text = read_packed_text(path, limit);
  std::vector<TextLine> lines;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    ++number;
    begin = end + 1;
    if (line.find_first_not_of(" \t") != std::string::npos) lines.push_back({number, std::move(line)});
  }
  if (lines.empty()) throw_error<UsageError>("{}: holds no lines; write one entry a line", shown_name(path));
  return lines;
}

}  // namespace vitral
