#include "data/parquet_images.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/ranges.h>
#include <parquet/api/reader.h>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t looked_at = 64;  // rows that tell whether a column holds images

using File = std::shared_ptr<parquet::ParquetFileReader>;

[[noreturn]] void throw_damaged(const std::string& path, const std::exception& e) {
  const std::string_view why = e.what();
  throw_error("{}: cannot be read as Parquet: {}; fetch it or write it again", path,
              one_line(why.substr(0, why.find('\n'))));
}

// Arrow's exceptions as errors of ours.
template <class F>
auto naming(const std::string& path, F&& f) {
  try {
    return f();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const parquet::ParquetStatusException& e) {
    const auto detail = e.status().detail();
    if (detail &&
        detail->type_id() == std::string_view("arrow::ErrnoDetail"))  // the system's, not the file's
      throw_error<ReadError>("{}: cannot be read: {}; check the disk", path, one_line(detail->ToString()));
    throw_damaged(path, e);
  } catch (const std::exception& e) {
    throw_damaged(path, e);
  }
}

File open_file(const std::string& path) {
  { const InputFile readable(path); }  // says why a file cannot be read
  auto properties = parquet::default_reader_properties();
  properties.enable_buffered_stream();  // else a row group's whole column is read at once
  return parquet::ParquetFileReader::OpenFile(path, /*memory_map=*/false, properties);
}

// A column of byte strings without lists, the rows one after the other.
class Column {
 public:
  Column(File file, int index)
      : file_(std::move(file)),
        index_(index),
        present_(file_->metadata()->schema()->Column(index)->max_definition_level()) {}

  // Null where the row has none; a view until the next call. Rows ascend.
  std::optional<std::string_view> at(std::int64_t row) {
    while (row >= end_) {
      values_.reset();
      damage_ = nullptr;
      next_ = end_;
      end_ += file_->metadata()->RowGroup(++group_)->num_rows();
    }
    // Behind damage the reader no longer knows which row is next: the rest of the row group is lost.
    if (damage_) std::rethrow_exception(damage_);
    try {
      return read(row);
    } catch (const std::exception&) {
      damage_ = std::current_exception();
      throw;
    }
  }

 private:
  std::optional<std::string_view> read(std::int64_t row) {
    if (!values_)
      values_ = std::static_pointer_cast<parquet::ByteArrayReader>(file_->RowGroup(group_)->Column(index_));
    if (row > next_) values_->Skip(row - next_);
    next_ = row + 1;
    std::int16_t level = present_;
    parquet::ByteArray value;
    std::int64_t count = 0;
    if (values_->ReadBatch(1, &level, nullptr, &value, &count) != 1)
      throw parquet::ParquetException(fmt::format("its rows end before row {}", row));
    if (level < present_) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(value.ptr), value.len);
  }

  File file_;
  int index_;
  std::int16_t present_;  // the definition level of a row that is not null
  int group_ = -1;
  std::int64_t next_ = 0, end_ = 0;  // the row that follows; behind the last of the row group
  std::shared_ptr<parquet::ByteArrayReader> values_;
  std::exception_ptr damage_;
};

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

bool holds_images(const File& file, int index) {
  Column column(file, index);
  const std::int64_t rows = std::min(file->metadata()->num_rows(), looked_at);
  for (std::int64_t row = 0; row < rows; ++row)
    if (const auto value = column.at(row); value && looks_like_image(bytes_of(*value))) return true;
  return false;
}

bool has_byte_strings(const parquet::ColumnDescriptor& column) {
  return column.physical_type() == parquet::Type::BYTE_ARRAY && column.max_repetition_level() == 0;
}

int image_column(const File& file, const std::string& path) {
  const auto& schema = *file->metadata()->schema();
  std::vector<int> structs, plain;
  std::vector<std::string> names;
  for (int i = 0; i < schema.num_columns(); ++i) {
    const auto& column = *schema.Column(i);
    const std::vector<std::string> place = column.path()->ToDotVector();
    names.push_back(column.path()->ToDotString());
    if (!has_byte_strings(column)) continue;
    if (place.size() == 2 && place[1] == "bytes") structs.push_back(i);
    if (place.size() == 1 && column.logical_type()->is_none())
      plain.insert(place[0] == "image" ? plain.begin() : plain.end(), i);
  }
  for (const auto& kind : {structs, plain})
    for (const int i : kind)
      if (holds_images(file, i)) return i;
  if (!structs.empty()) return structs.front();  // each row is listed with what is wrong with it
  throw_error<UsageError>(
      "{}: has no column of images, which hold the bytes of image files as struct<bytes, path> or binary; "
      "its columns: {}",
      path, shown(fmt::format("{}", fmt::join(names, ", ")), 500));
}

// Where there is one.
std::optional<Column> text_column(const File& file, const std::string& name) {
  const auto& schema = *file->metadata()->schema();
  const int index = schema.ColumnIndex(name);
  if (index < 0 || !has_byte_strings(*schema.Column(index))) return std::nullopt;
  return Column(file, index);
}

std::vector<ImageFile> list_rows(const std::string& path) {
  const File file = open_file(path);
  const std::int64_t rows = file->metadata()->num_rows();
  const int index = image_column(file, path);
  const std::string path_column =
      file->metadata()->schema()->Column(index)->path()->ToDotVector().front() + ".path";
  std::map<std::string, std::int64_t> times;  // of the paths
  if (auto paths = text_column(file, path_column))
    for (std::int64_t row = 0; row < rows; ++row) ++times[std::string(paths->at(row).value_or(""))];

  Column bytes(file, index);
  auto paths = text_column(file, path_column);
  auto captions = text_column(file, "caption");
  if (!captions) captions = text_column(file, "text");
  const std::string prefix = fs::path(path).filename().string() + "/";
  std::vector<ImageFile> images;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::string member, name;
    if (paths) name = member = paths->at(row).value_or("");
    if (member.empty() || times.at(member) > 1) {
      member = fmt::format("{}{}", row, image_suffix(bytes_of(bytes.at(row).value_or(""))));
      while (times.contains(member)) member.insert(0, "row ");
      name = prefix + member;
    }
    images.push_back({path, name, "", member, {}, row});
    if (const auto caption = captions ? captions->at(row) : std::nullopt; caption && !caption->empty())
      images.back().captions.emplace_back(*caption);
  }
  return images;
}

}  // namespace

std::vector<ImageFile> list_parquet(const std::string& path) {
  return naming(path, [&] { return list_rows(path); });
}

std::function<std::vector<std::uint8_t>(std::int64_t row)> parquet_rows(const std::string& path) {
  return [path, images = std::shared_ptr<Column>()](std::int64_t row) mutable {
    return naming(path, [&] {
      if (!images) {
        const File file = open_file(path);
        images = std::make_shared<Column>(file, image_column(file, path));
      }
      const auto bytes = images->at(row);
      if (!bytes) throw_error("{}: row {} holds no bytes of an image", path, row);
      return std::vector<std::uint8_t>(bytes->begin(), bytes->end());
    });
  };
}

}  // namespace vitral::data
