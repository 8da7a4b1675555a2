#include "data/weights/safetensors.h"

#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/mutated.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

NamedTensors all_types() {
  const Tensor values = Tensor::from(std::vector<float>{0, 1, 2, 200, 5, 96}, {2, 3});
  return {{"u8", values.cast(DType::uint8)},
          {"f16", values.cast(DType::float16)},
          {"f32", values},
          {"bf16", values.cast(DType::bfloat16)},
          {"i64", values.cast(DType::int64)},
          {"i8", Tensor::from(std::vector<std::int8_t>{-128, -127, -1, 0, 1, 127}, {2, 3})},
          {"f64", values.cast(DType::float64)},
          {"scalar", Tensor::full({}, 3.25)},
          {"empty", Tensor({0, 4})}};
}

// A file with this header (not padded) and `data` bytes of zeros after it.
std::string file_with(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data, '\0');
}

TEST(Safetensors, RoundTripOfEveryType) {
  const TempDir folder;
  const std::string path = folder / "a.safetensors";
  const std::map<std::string, std::string> metadata{{"config", "model:\n  width: 8 # \"ä\"\n"},
                                                    {"format", "pt"}};
  const FileDigest digest = write_safetensors(path, all_types(), metadata);
  EXPECT_EQ(digest, digest_of(path));
  const WeightsFile read = read_safetensors(path);
  EXPECT_EQ(read.metadata, metadata);
  ASSERT_EQ(read.tensors.size(), all_types().size());
  std::map<std::string, Tensor> by_name(read.tensors.begin(), read.tensors.end());
  for (const auto& [name, tensor] : all_types()) {
    ASSERT_TRUE(by_name.contains(name)) << name;
    EXPECT_EQ(by_name[name].shape(), tensor.shape()) << name;
    EXPECT_EQ(by_name[name].dtype(), tensor.dtype()) << name;
    EXPECT_EQ(by_name[name].to_vector(), tensor.to_vector()) << name;
  }
  // What was read and is written again gives the same bytes.
  write_safetensors(folder / "b.safetensors", read.tensors, read.metadata);
  EXPECT_EQ(bytes_of_file(folder / "b.safetensors"), bytes_of_file(path));
}

TEST(Safetensors, MappedTensorsAreThoseOfTheFile) {
  const TempDir folder;
  const std::string path = folder / "a.safetensors";
  write_safetensors(path, all_types());
  const std::string before = bytes_of_file(path);
  const std::size_t in_use = allocator_stats(cpu).bytes_in_use;
  WeightsFile mapped = read_safetensors(path, TensorMemory::mapped);
  EXPECT_EQ(allocator_stats(cpu).bytes_in_use, in_use);  // nothing is copied
  const WeightsFile copied = read_safetensors(path);
  ASSERT_EQ(mapped.tensors.size(), copied.tensors.size());
  for (std::size_t i = 0; i < copied.tensors.size(); ++i) {
    EXPECT_EQ(mapped.tensors[i].first, copied.tensors[i].first);
    EXPECT_EQ(mapped.tensors[i].second.dtype(), copied.tensors[i].second.dtype());
    EXPECT_EQ(mapped.tensors[i].second.shape(), copied.tensors[i].second.shape());
    EXPECT_EQ(mapped.tensors[i].second.to_vector(), copied.tensors[i].second.to_vector());
  }
  // What is written into them stays here, and what happens to the file's name is of no concern to them.
  Tensor first = mapped.tensors[0].second;
  first.fill(7);
  EXPECT_EQ(bytes_of_file(path), before);
  write_safetensors(path, {{"other", Tensor::full({100000}, 1)}});
  std::filesystem::remove(path);
  EXPECT_EQ(first.to_vector(), std::vector<double>(6, 7));
  for (std::size_t i = 1; i < copied.tensors.size(); ++i)
    EXPECT_EQ(mapped.tensors[i].second.to_vector(), copied.tensors[i].second.to_vector());
}

