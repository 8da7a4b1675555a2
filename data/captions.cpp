#include "data/captions.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "data/annotations/coco_captions.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Take = std::function<void(const NamedCaption&)>;

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// The rows of a table whose fields may stand in quotes, as CSV has them: "" is a quote, and separators and
// line breaks within are text.
class Rows {
 public:
  Rows(std::string_view text, char separator) : text_(text), separator_(separator) {}

  // False at the end. Blank lines are skipped.
  bool next(std::vector<std::string>& fields) {
    fields.clear();
    while (at_ < text_.size() && fields.empty()) {
      line_ = lines_ + 1;
      do fields.push_back(field());
      while (ends_ == separator_);
      if (fields.size() == 1 && trimmed(fields.front()).empty()) fields.clear();
    }
    return !fields.empty();
  }
  // Of the row, from 1.
  std::int64_t line() const { return line_; }

 private:
  std::string field() {
    std::string out;
    bool quoted = at_ < text_.size() && text_[at_] == '"';
    if (quoted) ++at_;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') ++lines_;
      if (quoted && c == '"') {
        if (at_ + 1 < text_.size() && text_[at_ + 1] == '"')
          out += text_[++at_];
        else
          quoted = false;
      } else if (!quoted && (c == separator_ || c == '\n')) {
        ends_ = c;
        ++at_;
        return out;
      } else {
        out += c;
      }
    }
    ends_ = '\n';
    return out;
  }

  std::string_view text_;
  char separator_, ends_ = '\n';
  std::size_t at_ = 0;
  std::int64_t lines_ = 0, line_ = 0;  // that have ended; of the row
};

// Which columns of a table name the image and hold the caption, where its first line says so.
struct Header {
  char separator;
  std::size_t image, caption;

  static std::optional<Header> of(std::string_view text) {
    const std::string_view first = text.substr(0, text.find('\n'));
    for (const char separator : {'\t', ','}) {
      std::vector<std::string> fields;
      Rows(first, separator).next(fields);
      const auto column = [&](std::initializer_list<std::string_view> names) {
        const auto found = std::find_first_of(fields.begin(), fields.end(), names.begin(), names.end());
        return static_cast<std::size_t>(found - fields.begin());
      };
      const Header header{separator, column({"filepath", "image"}), column({"title", "caption"})};
      if (header.image < fields.size() && header.caption < fields.size()) return header;
    }
    return std::nullopt;
  }
};

void read_table(std::string_view text, const Header& header, const std::string& path, const Take& take) {
  Rows rows(text, header.separator);
  std::vector<std::string> fields;
  rows.next(fields);
  const std::size_t columns = fields.size();
  while (rows.next(fields)) {
    if (fields.size() != columns)
      throw_error<UsageError>(
          "{}:{}: has {} columns, but the header has {}; put quotes around a text with {}", path, rows.line(),
          fields.size(), columns, header.separator == '\t' ? "tabs" : "commas");
    take({fields[header.image], fields[header.caption], rows.line()});
  }
}

void read_object(const std::string& text, std::int64_t line, const std::string& at, const Take& take) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto is_text = [](const json& value) { return value.is_string(); };
  json captions;
  if (object.is_object() && object.contains("name") && object["name"].is_string()) {
    if (object.contains("caption") && object["caption"].is_string())
      captions = json::array({object["caption"]});
    else if (object.contains("captions") && object["captions"].is_array() &&
             std::all_of(object["captions"].begin(), object["captions"].end(), is_text))
      captions = object["captions"];
  }
  if (!captions.is_array())
    throw_error<UsageError>(R"({}: is not {{"name": "...", "caption": "..."}}, nor "captions": [...])", at);
  for (const json& caption : captions) take({object["name"], caption, line});
}

void read_lines_of(std::string_view text, const std::string& path, const Take& take) {
  const bool is_json = trimmed(text).front() == '{';
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    const std::string at = fmt::format("{}:{}", path, number);
    if (is_json) {
      read_object(line, number, at, take);
      continue;
    }
    const std::size_t tab = line.find('\t');
    if (tab == std::string::npos)
      throw_error<UsageError>("{}: has no tab; write the image's name, a tab and the caption", at);
    take({line.substr(0, tab), line.substr(tab + 1), number});
  }
}

