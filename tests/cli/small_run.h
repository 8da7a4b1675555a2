// A run small enough to be repeated often: datasets of noise, a student of one layer, and what it left
// behind.
#pragma once
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/hdf5/file.h"
#include "data/weights/weights.h"
#include "models/student/student.h"
#include "tests/cli/program.h"
#include "tests/noise.h"

namespace vitral::test {

inline constexpr int small_size = 64;   // pixels a side
inline constexpr int small_width = 16;  // of an embedding

inline models::StudentConfig small_student(int layers = 1, const std::string& attention = "neighbourhood") {
  models::StudentConfig c;
  c.image_size = small_size;
  c.patch_size = 16;
  c.width = small_width;
  c.layers = layers;
  c.heads = 2;
  c.attention = attention;
  return c;
}

/// Images of noise, and embeddings that `change` may spoil; an undefined tensor leaves them out.
inline void write_dataset(const std::string& path, std::int64_t count,
                          const std::function<void(Tensor& embeddings)>& change = {},
                          std::uint64_t seed = 1) {
  data::H5File file = data::H5File::create(path);
  file.write("/images", noise({count, small_size, small_size, 3}, seed, DType::uint8), 1);
  Tensor embeddings = noise({count, small_width}, seed + 1, DType::float32);
  if (change) change(embeddings);
  if (embeddings.defined()) file.write("/embeddings", embeddings);
  file.close();
}

/// Spoils the embedding of one image, or of all.
inline std::function<void(Tensor&)> embedding_of(std::optional<std::int64_t> image, float value) {
  return [=](Tensor& e) {
    std::fill(e.data<float>() + image.value_or(0) * small_width,
              e.data<float>() + (image ? *image + 1 : e.dim(0)) * small_width, value);
  };
}

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// A folder with train.h5 and config.yaml; every run in it has a folder of its own.
class SmallRun {
 public:
  explicit SmallRun(std::int64_t images = 24, bool validation = false) {
    write_dataset(train(), images);
    if (validation) write_dataset(folder_ / "val.h5", 16, {}, 7);
    write_config("{image_size: 64, patch_size: 16, width: 16, layers: 1, heads: 2}", validation);
  }

  std::string operator/(const std::string& name) const { return folder_ / name; }
  std::string folder() const { return folder_.str(); }
  std::string config() const { return folder_ / "config.yaml"; }
  std::string train() const { return folder_ / "train.h5"; }
  std::string output(const std::string& name) const { return folder_ / name; }
  /// The arguments of `vitral train`; more: key=value and options.
  Program::Arguments arguments(const Program::Arguments& more = {}) const {
    Program::Arguments out{"train", config()};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  Result operator()(const Program::Arguments& more = {}) const { return run(arguments(more)); }

 protected:
  void write_config(const std::string& model, bool validation) const {
    std::ofstream(config()) << "model: " << model << "\ndata: {train: [" << train() << "], val: ["
                            << (validation ? folder_ / "val.h5" : "") << "], augment: none, workers: 2}\n"
                            << "train: {batch_size: 8, epochs: 2, log_every: 1, device: cpu,\n"
                            << "        scheduler: {name: constant}, output: " << output("run") << "}\n";
  }

 private:
  TempDir folder_;
};

/// The checkpoint that `latest` names.
inline std::string latest(const std::string& run) {
  std::string name;
  std::ifstream(run + "/checkpoints/latest") >> name;
  return run + "/checkpoints/" + name;
}

/// metrics.jsonl, without what depends on the clock. A line that another process has half written is left
/// out.
inline std::vector<nlohmann::json> metrics(const std::string& run) {
  std::vector<nlohmann::json> out;
  std::ifstream file(run + "/metrics.jsonl");
  for (std::string line; std::getline(file, line) && !file.eof();) {
    out.push_back(nlohmann::json::parse(line));
    out.back().erase("images_per_second");
    out.back().erase("data_wait");
    out.back().erase("processes");
    out.back().erase("wait");
  }
  return out;
}

/// The values of a key in the lines of one kind.
inline std::vector<double> metric(const std::string& run, const std::string& kind, const std::string& key) {
  std::vector<double> out;
  for (const auto& line : metrics(run))
    if (line["kind"] == kind) out.push_back(line[key].get<double>());
  return out;
}

/// Two finished runs left the same weights, optimiser state and lines.
inline void expect_same_run(const std::string& a, const std::string& b) {
  ASSERT_EQ(std::filesystem::path(latest(a)).filename(), std::filesystem::path(latest(b)).filename());
  for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
    EXPECT_TRUE(bytes_of_file(latest(a) + file) == bytes_of_file(latest(b) + file)) << file << " differs";
  EXPECT_EQ(metrics(a), metrics(b));
}

}  // namespace vitral::test
