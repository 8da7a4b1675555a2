// Image files, as people name them: files, and folders that are searched for them.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vitral::data {

struct ImageFile {
  std::string path;
  std::string name;  // unique: the path relative to the folder that was given, or the file's own name
  // Why it cannot be read, where that is known already: a folder that cannot be searched, a link to nothing.
  std::string problem = {};
  // Of an image in an archive, which lies at `path` (data/archive.h):
  std::string member = {};
  std::vector<std::string> captions = {};
  std::int64_t position = -1;         // among all members; -1: a file of its own
  std::string captions_problem = {};  // why those beside it cannot be read
};

struct SkippedFile {
  std::string name, reason;  // reason: one line
};

/// What a search of folders has passed over, counted by kind: ".mp4", "without suffix", "link into a loop".
using LeftOut = std::map<std::string, std::int64_t>;

/// "left out: 3 .mp4, 2 .zip (2 archives: give them by name)"; "" where nothing was.
std::string describe(const LeftOut& left_out);

/// Whether the name is the path as it was given, and so finds the file from the folder that it was given in.
bool is_named_by_path(const ImageFile& file);

/// Takes out what is there twice, and where two of the rest have the same name, as those of a/1.png and
/// b/1.png, names all by their paths as given.
void make_unique(std::vector<ImageFile>& files);

/// Paths of files, folders and archives from a text file, one a line (base/files/text_file.h), or each ended
/// by a NUL byte, as `find -print0` writes them; "-" is standard input. UsageError with the line: one is not
/// there.
std::vector<std::string> read_path_list(const std::string& list);

/// Of files themselves; of folders all images to any depth, sorted by name: files with the suffix of a
/// format, whatever their bytes, and others whose bytes begin as an image does. In the order of the inputs.
/// Links are followed, but not into a folder that the search is in already. A path that is there twice, as a
/// file and in its folder, counts once, at its first place; names are made unique. `left_out`, where given,
/// gets the rest. UsageError: no such file.
std::vector<ImageFile> list_images(const std::vector<std::string>& inputs, LeftOut* left_out = nullptr);

}  // namespace vitral::data
