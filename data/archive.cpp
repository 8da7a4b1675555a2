#include "data/archive.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include <archive.h>
#include <archive_entry.h>
#include <nlohmann/json.hpp>

#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "data/captions.h"
#include "data/images/image.h"
#include "data/parquet_images.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest = std::size_t{1} << 30;       // bytes of a member
constexpr std::size_t longest_text = std::size_t{1} << 20;  // bytes of one that holds captions
constexpr std::size_t block = 1 << 18;                      // bytes that are read at once

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// libarchive gives none for some damage.
std::string reason(archive* a) {
  const char* why = archive_error_string(a);
  return one_line(why ? why : "it is damaged");
}

// What the system says is not of the archive's contents, for which libarchive has -1, EILSEQ and EINVAL.
void throw_if_of_system(archive* a, const std::string& name) {
  const int error = archive_errno(a);
  for (const int of_contents : {0, -1, EILSEQ, EINVAL})
    if (error == of_contents) return;
  throw_error<ReadError>("{}: cannot be read: {}; check the disk", name, std::strerror(error));
}

std::shared_ptr<archive> open_archive(const std::string& path) {
  { const InputFile readable(path); }  // says why a file cannot be read
  std::shared_ptr<archive> a(archive_read_new(), archive_read_free);
  for (const auto filter :
       {archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_xz,
        archive_read_support_filter_zstd, archive_read_support_filter_lz4})
    filter(a.get());  // not all: some run programs
  archive_read_support_format_tar(a.get());
  archive_read_support_format_gnutar(a.get());
  archive_read_support_format_zip(a.get());
  if (archive_read_open_filename(a.get(), path.c_str(), block) == ARCHIVE_OK) return a;
  throw_if_of_system(a.get(), path);
  throw_error("{}: cannot be read as an archive: {}; write it again", path, reason(a.get()));
}

// Null at the end. `members`: how many there were before.
archive_entry* next_header(archive* a, const std::string& path, std::int64_t members) {
  archive_entry* entry = nullptr;
  const int status = archive_read_next_header(a, &entry);
  if (status == ARCHIVE_EOF) return nullptr;
  if (status == ARCHIVE_OK || status == ARCHIVE_WARN) return entry;
  throw_if_of_system(a, path);
  throw_error("{}: is damaged behind its first {} members: {}; fetch it or write it again", path, members,
              reason(a));
}

std::string name_of(archive_entry* entry) {
  const char* name = archive_entry_pathname(entry);
  if (!name) name = archive_entry_pathname_utf8(entry);
  std::string text = name ? name : "";
  while (text.starts_with("./")) text.erase(0, 2);
  return text;
}

[[noreturn]] void throw_unreadable(archive* a, const std::string& name) {
  throw_if_of_system(a, name);
  throw_error("{}: cannot be read from its archive: {}; fetch the archive again", one_line(name), reason(a));
}

// What the header claims is taken for a first guess only: it may be missing or wrong.
template <class Bytes>
Bytes read_data(archive* a, archive_entry* entry, const std::string& name, std::size_t limit) {
  const auto claim = static_cast<std::uint64_t>(std::max<la_int64_t>(archive_entry_size(entry), 0));
  Bytes out(archive_entry_size_is_set(entry) ? std::min<std::uint64_t>(claim + 1, 4 * block) : block, 0);
  for (std::size_t have = 0;;) {
    const la_ssize_t got = archive_read_data(a, out.data() + have, out.size() - have);
    if (got < 0) throw_unreadable(a, name);
    have += static_cast<std::size_t>(got);
    if (have > limit) throw_error("{}: is larger than 2^30 bytes", one_line(name));
    if (got == 0) {
      out.resize(have);
      return out;
    }
    if (have == out.size()) out.resize(2 * have);
  }
}

// Of the member whose header was read last; what comes next is the next header.
bool begins_as_image(archive* a, const std::string& name) {
  std::vector<std::uint8_t> head(image_head);
  std::size_t have = 0;
  for (la_ssize_t got = 1; got > 0 && have < head.size(); have += static_cast<std::size_t>(got)) {
    got = archive_read_data(a, head.data() + have, head.size() - have);
    if (got < 0) throw_unreadable(a, name);
  }
  head.resize(have);
  return looks_like_image(head);
}

std::string stem_of(const std::string& name) {
  return name.substr(0, name.size() - fs::path(name).extension().string().size());
}

// What the text of a stem says of its image.
struct Beside {
  std::vector<std::string> captions = {};
  std::string problem = {};  // why it cannot be read
};

Beside captions_of(const std::string& suffix, std::string bytes, const std::string& name) {
  std::string text;
  try {
    text = decode_text(std::move(bytes), one_line(name));
  } catch (const UsageError& e) {
    return {{}, e.what()};
  }
  if (suffix == ".txt") return {captions_in(text)};
  const auto json = nlohmann::json::parse(text, nullptr, false);
  std::string caption;
  for (const char* key : {"caption", "text"})
    if (caption.empty() && json.is_object() && json.contains(key) && json[key].is_string())
      caption = json[key].get<std::string>();
  while (!caption.empty() && std::isspace(static_cast<unsigned char>(caption.back())) != 0)
    caption.pop_back();
  if (caption.empty()) return {};
  return {{caption}};
}

bool is_parquet(const std::string& path) {
  return reads_parquet && lower(fs::path(path).extension().string()) == ".parquet";
}