TEST(Safetensors, MappedTensorsThatLieBetweenElementsAreCopied) {
  const TempDir folder;
  const std::string path = folder / "a.safetensors";
  std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string bytes = file_with(header, 9);
  const float values[] = {1.5F, -2};
  std::memcpy(bytes.data() + bytes.size() - 8, values, 8);
  put_file(path, bytes);
  for (const auto memory : {TensorMemory::own, TensorMemory::mapped}) {
    const Tensor b = read_safetensors(path, memory).tensors.at(1).second;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.raw()) % 4, 0U);
    EXPECT_EQ(b.to_vector(), (std::vector<double>{1.5, -2}));
  }
}

TEST(Safetensors, BytesAreThoseOfTheFormat) {
  const TempDir folder;
  const std::string path = folder / "a.safetensors";
  write_safetensors(
      path, {{"b", Tensor::from(std::vector<std::uint8_t>{7, 8}, {2})}, {"a", Tensor::full({1}, 1.0)}},
      {{"k", "v"}});
  // Wide elements first, the header padded with spaces so that the data starts at a multiple of 64.
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})";
  const std::string padded = header + std::string((64 - (header.size() + 8) % 64) % 64, ' ');
  EXPECT_EQ(bytes_of_file(path), file_with(padded, 0) + std::string("\0\0\x80\x3f\x07\x08", 6));
}

TEST(Safetensors, ReadsTheReferencesFile) {
  VITRAL_NEEDS_SHARED(path, "golden/run_init.safetensors");
  const WeightsFile file = read_safetensors(path);
  EXPECT_EQ(file.metadata.at("format"), "pt");
  ASSERT_FALSE(file.tensors.empty());
  EXPECT_EQ(file.tensors[0].first, "positional_embedding");
  EXPECT_EQ(file.tensors[0].second.shape(), (Shape{64, 36}));
  EXPECT_EQ(file.tensors[1].second.item(), 1.0);
}

struct Hostile {
  const char* header;
  std::size_t data;
  const char* message;  // what must stand in the error
};

#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

