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
  std::string problem;
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

/// Of files themselves; of folders all images to any depth, sorted by name: files with the suffix of a
/// format, whatever their bytes, and others whose bytes begin as an image does. In the order of the inputs.
/// Links are followed, but not into a folder that the search is in already. A path that is there twice, as a
/// file and in its folder, counts once, at its first place. Where two images would have the same name, as
/// those of a/1.png and b/1.png, all are named by their paths as given. `left_out`, where given, gets the
/// rest. UsageError: no such file.
std::vector<ImageFile> list_images(const std::vector<std::string>& inputs, LeftOut* left_out = nullptr);

}  // namespace vitral::data
