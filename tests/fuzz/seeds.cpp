// Writes what the fuzz targets begin with: FOLDER/TARGET/..., small valid files of every kind, and files of
// the tests.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/files/input_file.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/text/learn_byte_pairs.h"
#include "data/text/piece_model.h"
#include "data/text/vocabulary.h"
#include "data/weights/onnx_file.h"
#include "data/weights/torch_write.h"
#include "tests/fuzz/zip_of.h"
#include "train/config.h"

namespace {

namespace fs = std::filesystem;
using namespace vitral;

std::string folder;

std::string place(const std::string& target, const std::string& name) {
  fs::create_directories(fs::path(folder) / target);
  return (fs::path(folder) / target / name).string();
}
void put(const std::string& target, const std::string& name, const std::string& bytes) {
  std::ofstream(place(target, name), std::ios::binary) << bytes;
}
std::string file(const std::string& path) { return read_text_file(path, 1 << 20); }

data::NamedTensors some_tensors() {
  data::NamedTensors out;
  for (const DType dtype :
       {DType::float32, DType::float64, DType::float16, DType::bfloat16, DType::uint8, DType::int64})
    out.emplace_back(std::string("t.") + name(dtype), Tensor::full({2, 3}, 1.5).cast(dtype));
  out.emplace_back("number", Tensor::full({}, 3));
  out.emplace_back("nothing", Tensor::full({0, 4}, 0));
  return out;
}

// data.pkl of a .pt file in the tests; entries are stored, so it stands there as it is.
std::string pickle_of(const std::string& path) {
  const std::string bytes = file(path), mark = "/data.pkl";
  const std::size_t header = bytes.rfind("PK\3\4", bytes.find(mark));
  const auto number = [&](std::size_t at, int count) {
    std::size_t value = 0;
    for (int i = count - 1; i >= 0; --i)
      value = value << 8 | static_cast<unsigned char>(bytes[header + at + static_cast<std::size_t>(i)]);
    return value;
  };
  const std::size_t begin = header + 30 + number(26, 2) + number(28, 2);
  return bytes.substr(begin, bytes.find(std::string("PK\7\b"), begin) - begin);
}

void weights() {
  data::write_safetensors(place("safetensors", "all"), some_tensors(),
                          {{"model.width", "16"}, {"format", "pt"}});
  data::write_safetensors(place("safetensors", "int8"), {{"w", Tensor::full({2, 3}, -5, DType::int8)},
                                                         {"w.scale", Tensor::full({2}, 0.01)}});
  data::write_safetensors(place("safetensors", "one"), {{"w", Tensor::full({4}, 1)}});
  data::write_safetensors(place("safetensors", "none"), {});
  data::write_torch_file(place("torch_file", "all"), some_tensors(), {{"model.width", "16"}});
  put("torch_file", "tiny", file("tests/golden/tiny.pt"));
  put("torch_file", "torchscript", file("tests/golden/tiny_torchscript.pt"));
  for (const char* name : {"tiny", "tiny_torchscript", "run_torch"})
    put("pickle", name, pickle_of(std::string("tests/golden/") + name + ".pt"));
}

void onnx() {
  data::OnnxModel model("seed");
  model.input("x", {"batch", std::int64_t{3}});
  model.node("MatMul", {"x", model.constant("w", Tensor::full({3, 2}, 1))}, {}, "y");
  model.node("Softmax", {"y"},
             {{"axis", std::int64_t{-1}}, {"f", 0.5F}, {"i", std::vector<std::int64_t>{1, 2}}}, "z");
  model.output("z", {"batch", std::int64_t{2}});
  model.write(place("onnx", "small"), {{"model.width", "2"}});
}

void images() {
  Tensor image({9, 11, 3}, DType::uint8);
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(37 * i);
  for (const int quality : {10, 90}) {
    const auto jpeg = data::encode_jpeg(image, quality);
    put("image", "jpeg" + std::to_string(quality), {jpeg.begin(), jpeg.end()});
  }
  const auto png = data::encode_png(image);
  put("image", "png", {png.begin(), png.end()});
  const auto formats = data::H5File::open("tests/golden/images.h5");
  for (const std::string& name : formats.list("encoded")) {
    const Tensor bytes = formats.read("encoded/" + name);
    const auto* begin = bytes.data<std::uint8_t>();
    put("image", name, {begin, begin + bytes.numel()});
  }
}

void annotations() {
  const std::string folder_of = "tests/golden/annotations/";
  put("coco", "small", file(folder_of + "coco/instances.json"));
  for (const char* name : {"2007_000001", "2007_000002", "2007_000003"})
    put("voc", name, file(folder_of + "voc/Annotations/" + name + ".xml"));
  for (const char* name :
       {"voc/SegmentationClass/2007_000001", "ade/annotations/val/1", "ade/annotations/val/2"})
    put("image", "labels_" + fs::path(name).stem().string(), file(folder_of + name + ".png"));
}

void captions() {
  put("captions", "table", "a.png\ta cat\n\nb/c.png\ta \"red\" dog\n");
  put("captions", "tsv", "filepath\ttitle\na.png\ta cat\nb.png\t\"a \"\"red\"\" dog\"\n");
  put("captions", "csv", "id,title,image\n1,\"one,\ntwo\",a.png\n2,x,b.png\n");
  put("captions", "lines",
      "{\"name\": \"a.png\", \"caption\": \"x\"}\n{\"name\": \"b\", \"captions\": [\"y\", \"z\"]}\n");
  put("captions", "coco",
      R"({"annotations": [{"image_id": 7, "id": 1, "caption": "a cat"}, {"image_id": 9, "caption": "a dog"}],
          "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "coco_url": "http://x/b.png"}]})");
}

void configurations() {
  put("yaml", "default", to_yaml(train::Config{}));
  for (const auto& entry : fs::directory_iterator("configs"))
    if (entry.path().extension() == ".yaml") put("yaml", entry.path().stem(), file(entry.path()));
  put("yaml", "override", std::string("train: {epochs: 3}\n") + '\0' + "train.optimizer={lr: 1e-4}");
}

// A few pieces, and a table of replacements of one entry: "a" becomes "x".
data::PieceModel siglip() {
  data::PieceModel model;
  using enum data::Piece::Type;
  model.pieces = {{"<pad>", 0, control},         {"</s>", 0, control},        {"<unk>", 0, unknown},
                  {"\u2581", -2, normal},        {"\u2581photo", -3, normal}, {"x", -4, normal},
                  {"\u2581of", -3, user_defined}};
  std::vector<std::uint32_t> trie(768);
  trie[0] = 256 << 10;
  trie[256 ^ 'a'] = ((256 ^ 'a') ^ 512U) << 10 | 1U << 8 | 'a';
  trie[512] = 1U << 31;
  model.replacements = le32(4 * trie.size());
  for (const std::uint32_t unit : trie) model.replacements += le32(unit);
  model.replacements += std::string("x\0", 2);
  return model;
}

void texts() {
  put("tokenizer", "words",
      "A photo of a CAT's 3 dogs, &amp; caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac <|endoftext|>");
  put("tokenizer", "broken", "\xff\xfe half \xc3");
  put("learned_vocabulary", "captions",
      "a photo of a cat, a photo of two cats; a caf\xc3\xa9's caf\xc3\xa9 &amp; 3 dogs");
  put("vocabulary", "merges", file("tests/golden/tokenizer_merges.txt"));
  const fs::path learned = fs::temp_directory_path() / fmt::format("vitral-seeds-{}", ::getpid());
  fs::create_directory(learned);
  data::WordCounts words;
  data::count_words("a photo of a cat, a photo of two cats", words);
  data::write_vocabulary(learned.string(), data::learn_byte_pairs(words, 100));
  put("vocabulary", "learned",
      file((learned / "merges.txt").string()) + '\0' + file((learned / "vocab.json").string()));
  fs::remove_all(learned);
  put("weights_index", "two",
      R"({"metadata": {"total_size": 8}, "weight_map": {"a.weight": "seeds.cpp", "b": ".."}})");
  put("product_file", "two",
      R"({"multiplier":"NVIDIA H200 9.0, cuBLASLt 13.1.0","m":64,"n":1584,"k":528,"batch":1,"transpose_a":false,)"
      R"("transpose_b":true,"shared_b":false,"accumulate":false,"epilogue":"bias","inputs":"bfloat16",)"
      R"("output":"bfloat16","tf32":false,"alignment":[256,256,256,16],"id":66,"tile":409,"stages":35,)"
      R"("split_k":4,"reduction":2,"swizzle":0,"custom":0,"inner_shape":0,"cluster_shape":3,)"
      R"("means":"128x176","microseconds":301.25,"first_microseconds":340.5})"
      "\n");
  put("vocabulary", "short", "#version: 0.2\na b</w>\nab c\n");
  put("vocabulary", "json", file("tests/golden/clip_tokenizer.json"));
  put("piece_model", "siglip2", file("tests/golden/sentence_piece/tokenizer.model"));
  put("piece_model", "siglip", siglip().serialised());
  put("piece_model", "json",
      R"({"model": {"type": "BPE", "byte_fallback": true, "vocab": {"<pad>": 0, "<eos>": 1, "<unk>": 2, "a": 3}}})");
}

// A byte of which file, then edits (hdf5.cpp).
void datasets() {
  for (char which = 0; which < 13; ++which) {
    put("hdf5", "plain" + std::to_string(which), {which});
    put("hdf5", "edits" + std::to_string(which),
        std::string(1, which) + std::string("\0\x10\0\xff\1\x20\0\1\0\0\0\0\0\0\0", 15));
  }
}

// Which file, which of its datasets, then an edit of a byte (chunk_index.cpp).
void chunk_indexes() {
  for (char file = 0; file < 5; ++file)
    for (char dataset = 0; dataset < 24; ++dataset)
      put("chunk_index", std::to_string(file) + "-" + std::to_string(dataset),
          std::string{file, dataset, 1, dataset, 0, 9, 0} + std::string(8, '\1'));
}

// A shard with an image, a caption and what is left out.
std::string archive_of(bool zip, bool gzip) {
  std::string bytes(1 << 16, 0);
  std::size_t used = 0;
  archive* const a = archive_write_new();
  if (zip)
    archive_write_set_format_zip(a);
  else
    archive_write_set_format_pax_restricted(a);
  if (gzip) archive_write_add_filter_gzip(a);
  archive_write_set_bytes_in_last_block(a, 1);
  archive_write_open_memory(a, bytes.data(), bytes.size(), &used);
  const std::vector<std::pair<const char*, std::string>> members{{"0.jpg", "some pixels"},
                                                                 {"0.txt", "a cat"},
                                                                 {"a/1.png", std::string(300, 'x')},
                                                                 {"a/1.json", R"({"caption": "two"})"},
                                                                 {"0.jpg", "again"},
                                                                 {"b.mp4", ""}};
  for (const auto& [name, data] : members) {
    archive_entry* const entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_size(entry, static_cast<la_int64_t>(data.size()));
    archive_write_header(a, entry);
    archive_write_data(a, data.data(), data.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  bytes.resize(used);
  return bytes;
}

void archives() {
  put("archive", "tar", archive_of(false, false));
  put("archive", "tar.gz", archive_of(false, true));
  put("archive", "zip", archive_of(true, false));
  const auto npy = [](std::string header, std::size_t bytes) {
    header.resize(117, ' ');
    return std::string("\x93NUMPY\1\0\x76\0", 10) + header + "\n" + std::string(bytes, 1);
  };
  const std::string floats = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24);
  for (const char kind : {'\0', '\3'}) {
    put("embedding_file", "float32" + std::to_string(kind), kind + floats);
    put("embedding_file", "float64" + std::to_string(kind),
        kind + npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1, 3), }", 48));
  }
  put("embedding_file", "npz", '\1' + fuzz::zip_of({{"e.npy", floats}}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER (from the root of the tree)\n");
    return 2;
  }
  folder = argv[1];
  data::H5File::read_here(true);  // as the targets do: sanitizers may end a child
  try {
    weights();
    onnx();
    images();
    annotations();
    captions();
    configurations();
    datasets();
    chunk_indexes();
    texts();
    archives();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fuzz_seeds: %s\n", e.what());
    return 1;
  }
  return 0;
}
