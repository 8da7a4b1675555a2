#include "base/files/gzip.h"

#include <algorithm>
#include <limits>
#include <new>

#include <zlib.h>

#include "base/error.h"

namespace vitral {

bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

std::string gunzip(std::string_view bytes, const std::string& where, std::uint64_t limit) {
  constexpr int gzip_only = 15 + 16;
  z_stream stream{};
  if (inflateInit2(&stream, gzip_only) != Z_OK) throw std::bad_alloc();
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } const end{stream};
  std::string out, block(1U << 18, '\0');
  for (int state = Z_OK; state != Z_STREAM_END || is_gzip(bytes);) {
    if (state == Z_STREAM_END) inflateReset(&stream);
    const auto given =
        static_cast<uInt>(std::min<std::size_t>(bytes.size(), std::numeric_limits<uInt>::max()));
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = given;
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    state = inflate(&stream, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END)
      throw_error("{}: {}; copy it again", where,
                  state == Z_BUF_ERROR ? "truncated, the gzip data end too early" : "damaged gzip data");
    bytes.remove_prefix(given - stream.avail_in);
    out.append(block, 0, block.size() - stream.avail_out);
    if (out.size() > limit)
      throw_error("{}: unpacks to more than {} bytes; it is damaged or of another kind", where, limit);
  }
  return out;
}

}  // namespace vitral
