#include "data/embedding_file.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <regex>

#include <zip.h>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/hdf5/file.h"
#include "data/hdf5/heap_rows.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

// Where the bytes of an array come from: a file, or an entry of an archive.
using Read = std::function<void(void* to, std::size_t bytes)>;

Tensor squeezed(const Tensor& values, const std::string& what) {
  const Shape& shape = values.shape();
  if (shape.rank() == 3 && shape[1] == 1) return values.reshape({shape[0], shape[2]});
  if (shape.rank() != 2 || shape[1] < 1)
    throw_error<UsageError>("{}: is {}; embeddings are [N,D] or [N,1,D]", what, shape);
  return values;
}

// numpy.lib.format: the mark, the version, the length of the header, the header as a Python dictionary, the
// values.
Tensor read_npy(const Read& read, std::uint64_t size, const std::string& what) {
  const auto damaged = [&] { throw_error("{}: is truncated or damaged; write it again", what); };
  unsigned char mark[12] = {};
  if (size < sizeof mark) damaged();
  read(mark, 8);
  if (std::memcmp(mark, "\x93NUMPY", 6) != 0) throw_error<UsageError>("{}: is not a .npy file", what);
  const std::size_t count = mark[6] == 1 ? 2 : 4;
  read(mark + 8, count);
  std::size_t length = 0;
  for (std::size_t i = count; i-- > 0;) length = length << 8 | mark[8 + i];
  if (length > 4096 || 8 + count + length > size) damaged();
  std::string header(length, ' ');
  read(header.data(), length);
  std::smatch found;
  const auto field = [&](const char* pattern) {
    if (!std::regex_search(header, found, std::regex(pattern))) damaged();
    return found[1].str();
  };
  const std::string type = field("'descr' *: *'([^']*)'"), order = field("'fortran_order' *: *(\\w+)"),
                    dims = field("'shape' *: *\\(([^)]*)\\)");
  const DType dtype = type == "<f2" ? DType::float16 : type == "<f8" ? DType::float64 : DType::float32;
  if (type != "<f2" && type != "<f4" && type != "<f8")
    throw_error<UsageError>("{}: holds {}; store float32 or float16, little-endian", what, shown(type));
  if (order != "False")
    throw_error<UsageError>("{}: is stored column by column; write numpy.ascontiguousarray() of it", what);
  Shape shape;
  std::uint64_t bytes = size_of(dtype);
  const char* const end = dims.data() + dims.size();
  for (const char* at = dims.data(); at < end;) {
    std::int64_t dim = 0;
    const auto [stop, why] = std::from_chars(at, end, dim);
    if (why != std::errc{} || dim < 0 || shape.rank() == 4 ||
        __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dim), &bytes))
      damaged();
    shape = shape.append(dim);
    at = std::find_if(stop, end, [](char c) { return c >= '0' && c <= '9'; });
  }
  const std::uint64_t rest = size - 8 - count - length;
  if (bytes > rest)
    throw_error("{}: is truncated: {} bytes of values are needed, {} are there; copy it again", what, bytes,
                rest);
  Tensor values(shape, dtype);
  read(values.raw(), static_cast<std::size_t>(bytes));
  values = squeezed(values, what);
  return dtype == DType::float64 ? values.cast(DType::float32) : values;
}

Tensor read_npy_file(const std::string& path) {
  const InputFile file(path);
  std::uint64_t at = 0;
  return read_npy(
      [&](void* to, std::size_t bytes) {
        file.read(at, to, bytes);
        at += bytes;
      },
      file.size(), path);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + shown(name);
  return text;
}

// The one that is meant.
std::string chosen(const std::vector<std::string>& names, const std::string& name, const std::string& path) {
  if (name.empty() && names.size() == 1) return names.front();
  if (!name.empty() && std::find(names.begin(), names.end(), name) != names.end()) return name;
  if (names.empty()) throw_error<UsageError>("{}: holds no embeddings, float [N,D]", path);
  if (name.empty())
    throw_error<UsageError>("{}: holds several arrays: {}; choose one with --name", path, joined(names));
  throw_error<UsageError>("{}: has no {}; it has {}", path, name, joined(names));
}

