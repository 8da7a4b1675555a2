// Text files as people write them, on any system: UTF-8 with or without a byte order mark, or UTF-16 with
// one; lines that end in LF, CR LF or CR.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitral {

/// Of UTF-8, which some systems write before a text.
inline constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

constexpr std::uint64_t longest_text_file = std::uint64_t{1} << 30;  // bytes

/// The text as UTF-8 without a byte order mark, lines ended by \n. UsageError naming `where` and the line: no
/// valid UTF-8 (or, after its byte order mark, UTF-16), a NUL byte.
std::string decode_text(std::string bytes, const std::string& where);

/// The bytes of a file or a pipe; "-" is standard input. UsageError as InputFile(); Error: it is larger than
/// `limit` bytes.
std::string read_bytes(const std::string& path, std::uint64_t limit = longest_text_file);

/// The whole of a file, decoded; also of a pipe, as in <(program). "-" is standard input. UsageError as
/// InputFile() and decode_text(); Error: it is larger than `limit` bytes.
std::string read_text(const std::string& path, std::uint64_t limit = longest_text_file);

/// The same, also of what gzip packed; `limit` holds for what it unpacks to as well. Error: damaged gzip
/// data.
std::string read_packed_text(const std::string& path, std::uint64_t limit = longest_text_file);

struct TextLine {
  std::int64_t number;  // from 1
  std::string text;     // without its end
};

/// The lines that are not blank of read_packed_text(). UsageError: as there, and where there are none.
std::vector<TextLine> read_lines(const std::string& path, std::uint64_t limit = longest_text_file);

}  // namespace vitral
