#include "base/row_journal.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

namespace vitral {
namespace {

constexpr double seconds_between_syncs = 5;
constexpr std::int64_t longest_identity = 64 << 10;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

RowJournal::RowJournal(std::string path, std::string_view format, const std::string& identity,
                       std::int64_t row_bytes)
    : path_(std::move(path)),
      row_bytes_(row_bytes),
      descriptor_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0)
    throw_error<UsageError>("{}: cannot be created: {}; check that the folder may be written", path_,
                            std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw_error<UsageError>("{}: another process is writing it; wait for that", path_);
  const std::string mark = std::string(format) + "\n", head = mark + identity + "\n";
  begin_ = static_cast<std::int64_t>(head.size());
  const std::int64_t size = ::lseek(descriptor_, 0, SEEK_END);
  std::string there(static_cast<std::size_t>(std::min(size, longest_identity)), '\0');
  if (read_at(descriptor_, 0, there.data(), there.size()) < there.size())
    throw_error("{}: cannot be read; check the disk, or remove it to start again", path_);
  if (!head.starts_with(there) && !there.starts_with(head)) {
    if (!there.starts_with(mark))
      throw_error<UsageError>("{}: is in the way, and no journal of this work; move it", path_);
    const std::string other = there.substr(mark.size(), there.find('\n', mark.size()) - mark.size());
    throw_error<UsageError>(
        "{}: an unfinished run of another kind ({}) is kept here, this one is {}; finish it with its own "
        "options, or start again with --restart",
        path_, one_line(other), identity);
  }
  rows_ = std::max<std::int64_t>(size - begin_, 0) / row_bytes_;
  // Begins anew where not even the head was complete.
  if (::ftruncate(descriptor_, size < begin_ ? 0 : begin_ + rows_ * row_bytes_) != 0)
    throw_error("{}: cannot be written: {}; check the disk", path_, std::strerror(errno));
  ::lseek(descriptor_, 0, SEEK_END);
  if (size < begin_) write(head.data(), begin_);
  synced_ = now();
}

RowJournal::~RowJournal() {
  if (rows_ == 0) remove();
}

void RowJournal::write(const void* data, std::int64_t bytes) {
  if (!write_all(descriptor_, data, static_cast<std::size_t>(bytes)))
    throw_error("{}: cannot be written: {}; {}make room and run the command again", path_,
                std::strerror(errno), rows_ > 0 ? "the rows so far are kept, " : "");
}

void RowJournal::append(const void* rows, std::int64_t count) {
  write(rows, count * row_bytes_);
  rows_ += count;
  if (now() - synced_ < seconds_between_syncs) return;
  if (::fdatasync(descriptor_) != 0)
    throw_error("{}: cannot be written to the disk: {}; check the disk", path_, std::strerror(errno));
  synced_ = now();
}

void RowJournal::read(std::int64_t first, std::int64_t count, void* to) const {
  VITRAL_CHECK(first >= 0 && count >= 0 && count <= rows_ - first, "journal: rows [{}, {}) of {}", first,
               first + count, rows_);
  const auto bytes = static_cast<std::size_t>(count * row_bytes_);
  if (read_at(descriptor_, static_cast<std::uint64_t>(begin_ + first * row_bytes_), to, bytes) < bytes)
    throw_error("{}: cannot be read; check the disk, or remove it to start again", path_);
}

void RowJournal::remove() { ::unlink(path_.c_str()); }

}  // namespace vitral