Tensor read_npz(const std::string& path, const std::string& name) {
  { const InputFile readable(path); }
  const auto discard = [](zip_t* z) { zip_discard(z); };
  const std::unique_ptr<zip_t, decltype(discard)> archive(zip_open(path.c_str(), ZIP_RDONLY, nullptr),
                                                          discard);
  if (!archive) throw_error("{}: is no .npz archive, or damaged; write it again", path);
  std::vector<std::string> names;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
    const std::string entry = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    if (entry.ends_with(".npy")) names.push_back(entry.substr(0, entry.size() - 4));
  }
  const std::string entry = chosen(names, name, path) + ".npy", what = path + "/" + one_line(entry);
  zip_stat_t stat{};
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
      zip_fopen(archive.get(), entry.c_str(), ZIP_FL_ENC_RAW), zip_fclose);
  if (!file || zip_stat(archive.get(), entry.c_str(), ZIP_FL_ENC_RAW, &stat) != 0)
    throw_error("{}: cannot be read; write the file again", what);
  if (stat.size > (1 << 20) && stat.size / 1100 > stat.comp_size)  // more than deflate can hide
    throw_error("{}: claims {} bytes in {}, it is damaged; write the file again", what, stat.size,
                stat.comp_size);
  const auto damaged = [&] { throw_error("{}: is truncated or damaged; write it again", what); };
  Tensor rows = read_npy(
      [&](void* to, std::size_t bytes) {
        const zip_int64_t got = zip_fread(file.get(), to, bytes);
        if (got < 0 || static_cast<std::size_t>(got) != bytes) damaged();
      },
      stat.size, what);
  char end = 0;  // where the checksum is compared
  if (zip_fread(file.get(), &end, 1) != 0) damaged();
  return rows;
}

Tensor read_folder(const std::string& path) {
  const std::string folder = fs::is_directory(path + "/img_emb") ? path + "/img_emb" : path;
  std::vector<Tensor> parts;
  std::int64_t rows = 0;
  for (int i = 0; fs::exists(fmt::format("{}/img_emb_{}.npy", folder, i)); ++i) {
    parts.push_back(read_npy_file(fmt::format("{}/img_emb_{}.npy", folder, i)));
    rows += parts.back().dim(0);
    if (parts.back().dim(1) != parts.front().dim(1) || parts.back().dtype() != parts.front().dtype())
      throw_error<UsageError>("{}/img_emb_{}.npy: is {} {}, those before it {} wide {}", folder, i,
                              parts.back().dtype(), parts.back().shape(), parts.front().dim(1),
                              parts.front().dtype());
  }
  if (parts.empty())
    throw_error<UsageError>("{}: has no img_emb/img_emb_0.npy, as clip-retrieval writes it; name a file",
                            path);
  Tensor all({rows, parts.front().dim(1)}, parts.front().dtype());
  rows = 0;
  for (const auto& part : parts) {
    all.rows(rows, rows + part.dim(0)).copy_from(part);
    rows += part.dim(0);
  }
  return all;
}

EmbeddingFile read_hdf5(const std::string& path, std::string name) {
  const H5File file = H5File::open(path);
  std::vector<std::string> names;
  for (const auto& entry : file.contents()) {
    const bool is_float = entry.dtype == "float32" || entry.dtype == "float16" || entry.dtype == "float64";
    if (is_float && file.shape(entry.name).rank() >= 2) names.push_back(entry.name);
  }
  if (name.empty() && file.has("/embeddings")) name = "/embeddings";
  if (!name.empty() && !name.starts_with('/')) name = "/" + name;
  EmbeddingFile out;
  out.rows = file.read(chosen(names, name, path));
  if (out.rows.dtype() == DType::float64) out.rows = out.rows.cast(DType::float32);
  out.rows = squeezed(out.rows, path + ": " + name);
  if (file.has("/names") && file.shape("/names") == Shape{out.rows.dim(0)})
    out.names = read_text_rows(file, InputFile(path), "/names");
  return out;
}

}  // namespace

EmbeddingFile read_embedding_file(const std::string& path, const std::string& name) {
  std::error_code ignored;
  if (H5File::is_hdf5(path)) return read_hdf5(path, name);
  if (path.ends_with(".npz")) return {read_npz(path, name), {}};
  if (path.ends_with(".parquet"))
    throw_error<UsageError>(
        "{}: Parquet is not read; write numpy.stack(pandas.read_parquet(...)['embedding']) as .npy", path);
  if (path.ends_with(".pt") || path.ends_with(".pth"))
    throw_error<UsageError>("{}: is not read; write torch.load(...).numpy() as .npy", path);
  EmbeddingFile out{fs::is_directory(path, ignored) ? read_folder(path) : read_npy_file(path), {}};
  if (!name.empty())
    throw_error<UsageError>("{}: is one array, which has no name; leave --name {} out", path, shown(name));
  return out;
}

}  // namespace vitral::data
