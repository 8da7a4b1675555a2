#include "data/embedding_journal.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

namespace vitral::data {
namespace {

constexpr std::string_view mark = "vitral-embeddings-1\n";
constexpr double seconds_between_syncs = 5;
constexpr std::int64_t longest_identity = 64 << 10;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void write_all(int descriptor, const std::string& path, const void* data, std::size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor, from, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int why = written < 0 ? errno : ENOSPC;
      throw_error("{}: cannot be written: {}; the rows so far are kept, make room and run the command again",
                  path, std::strerror(why));
    }
    from += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

bool read_all(int descriptor, std::int64_t offset, void* to, std::size_t bytes) {
  char* out = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor, out, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out += got;
    offset += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace

EmbeddingJournal::EmbeddingJournal(const std::string& path, const std::string& identity, const Shape& row,
                                   DType dtype)
    : path_(path),
      row_(row),
      dtype_(dtype),
      row_bytes_(row.numel() * static_cast<std::int64_t>(size_of(dtype))) {
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    throw_error<UsageError>("{}: cannot be created: {}; check that the folder may be written", path,
                            std::strerror(errno));
  try {
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      throw_error<UsageError>("{}: another process is writing these embeddings; wait for it", path);
    const std::string head = std::string(mark) + identity + "\n";
    begin_ = static_cast<std::int64_t>(head.size());
    const std::int64_t size = ::lseek(descriptor_, 0, SEEK_END);
    std::string there(static_cast<std::size_t>(std::min(size, longest_identity)), '\0');
    if (!read_all(descriptor_, 0, there.data(), there.size()))
      throw_error("{}: cannot be read; check the disk, or remove it to start again", path);
    if (!head.starts_with(there) && !there.starts_with(head)) {
      if (!there.starts_with(mark))
        throw_error<UsageError>("{}: is in the way, and no journal of embeddings; move it", path);
      const std::string other = there.substr(mark.size(), there.find('\n', mark.size()) - mark.size());
      throw_error<UsageError>(
          "{}: an unfinished run of another kind ({}) is kept here, this one is {}; finish it with its own "
          "options, or "
          "start again with --restart",
          path, one_line(other), identity);
    }
    rows_ = std::max<std::int64_t>(size - begin_, 0) / row_bytes_;
    // Begins anew where not even the head was complete.
    if (::ftruncate(descriptor_, size < begin_ ? 0 : begin_ + rows_ * row_bytes_) != 0)
      throw_error("{}: cannot be written: {}; check the disk", path, std::strerror(errno));
    ::lseek(descriptor_, 0, SEEK_END);
    if (size < begin_) write_all(descriptor_, path, head.data(), head.size());
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  synced_ = now();
}

EmbeddingJournal::~EmbeddingJournal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EmbeddingJournal::append(const Tensor& rows) {
  Shape expected{rows.dim(0)};
  for (const auto d : row_) expected = expected.append(d);
  VITRAL_CHECK(rows.dtype() == dtype_ && rows.shape() == expected, "journal: rows {} {} must be {} {}",
               rows.dtype(), rows.shape(), dtype_, expected);
  write_all(descriptor_, path_, rows.raw(), rows.bytes());
  rows_ += rows.dim(0);
  if (now() - synced_ < seconds_between_syncs) return;
  if (::fdatasync(descriptor_) != 0)
    throw_error("{}: cannot be written to the disk: {}; check the disk", path_, std::strerror(errno));
  synced_ = now();
}

Tensor EmbeddingJournal::read(std::int64_t first, std::int64_t count) const {
  VITRAL_CHECK(first >= 0 && count >= 0 && count <= rows_ - first, "journal: rows [{}, {}) of {}", first,
               first + count, rows_);
  Shape shape{count};
  for (const auto d : row_) shape = shape.append(d);
  Tensor out(shape, dtype_);
  if (!read_all(descriptor_, begin_ + first * row_bytes_, out.raw(), out.bytes()))
    throw_error("{}: cannot be read; check the disk, or remove it to start again", path_);
  return out;
}

void EmbeddingJournal::remove() { ::unlink(path_.c_str()); }

}  // namespace vitral::data
