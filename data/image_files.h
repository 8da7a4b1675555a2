// Image files, as people name them: files, and folders that are searched for them.
#pragma once
#include <string>
#include <vector>

namespace vitral::data {

struct ImageFile {
  std::string path;
  std::string name;  // the path relative to the folder that was given, or the file's own name
  std::string
      problem;  // why it cannot be read, where that is known already: a folder that cannot be searched
};

struct SkippedFile {
  std::string name, reason;  // reason: one line
};

/// Of files themselves, of folders all .jpg, .jpeg and .png to any depth, sorted by name; in the order of the
/// inputs. UsageError: no such file.
std::vector<ImageFile> list_images(const std::vector<std::string>& inputs);

}  // namespace vitral::data
