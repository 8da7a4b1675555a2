#include "data/image_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <set>
#include <unordered_set>
#include <utility>

#include <fmt/ranges.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "data/images/image.h"
#include "data/parquet_images.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

std::string lower_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return suffix;
}

bool has_image_bytes(const std::string& path) {
  try {
    const InputFile file(path);
    std::vector<std::uint8_t> head(std::min<std::size_t>(file.size(), image_head));
    file.read(0, head.data(), head.size());
    return looks_like_image(head);
  } catch (const ReadError&) {
    throw;
  } catch (const Error&) {
    return false;  // what cannot be read and has no image's name is left out
  }
}

// One search of a folder.
class Search {
 public:
  Search(const fs::path& root, LeftOut& left_out) : root_(root), left_out_(left_out) {
    enter(root);
    count_texts();
    std::sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  }

  std::vector<ImageFile>& found() { return found_; }

 private:
  using Place = std::pair<dev_t, ino_t>;

  void enter(const fs::path& folder) {
    struct stat info {};
    const Place place = ::stat(folder.c_str(), &info) == 0 ? Place{info.st_dev, info.st_ino} : Place{};
    if (std::find(chain_.begin(), chain_.end(), place) != chain_.end()) {
      ++left_out_["link into a loop"];
      return;
    }
    chain_.push_back(place);
    walk(folder);
    chain_.pop_back();
  }

  // Of what cannot be searched or read the rest is still found; it is listed with the skipped files.
  void walk(const fs::path& folder) {
    std::error_code why;
    for (fs::directory_iterator entry(folder, why), end; !why && entry != end; entry.increment(why))
      take(entry->path());
    if (!why) return;
    if (!is_about_path(why.value()))
      throw_error<ReadError>("{}: cannot be searched: {}; check the disk", folder.string(), why.message());
    const std::string problem =
        fmt::format("{}: cannot be searched: {}; check its permissions", folder.string(), why.message());
    if (folder == root_) throw_error<UsageError>("{}", problem);
    add(folder, problem);
  }

  void take(const fs::path& path) {
    std::error_code why;
    const fs::file_status status = fs::status(path, why);
    if (why && !is_about_path(why.value()))
      throw_error<ReadError>("{}: cannot be read: {}; check the disk", path.string(), why.message());
    if (fs::is_directory(status)) return enter(path);
    if (!fs::exists(status)) return add(path, unreadable(path, status, why));
    if (has_image_suffix(path.string()) || (fs::is_regular_file(status) && has_image_bytes(path.string())))
      return add(path);
    if (path.extension() == ".txt") return texts_.push_back(path.string());
    const std::string suffix = lower_suffix(path);
    ++left_out_[suffix.empty() ? "without suffix" : suffix];
  }

  // Of a .txt beside an image with its stem pack takes the image's captions (data/pack.h).
  void count_texts() {
    std::unordered_set<std::string> stems;
    for (const ImageFile& image : found_) stems.insert(fs::path(image.path).replace_extension().string());
    for (const std::string& text : texts_)
      if (!stems.contains(fs::path(text).replace_extension().string())) ++left_out_[".txt"];
  }

  static std::string unreadable(const fs::path& path, const fs::file_status& status,
                                const std::error_code& why) {
    std::error_code ignored;
    if (status.type() != fs::file_type::not_found)
      return fmt::format("{}: cannot be read: {}; check the path and its permissions", path.string(),
                         why.message());
    const fs::path target = fs::read_symlink(path, ignored);
    return fmt::format("{}: is a link to {}, which is not there", path.string(), target.string());
  }

  void add(const fs::path& path, const std::string& problem = "") {
    found_.push_back({path.string(), path.lexically_relative(root_).generic_string(), problem});
  }

  fs::path root_;
  LeftOut& left_out_;
  std::vector<Place> chain_;  // the folders that the search is in
  std::vector<ImageFile> found_;
  std::vector<std::string> texts_;  // .txt files
};

std::string path_name(const ImageFile& file) {
  const std::string path = fs::path(file.path).lexically_normal().generic_string();
  return file.member.empty() ? path : path + "/" + file.member;
}

[[noreturn]] void throw_missing(const std::string& path, const fs::file_status& status,
                                const std::error_code& why) {
  if (status.type() == fs::file_type::not_found) throw_error<UsageError>("{}: no such file or folder", path);
  throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", path, why.message());
}

}  // namespace

bool is_named_by_path(const ImageFile& file) { return file.name == path_name(file); }

std::string describe(const LeftOut& left_out) {
  std::vector<std::string> kinds;
  std::int64_t archives = 0;
  for (const auto& [kind, count] : left_out) {
    kinds.push_back(fmt::format("{} {}", count, one_line(kind)));
    static const std::set<std::string> suffixes{".tar", ".tgz", ".gz", ".zip"};
    if (suffixes.contains(kind) || (reads_parquet && kind == ".parquet")) archives += count;
  }
  if (kinds.empty()) return "";
  std::string text = fmt::format("left out: {}", fmt::join(kinds, ", "));
  if (archives == 1) text += " (1 archive: give it by name)";
  if (archives > 1) text += fmt::format(" ({} archives: give them by name)", archives);
  return text;
}

void make_unique(std::vector<ImageFile>& files) {
  std::unordered_set<std::string> seen;
  const auto again = [&](const std::string& text) { return !seen.insert(text).second; };
  std::erase_if(files, [&](const ImageFile& f) { return again(path_name(f)); });
  seen.clear();
  if (std::none_of(files.begin(), files.end(), [&](const ImageFile& f) { return again(f.name); })) return;
  for (ImageFile& file : files) file.name = path_name(file);
}

std::vector<std::string> read_path_list(const std::string& list) {
  const std::string where = list == "-" ? "standard input" : list;
  std::string text = read_bytes(list);
  // File names may hold any byte but NUL; only UTF-16, which its mark tells, has NUL bytes for another
  // reason.
  const bool by_nul =
      text.find('\0') != std::string::npos && !text.starts_with("\xFF\xFE") && !text.starts_with("\xFE\xFF");
  const char end_of_path = by_nul ? '\0' : '\n';
  if (!by_nul) text = decode_text(std::move(text), where);
  std::vector<std::string> paths;
  std::int64_t line = 1;
  for (std::size_t begin = 0; begin < text.size(); ++line) {
    const std::size_t end = std::min(text.find(end_of_path, begin), text.size());
    std::string path = text.substr(begin, end - begin);
    begin = end + 1;
    if (path.find_first_not_of(" \t") == std::string::npos) continue;
    std::error_code why;
    const auto status = fs::status(path, why);
    if (!fs::exists(status)) throw_missing(fmt::format("{}:{}: {}", where, line, shown(path)), status, why);
    paths.push_back(std::move(path));
  }
  if (paths.empty()) throw_error<UsageError>("{}: names no files; write one a line", where);
  return paths;
}

std::vector<ImageFile> list_images(const std::vector<std::string>& inputs, LeftOut* left_out) {
  LeftOut ignored;
  std::vector<ImageFile> files;
  for (const auto& input : inputs) {
    std::error_code why;
    const auto status = fs::status(input, why);
    if (!fs::exists(status)) throw_missing(input, status, why);
    if (fs::is_directory(status)) {
      Search search(input, left_out ? *left_out : ignored);
      std::move(search.found().begin(), search.found().end(), std::back_inserter(files));
    } else {
      files.push_back({input, fs::path(input).filename().string()});
    }
  }
  if (inputs.size() > 1) make_unique(files);
  return files;
}

}  // namespace vitral::data
