// Images in archives that libarchive reads (tar, also compressed, and zip), as webdataset and img2dataset
// write them: the image and its caption are members of one stem, 000017.jpg and 000017.txt or 000017.json.
// Where Parquet is read, its files are archives, too, and rows their members (data/parquet_images.h).
//
// Nothing is written to the disk: a member's name is a name and no path, links and devices are passed over.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "data/image_files.h"

namespace vitral::data {

/// By its suffix: .tar, .tar.gz, .tgz, .tar.zst and the like, .zip; .parquet, where that is read.
bool is_archive(const std::string& path);

/// UsageError that says what a dataset of another program is (Hugging Face's .arrow, FFCV's .beton, .lance,
/// .mds, Parquet where it is not read), by its suffix, and how to convert it. `suffix`: of `path`, or of what
/// lies in that folder.
void refuse_other_dataset(const std::string& path, const std::string& suffix);

/// The members with an image's suffix, and others whose bytes begin as an image's do, in the order of the
/// archive, called as they are there; the rest is counted in `left_out`. Of members of one name the last one
/// counts, as when the archive is unpacked. Headers, captions and the first bytes of others are read, pixels
/// are not. Captions: the lines of the .txt (captions_in()), or one, "caption" or "text" of the .json, in
/// UTF-8, or UTF-16 with its mark; where they are not, that is the problem of their image. Error: no archive,
/// truncated or damaged.
std::vector<ImageFile> list_archive(const std::string& path, LeftOut& left_out);

/// Reads members in the order of the archive, for threads that ask in any order: each waits for its turn.
class ArchiveReader {
 public:
  /// positions: of the members that read() will be asked for, ascending.
  ArchiveReader(const std::string& path, std::vector<std::int64_t> positions);

  /// The bytes of member positions[k]; every k must be asked for once. Error: damaged, or more than 2^30
  /// bytes.
  std::vector<std::uint8_t> read(std::int64_t k);

 private:
  std::vector<std::int64_t> positions_;
  std::function<std::vector<std::uint8_t>(std::int64_t position)> next_;
  std::mutex mutex_;
  std::condition_variable turn_;
  std::int64_t turn_of_ = 0;
};

}  // namespace vitral::data