// By the first key of the object that the file is.
bool is_coco(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  const InputFile file(path);
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 4096)), '\0');
  file.read(0, head.data(), head.size());
  std::string_view text = head;
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  text = trimmed(text);
  if (!text.starts_with('{')) return false;
  text = trimmed(text.substr(1));
  const auto is_first = [&](std::string_view key) { return text.starts_with('"' + std::string(key) + '"'); };
  constexpr std::array<std::string_view, 5> keys{"info", "licenses", "images", "annotations", "type"};
  return std::any_of(keys.begin(), keys.end(), is_first);
}

constexpr std::int64_t several = -1;  // images of one name

// Images by all that may name them.
class ImageNames {
 public:
  explicit ImageNames(const std::vector<ImageFile>& images) {
    for (std::size_t i = 0; i < images.size(); ++i) {
      const auto place = static_cast<std::int64_t>(i);
      const ImageFile& image = images[i];
      whole_.emplace(image.name, place);
      whole_.emplace(absolute(image.member.empty() ? image.path : image.path + "/" + image.member), place);
      const auto [at, is_new] = last_.emplace(fs::path(image.name).filename().string(), place);
      if (!is_new) at->second = several;
    }
  }

  // nullopt: no image.
  std::optional<std::int64_t> find(const std::string& name) const {
    for (const auto& [names, key] :
         {std::pair(&whole_, name), std::pair(&whole_, absolute(name)), std::pair(&last_, name)})
      if (const auto found = names->find(key); found != names->end()) return found->second;
    return std::nullopt;
  }

 private:
  static std::string absolute(const std::string& path) {
    std::error_code ignored;
    return fs::absolute(path, ignored).lexically_normal().string();
  }

  std::unordered_map<std::string, std::int64_t> whole_, last_;
};

}  // namespace

std::string NamedCaption::place(const std::string& path) const {
  return line > 0 ? fmt::format("{}:{}", path, line) : path;
}

void read_caption_file(const std::string& path, const Take& take) {
  bool any = false;
  const Take checked = [&](const NamedCaption& caption) {
    if (caption.text.size() > longest_caption)
      throw_error<UsageError>("{}: the caption of {} is {} bytes long; at most {} are taken",
                              caption.place(path), shown(caption.image), caption.text.size(),
                              longest_caption);
    any = true;
    take(caption);
  };
  if (is_coco(path)) {
    read_coco_captions(InputFile(path), [&](const std::string& image, const std::string& text) {
      checked({image, text, 0});
    });
  } else if (const std::string text = read_text(path); !trimmed(text).empty()) {
    if (const auto header = Header::of(text))
      read_table(text, *header, path, checked);
    else
      read_lines_of(text, path, checked);
  }
  if (!any)
    throw_error<UsageError>("{}: holds no captions; write lines of an image's name, a tab and a caption",
                            path);
}

void give_captions(const std::string& path, std::vector<ImageFile>& images) {
  const ImageNames names(images);
  for (ImageFile& image : images) image.captions.clear();
  std::unordered_set<std::string> unknown;
  NamedCaption first;
  read_caption_file(path, [&](const NamedCaption& caption) {
    const std::string text(trimmed(caption.text));
    const auto found = names.find(caption.image);
    if (!found) {
      if (unknown.empty()) first = caption;
      unknown.insert(caption.image);
    } else if (*found == several) {
      throw_error<UsageError>("{}: several images are called {}; name them as {}", caption.place(path),
                              shown(caption.image), shown(images.front().name));
    } else if (!text.empty()) {
      auto& captions = images[static_cast<std::size_t>(*found)].captions;
      captions.push_back(text);
      if (captions.size() > most_captions)
        throw_error<UsageError>("{}: {} has more than {} captions; leave some out", caption.place(path),
                                shown(caption.image), most_captions);
    }
  });
  if (!unknown.empty())
    throw_error<UsageError>(
        "{}: {} of its names {} of no image that is packed, the first {}; images are called {} and the like",
        first.place(path), unknown.size(), unknown.size() == 1 ? "is" : "are", shown(first.image),
        images.empty() ? "" : shown(images.front().name));
}

std::vector<std::string> captions_in(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
    if (const std::string_view line = trimmed(text.substr(begin, end - begin)); !line.empty())
      out.emplace_back(line);
    begin = end + 1;
  }
  return out;
}

std::string caption_problem(const std::vector<std::string>& captions) {
  if (captions.size() > most_captions)
    return fmt::format("has {} captions; at most {} are stored", captions.size(), most_captions);
  for (const std::string& caption : captions)
    if (caption.size() > longest_caption)
      return fmt::format("has a caption of {} bytes; at most {} are stored", caption.size(), longest_caption);
  return "";
}

}  // namespace vitral::data
