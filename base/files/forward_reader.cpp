#include "base/files/forward_reader.h"

#include <algorithm>

namespace vitral {

const unsigned char* ForwardReader::read(std::uint64_t offset, std::size_t bytes) {
  constexpr std::size_t least = 4 << 10, most = 1 << 20;
  if (offset < begin_ || offset > end_ || bytes > end_ - offset) {
    const bool near = offset >= begin_ && offset <= end_ + least;
    ahead_ = near ? std::clamp(2 * ahead_, least, most) : least;
    const std::uint64_t left = file_.size() - std::min(offset, file_.size());
    const std::size_t size = std::max(bytes, static_cast<std::size_t>(std::min<std::uint64_t>(ahead_, left)));
    if (buffer_.size() < size) buffer_.resize(size);
    begin_ = end_ = 0;  // nothing, should the read fail
    file_.read(offset, buffer_.data(), size);
    begin_ = offset;
    end_ = offset + size;
  }
  return buffer_.data() + (offset - begin_);
}

}  // namespace vitral