// The members of an archive, asked for in ascending order.
class Members {
 public:
  explicit Members(std::string path) : path_(std::move(path)) {}

  std::vector<std::uint8_t> operator()(std::int64_t position) {
    if (!archive_) archive_ = open_archive(path_);
    archive_entry* entry = nullptr;
    while (at_ < position) {
      entry = next_header(archive_.get(), path_, at_ + 1);
      if (!entry) throw_error("{}: has become shorter while it was read; run it again", path_);
      ++at_;
    }
    const std::string name = name_of(entry);
    if (archive_entry_size(entry) > static_cast<la_int64_t>(longest))
      throw_error("{}: is larger than 2^30 bytes", one_line(name));
    return read_data<std::vector<std::uint8_t>>(archive_.get(), entry, name, longest);
  }

 private:
  std::string path_;
  std::shared_ptr<archive> archive_;
  std::int64_t at_ = -1;  // the member that was opened last
};

}  // namespace

bool is_archive(const std::string& path) {
  const fs::path file(lower(path));
  const std::string suffix = file.extension().string();
  static const std::set<std::string> whole{".tar", ".zip", ".tgz", ".tbz2", ".txz", ".tzst"};
  static const std::set<std::string> filters{".gz", ".bz2", ".xz", ".zst", ".lz4"};
  return is_parquet(path) || whole.contains(suffix) ||
         (filters.contains(suffix) && file.stem().extension() == ".tar");
}

void refuse_other_dataset(const std::string& path, const std::string& suffix) {
  struct Kind {
    const char *what, *rows;  // rows: what gives them in Python, {} being the path; null: nothing common
  };
  static const std::map<std::string, Kind> kinds{
      {".parquet", {"Parquet", "datasets.Dataset.from_parquet"}},
      {".arrow", {"Arrow of Hugging Face", "datasets.Dataset.from_file"}},
      {".beton", {"FFCV", nullptr}},
      {".lance", {"Lance", nullptr}},
      {".mds", {"MosaicML Streaming", nullptr}}};
  const auto kind = kinds.find(lower(suffix));
  if (kind == kinds.end() || (reads_parquet && kind->first == ".parquet")) return;
  const auto& [what, rows] = kind->second;
  std::error_code ignored;
  const bool folder = fs::is_directory(path, ignored);
  std::string how = "files, and pack their folder";
  if (rows)
    how = fmt::format(
        "files, in Python: for i, x in enumerate({}('{}')): x['image'].save(f'photos/{{i:07}}.png'), and "
        "pack photos",
        !folder              ? rows
        : suffix == ".arrow" ? "datasets.load_from_disk"
                             : "datasets.load_dataset",
        path);
  throw_error<UsageError>("{}: is a dataset of another kind ({}), which is not read; write its images as {}",
                          path, what, how);
}

std::vector<ImageFile> list_archive(const std::string& path, LeftOut& left_out) {
  if constexpr (reads_parquet)
    if (is_parquet(path)) return list_parquet(path);
  const auto a = open_archive(path);
  std::vector<ImageFile> images;
  std::map<std::string, std::size_t> known;  // of the images, by name
  std::map<std::string, Beside> captions;    // by stem
  std::int64_t position = 0;
  const auto add = [&](const std::string& name) {
    const auto [at, is_new] = known.emplace(name, images.size());
    if (!is_new) {
      ++left_out["replaced further on in its archive"];
      images[std::exchange(at->second, images.size())].position = -1;
    }
    images.push_back({path, name, "", name, {}, position});
  };
  for (; archive_entry* entry = next_header(a.get(), path, position); ++position) {
    const std::string name = name_of(entry), suffix = lower(fs::path(name).extension().string());
    if (archive_entry_filetype(entry) == AE_IFDIR) continue;
    const bool is_text = (suffix == ".txt" || suffix == ".json") &&
                         archive_entry_size(entry) <= static_cast<la_int64_t>(longest_text);
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) {
      ++left_out["link or device"];
    } else if (has_image_suffix(name) || (!is_text && begins_as_image(a.get(), name))) {
      add(name);
    } else if (is_text) {
      Beside beside = captions_of(suffix, read_data<std::string>(a.get(), entry, name, longest_text), name);
      if (suffix == ".txt" || !captions.contains(stem_of(name))) captions[stem_of(name)] = std::move(beside);
    } else {
      ++left_out[suffix.empty() ? "without suffix" : suffix];
    }
  }
  std::erase_if(images, [](const ImageFile& image) { return image.position < 0; });
  for (auto& image : images)
    if (const auto found = captions.find(stem_of(image.member)); found != captions.end()) {
      image.captions = found->second.captions;
      image.captions_problem = found->second.problem;
    }
  return images;
}

ArchiveReader::ArchiveReader(const std::string& path, std::vector<std::int64_t> positions)
    : positions_(std::move(positions)), next_(Members(path)) {
  if constexpr (reads_parquet)
    if (is_parquet(path)) next_ = parquet_rows(path);
}

std::vector<std::uint8_t> ArchiveReader::read(std::int64_t k) {
  std::unique_lock lock(mutex_);
  turn_.wait(lock, [&] { return turn_of_ == k; });
  struct Next {  // whatever comes of this one
    ArchiveReader& reader;
    ~Next() {
      ++reader.turn_of_;
      reader.turn_.notify_all();
    }
  } const after{*this};
  return next_(positions_[static_cast<std::size_t>(k)]);
}

}  // namespace vitral::data
