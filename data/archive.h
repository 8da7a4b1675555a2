// Images in archives that libarchive reads (tar, also compressed, and zip), as webdataset and img2dataset
// write them: the image and its caption are members of one stem, 000017.jpg and 000017.txt or 000017.json.
//
// Nothing is written to the disk: a member's name is a name and no path, links and devices are passed over.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/image_files.h"

struct archive;

namespace vitral::data {

/// By its suffix: .tar, .tar.gz, .tgz, .tar.zst and the like, .zip.
bool is_archive(const std::string& path);

/// UsageError that says what a dataset of another program is (Parquet, Hugging Face's .arrow, FFCV's .beton,
/// .lance, .mds), by its suffix, and how to convert it. `suffix`: of `path`, or of what lies in that folder.
void refuse_other_dataset(const std::string& path, const std::string& suffix);

/// The members with an image's suffix, in the order of the archive, called as they are there; the rest is
/// counted in `left_out`. Of members of one name the last one counts, as when the archive is unpacked.
/// Headers and captions are read, pixels are not. Caption: the whole .txt, or "caption" or "text" of the
/// .json. Error: no archive, truncated or damaged.
std::vector<ImageFile> list_archive(const std::string& path, LeftOut& left_out);

/// Reads members in the order of the archive, for threads that ask in any order: each waits for its turn.
class ArchiveReader {
 public:
  /// positions: of the members that read() will be asked for, ascending.
  ArchiveReader(std::string path, std::vector<std::int64_t> positions);

  /// The bytes of member positions[k]; every k must be asked for once. Error: damaged, or more than 2^30
  /// bytes.
  std::vector<std::uint8_t> read(std::int64_t k);

 private:
  std::vector<std::uint8_t> next(std::int64_t position);

  std::string path_;
  std::vector<std::int64_t> positions_;
  std::shared_ptr<archive> archive_;
  std::int64_t at_ = -1;  // the member that was opened last
  std::mutex mutex_;
  std::condition_variable turn_;
  std::int64_t turn_of_ = 0;
};

}  // namespace vitral::data