const Hostile hostile_headers[] = {
    {"", 0, "does not start with '{'"},
    {" {}", 0, "does not start with '{'"},
    {"[]", 0, "does not start with '{'"},
    {"{", 0, "not valid JSON"},
    {"{}}", 0, "not valid JSON"},
    {"{}x", 0, "not valid JSON"},
    {"{\"a\"}", 0, "not valid JSON"},
    {"{\"a\":", 0, "not valid JSON"},
    {"{\"\xff\":1}", 0, "not valid JSON"},
    {"{'a':1}", 0, "not valid JSON"},
    {"{}", 1, "describes 0 bytes of data, the file has 1"},
    {"{\"a\":null}", 0, "null where none belongs"},
    {"{\"a\":true}", 0, "a boolean where none belongs"},
    {"{\"a\":1}", 0, "a number where none belongs"},
    {"{\"a\":\"b\"}", 0, "a text where none belongs"},
    {"{\"a\":[]}", 0, "a list where none belongs"},
    {"{\"a\":{}}", 0, "tensor 'a': dtype is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, "tensor 'a': data_offsets is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor 'a': shape is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "dtype is there twice"},
    {"{\"a\":{\"dtype\":4}}", 0, "a number where none belongs"},
    {"{\"a\":{\"dtype\":{}}}", 0, "an object where none belongs"},
    {"{\"a\":{\"kind\":\"F32\"}}", 0, "'kind' is unknown"},
    {"{\"a\":{\"shape\":\"x\"}}", 0, "a text where none belongs"},
    {"{\"a\":{\"shape\":[[1]]}}", 0, "a list where none belongs"},
    {"{\"a\":{\"shape\":[{}]}}", 0, "an object where none belongs"},
    {"{\"a\":{\"shape\":{}}}", 0, "an object where none belongs"},
    {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "-1 must not be negative"},
    {"{\"a\":" T("F32", "[1.5]", "[0,4]") "}", 4, "1.5 is not an unsigned 64-bit integer"},
    {"{\"a\":" T("F32", "[1e2]", "[0,4]") "}", 4, "1e2 is not an unsigned 64-bit integer"},
    {"{\"a\":" T("F32", "[18446744073709551616]", "[0,4]") "}", 4, "is not an unsigned 64-bit integer"},
    {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8 dimensions"},
    {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, "data_offsets need 2 numbers"},
    {"{\"a\":" T("F32", "[1]", "[]") "}", 4, "data_offsets need 2 numbers"},
    {"{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 4, "more than 2 data_offsets"},
    {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "are outside of the 4 bytes"},
    {"{\"a\":" T("F32", "[1]", "[0,8]") "}", 4, "are outside of the 4 bytes"},
    {"{\"a\":" T("F32", "[1]", "[18446744073709551612,18446744073709551615]") "}", 4,
     "are outside of the 4 bytes"},
    {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, "F32 [2] needs 8 bytes, data_offsets give 4"},
    {"{\"a\":" T("F32", "[4611686018427387905]", "[0,4]") "}", 4, "shape [4611686018427387905] is too large"},
    {"{\"a\":" T("U8", "[18446744073709551615]", "[0,4]") "}", 4, "is too large"},
    {"{\"a\":" T("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "is too large"},
    {"{\"a\":" T("U8", "[0,4294967296,4294967296]", "[0,0]") "}", 0, "is too large"},
    {"{\"a\":" T("I32", "[1]", "[0,4]") "}", 4,
     "tensor 'a': dtype 'I32' is not supported; convert it to one of F32"},
    {"{\"a\":" T("BOOL", "[4]", "[0,4]") "}", 4, "dtype 'BOOL' is not supported"},
    {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, "dtype 'f32' is not supported"},
    {"{\"a\":" T("", "[1]", "[0,4]") "}", 4, "dtype '' is not supported"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2, "'a' is there twice"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3,
     "'b' overlaps another at byte 1"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2,
     "overlaps another at byte 0"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[2,3]") "}", 3,
     "'b' leaves a gap at byte 2"},
    {"{\"a\":" T("U8", "[1]", "[1,2]") "}", 2, "'a' leaves a gap at byte 1 of the data, expected 0"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") "}", 3, "describes 1 bytes of data, the file has 3"},
    {"{\"__metadata__\":[]}", 0, "a list where none belongs"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ 'a': a number where none belongs"},
    {"{\"__metadata__\":{\"a\":{}}}", 0, "__metadata__ 'a': an object where none belongs"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "__metadata__: 'a' is there twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "'__metadata__' is there twice"},
    {"{\"a\\nb\":{\"dtype\":\"F32\"}}", 0, "tensor 'a\\x0ab': shape is missing"},
};

TEST(Safetensors, HostileHeadersAreOneClearLine) {
  const TempDir folder;
  const std::string path = folder / "x.safetensors";
  for (const auto& [header, data, expected] : hostile_headers) {
    put_file(path, file_with(header, data));
    const std::string message = message_of([&] { read_safetensors(path); });
    EXPECT_NE(message.find(expected), std::string::npos) << header << "\n  " << message;
    EXPECT_TRUE(message.starts_with(path + ": ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Safetensors, DeeplyNestedHeaderIsRefusedAtOnce) {
  const TempDir folder;
  const std::string path = folder / "x.safetensors";
  put_file(path, file_with("{\"a\":" + std::string(3'000'000, '['), 0));
  EXPECT_EQ(message_of([&] { read_safetensors(path); }),
            path + ": the header: a list where none belongs; the file is damaged or not a safetensors file");
}

TEST(Safetensors, ManyTinyEntriesAreRefused) {
  const TempDir folder;
  const std::string path = folder / "x.safetensors";
  std::string tensors = "{", metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 100'001; ++i) {
    tensors += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", i ? "," : "", i);
    metadata += fmt::format(R"({}"{}":"")", i ? "," : "", i);
  }
  put_file(path, file_with(tensors + "}", 0));
  EXPECT_EQ(message_of([&] { read_safetensors(path); }),
            path + ": more than 100000 tensors; the file is damaged or not a safetensors file");
  put_file(path, file_with(metadata + "}}", 0));
  EXPECT_EQ(message_of([&] { read_safetensors(path); }),
            path + ": __metadata__: more than 100000 entries; the file is damaged or not a safetensors file");
}

TEST(Safetensors, LengthsThatDoNotFit) {
  const TempDir folder;
  const std::string path = folder / "x.safetensors";
  put_file(path, "1234567");
  EXPECT_EQ(message_of([&] { read_safetensors(path); }),
            path + ": 7 bytes are too few for a safetensors file; it is truncated or of another kind");
  put_file(path, file_with("{}", 0).substr(0, 9));
  EXPECT_EQ(message_of([&] { read_safetensors(path); }),
            path + ": a header of 2 bytes in a file of 9; it is truncated or not a safetensors file");
  put_file(path, std::string(8, '\xff') + "{}");
  EXPECT_EQ(message_of([&] { read_safetensors(path); }),
            path +
                ": a header of 18446744073709551615 bytes, at most 100000000 are allowed; this is not a "
                "safetensors file");
  EXPECT_FALSE(looks_like_safetensors(path));
}

TEST(Safetensors, WhatIsWrittenCanBeRead) {
  const TempDir folder;
  const std::string path = folder / "x.safetensors";
  NamedTensors tensors;  // the optimiser of 300 layers: a header of more than 1 MB
  for (int i = 0; i < 10'000; ++i)
    tensors.emplace_back(fmt::format("exp_avg_sq.transformer.resblocks.{}.attn.in_proj_weight", i),
                         Tensor::full({1}, i));
  write_safetensors(path, tensors);
  EXPECT_EQ(read_safetensors(path).tensors.size(), tensors.size());
  const std::map<std::string, std::string> long_text{{"text", std::string(max_header_bytes, 'x')}};
  EXPECT_EQ(message_of([&] { write_safetensors(path, {}, long_text); }),
            path + ": a header of 100000056 bytes, at most 100000000 are allowed; shorten the metadata");
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const TempDir folder;
  const std::string whole = folder / "whole", path = folder / "cut";
  write_safetensors(whole, all_types(), {{"a", "b"}});
  const std::string bytes = bytes_of_file(whole);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    put_file(path, bytes.substr(0, size));
    const std::string why = message_of([&] { read_safetensors(path); });
    EXPECT_NE(why, "") << size;
    EXPECT_EQ(message_of([&] { read_safetensors(path, TensorMemory::mapped); }), why);
  }
}

TEST(Safetensors, RandomMutantsNeverCrash) {
  const TempDir folder;
  const std::string path = folder / "m.safetensors";
  write_safetensors(path, all_types(), {{"a", "b"}});
  const std::string original = bytes_of_file(path);
  Random random(7);
  int read = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    put_file(path, test::mutated(original, "0123456789[]{},\":", random));
    try {
      const auto memory = i % 2 == 0 ? TensorMemory::own : TensorMemory::mapped;
      const WeightsFile file = read_safetensors(path, memory);
      for (const auto& [name, tensor] : file.tensors) static_cast<void>(tensor.to_vector());
      ++read;
    } catch (const Error& e) {
      EXPECT_EQ(std::string_view(e.what()).find('\n'), std::string_view::npos) << e.what();
      ++refused;
    }
  }
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 1000);
}

TEST(Safetensors, WrongRequests) {
  const TempDir folder;
  EXPECT_EQ(message_of([&] { read_safetensors(folder / "none"); }), folder / "none" + ": no such file");
  EXPECT_EQ(message_of([&] { read_safetensors(folder.str()); }),
            folder.str() + ": is a directory, not a file; give a regular file");
  const std::string path = folder / "x";
  const Tensor one = Tensor::zeros({1});
  EXPECT_EQ(message_of([&] {
              write_safetensors(path, {{"a", one}, {"a", one}});
            }),
            path + ": the name 'a' is there twice or reserved");
  EXPECT_EQ(message_of([&] {
              write_safetensors(path, {{"__metadata__", one}});
            }),
            path + ": the name '__metadata__' is there twice or reserved");
  EXPECT_EQ(message_of([&] {
              write_safetensors(path, {{"a", Tensor()}});
            }),
            path + ": tensor 'a' is undefined");
  EXPECT_EQ(message_of([&] {
              write_safetensors(path, {{"\xff", one}});
            }),
            path + ": '\xff' is not valid UTF-8; names and metadata must be");
  EXPECT_EQ(message_of([&] {
              write_safetensors(folder / "no/x", {{"a", one}});
            }),
            folder / "no/x" + ": cannot write: No such file or directory; create the folder first");
  EXPECT_TRUE(std::filesystem::is_empty(folder.str()));
}

}  // namespace
}  // namespace vitral::data
