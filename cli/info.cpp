// vitral info: what a file holds.
#include <filesystem>
#include <fstream>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "data/dataset.h"
#include "data/hdf5.h"
#include "data/weights.h"
#include "infer/encoder.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

ordered_json describe_hdf5(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  ordered_json out = {{"file", path}, {"kind", "HDF5"}, {"datasets", ordered_json::array()}};
  for (const auto& e : file.contents())
    out["datasets"].push_back({{"name", e.name}, {"dtype", e.dtype}, {"shape", e.shape}});
  if (file.has("/images") || file.has("/encoded")) {
    const data::Dataset dataset = data::Dataset::open(path);
    out["kind"] = "dataset";
    out["images"] = dataset.size();
    out["width"] = dataset.width();
    out["description"] = dataset.description();
  }
  return out;
}

ordered_json describe_weights(const std::string& path) {
  const data::WeightsFile weights = data::read_weights(path);
  std::int64_t parameters = 0;
  ordered_json tensors = ordered_json::array();
  for (const auto& [name, tensor] : weights.tensors) {
    parameters += tensor.numel();
    tensors.push_back(
        {{"name", name}, {"dtype", vitral::name(tensor.dtype())}, {"shape", tensor.shape().str()}});
  }
  ordered_json out = {{"file", path},
                      {"kind", "weights"},
                      {"read_from", data::find_weights(path)},
                      {"parameters", parameters}};
  try {
    const nn::StudentConfig c = infer::config_of_weights(weights.tensors, weights.metadata, path);
    out["model"] = {{"image_size", c.image_size}, {"patch_size", c.patch_size}, {"width", c.width},
                    {"layers", c.layers},         {"heads", c.heads},           {"attention", c.attention},
                    {"window", c.window},         {"same_norm", c.same_norm}};
  } catch (const UsageError&) {
    out["model"] = nullptr;  // weights, but no student's
  }
  out["tensors"] = std::move(tensors);
  return out;
}

// The last line of metrics.jsonl of each kind.
void add_metrics(const std::string& folder, ordered_json& out) {
  std::ifstream file(folder + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto record = ordered_json::parse(line, nullptr, false);
    if (record.is_object() && record.contains("kind") && record["kind"].is_string())
      out["last_" + record["kind"].get<std::string>()] = record;
  }
}

void print(const ordered_json& out) {
  for (const auto& [key, value] : out.items()) {
    if (key == "description") {
      fmt::print("{}\n", value.get<std::string>());
    } else if (value.is_array()) {
      for (const auto& t : value)
        fmt::print("  {:<48} {:<8} {}\n", t["name"].get<std::string>(), t["dtype"].get<std::string>(),
                   t["shape"].get<std::string>());
    } else {
      fmt::print("{:<12} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
}

}  // namespace

void add_info(CLI::App& app) {
  struct Arguments {
    std::string path;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  auto* command = add_command(app, "info", "says what a dataset, embeddings, weights or a run folder holds",
                              "vitral info runs/shapes");
  command->add_option("file", a->path, "HDF5 file, .safetensors, .pt, run folder or checkpoint")
      ->required()
      ->type_name("FILE");
  command->add_flag("--json", a->json, "one JSON object");
  command->callback([a] {
    namespace fs = std::filesystem;
    std::error_code why;
    const auto status = fs::status(a->path, why);
    if (status.type() == fs::file_type::not_found) throw_error<UsageError>("{}: no such file", a->path);
    if (!fs::exists(status))
      throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", a->path,
                              why.message());
    ordered_json out = data::H5File::is_hdf5(a->path) ? describe_hdf5(a->path) : describe_weights(a->path);
    if (fs::is_directory(status)) {
      out["kind"] = fs::exists(a->path + "/checkpoints", why) ? "run" : "checkpoint";
      add_metrics(a->path, out);
    }
    if (a->json)
      fmt::print("{}\n", out.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    else
      print(out);
  });
}

}  // namespace vitral::cli
