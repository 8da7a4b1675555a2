#include "data/image_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/error.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

bool has_image_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png";
}

// Of what cannot be searched or read the rest is still found; it is listed with the skipped files. Links to
// folders are not followed.
void walk(const fs::path& folder, const fs::path& root, std::vector<ImageFile>& found) {
  std::error_code why, ignored;
  for (fs::directory_iterator entry(folder, why), end; !why && entry != end; entry.increment(why)) {
    if (fs::is_directory(entry->symlink_status(ignored)))
      walk(entry->path(), root, found);
    else if (has_image_suffix(entry->path()))
      found.push_back({entry->path().string(), entry->path().lexically_relative(root).generic_string(), ""});
  }
  if (!why) return;
  const std::string problem =
      fmt::format("{}: cannot be searched: {}; check its permissions", folder.string(), why.message());
  if (folder == root) throw_error<UsageError>("{}", problem);
  found.push_back({folder.string(), folder.lexically_relative(root).generic_string(), problem});
}

void list_folder(const std::string& folder, std::vector<ImageFile>& out) {
  std::vector<ImageFile> found;
  walk(folder, folder, found);
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  out.insert(out.end(), found.begin(), found.end());
}

}  // namespace

std::vector<ImageFile> list_images(const std::vector<std::string>& inputs) {
  std::vector<ImageFile> files;
  for (const auto& input : inputs) {
    std::error_code why;
    const auto status = fs::status(input, why);
    if (status.type() == fs::file_type::not_found)
      throw_error<UsageError>("{}: no such file or folder", input);
    if (!fs::exists(status))
      throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", input,
                              why.message());
    if (fs::is_directory(status))
      list_folder(input, files);
    else
      files.push_back({input, fs::path(input).filename().string(), ""});
  }
  return files;
}

}  // namespace vitral::data
