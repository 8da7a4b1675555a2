#include "data/weights/torch_archive.h"

#include <string_view>

#include <zip.h>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/text.h"

namespace vitral::data {
namespace {

constexpr std::uint64_t max_pickle_bytes = 64 << 20;

}  // namespace

TorchArchive::TorchArchive(const std::string& path) : path_(path), file_bytes_(InputFile(path).size()) {
  int code = 0;
  zip_ = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (!zip_) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    throw_error("{}: cannot be read as a zip archive: {}; it is truncated or damaged, {}", path_, reason,
                torch_advice);
  }
  try {
    find_root();
    if (const auto order = find("byteorder"); order && text(*order) != "little")
      throw_error("{}: saved on a big-endian machine; save it again on a little-endian one", path_);
  } catch (...) {
    zip_discard(zip_);
    throw;
  }
}

TorchArchive::~TorchArchive() { zip_discard(zip_); }

// Everything lies in one folder, named after the file when it was saved.
void TorchArchive::find_root() {
  for (zip_int64_t i = 0; i < zip_get_num_entries(zip_, 0); ++i) {
    const char* raw = zip_get_name(zip_, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    const std::string_view name = raw ? raw : "";
    if (name.ends_with("/data.pkl") && name.find('/') == name.size() - 9) {
      root_ = name.substr(0, name.size() - 8);
      return;
    }
  }
  throw_error("{}: a zip archive without data.pkl, so not a file of torch.save; give a .pt file", path_);
}

std::optional<std::uint64_t> TorchArchive::find(const std::string& name) const {
  const auto index = zip_name_locate(zip_, (root_ + name).c_str(), ZIP_FL_ENC_RAW);
  if (index < 0) return {};
  return static_cast<std::uint64_t>(index);
}

std::uint64_t TorchArchive::size(std::uint64_t entry) const {
  zip_stat_t status;
  const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
  if (zip_stat_index(zip_, entry, 0, &status) != 0 || (status.valid & needed) != needed)
    throw_error("{}: entry {} cannot be read; {}", path_, entry, torch_advice);
  if (status.comp_method != ZIP_CM_STORE)
    throw_error("{}: entry {} is compressed, which torch.save never does; save it again with torch.save",
                path_, shown(status.name));
  if (status.size > file_bytes_)
    throw_error("{}: entry {} claims {} bytes in a file of {}; it is damaged, {}", path_, shown(status.name),
                status.size, file_bytes_, torch_advice);
  return status.size;
}

void TorchArchive::read(std::uint64_t index, void* to, std::uint64_t bytes) const {
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> entry(zip_fopen_index(zip_, index, 0), zip_fclose);
  auto* next = static_cast<char*>(to);
  bool good = entry != nullptr;
  while (good && bytes > 0) {
    const auto n = zip_fread(entry.get(), next, bytes);
    good = n > 0;
    if (!good) break;
    next += n;
    bytes -= static_cast<std::uint64_t>(n);
  }
  char end = 0;
  // libzip compares the checksum where the entry ends.
  if (good && zip_fread(entry.get(), &end, 1) == 0) return;
  const char* name = zip_get_name(zip_, index, ZIP_FL_ENC_RAW);
  throw_error("{}: entry {} is truncated or damaged ({}); {}", path_, shown(name ? name : "without a name"),
              entry ? zip_error_strerror(zip_file_get_error(entry.get())) : zip_strerror(zip_), torch_advice);
}

std::string TorchArchive::text(std::uint64_t entry) const {
  const std::uint64_t bytes_in_file = size(entry);
  if (bytes_in_file > max_pickle_bytes)
    throw_error("{}: a pickle of {} bytes, at most {} are read; save only the state dict", path_,
                bytes_in_file, max_pickle_bytes);
  std::string bytes(bytes_in_file, '\0');
  read(entry, bytes.data(), bytes.size());
  return bytes;
}

std::string TorchArchive::pickle() const { return text(*find("data.pkl")); }

}  // namespace vitral::data
