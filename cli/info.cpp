// vitral info: what a file holds.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/print.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/weights/checkpoint_files.h"
#include "data/weights/onnx_file.h"
#include "data/weights/torch_file.h"
#include "data/weights/torch_training.h"
#include "data/weights/weights.h"
#include "models/clip/config.h"
#include "models/hugging_face.h"
#include "models/pretrained/families.h"
#include "models/pretrained/tower_choices.h"
#include "models/student/encoder.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

ordered_json describe_hdf5(const std::string& path, const data::DatasetNames& names) {
  const data::H5File file = data::H5File::open(path);
  ordered_json out = {{"file", path}, {"kind", "HDF5"}, {"datasets", ordered_json::array()}};
  for (const auto& e : file.contents())
    out["datasets"].push_back({{"name", e.name}, {"dtype", e.dtype}, {"shape", e.shape}});
  for (const char* attribute : {"teacher", "teacher_tower", "transform", "plain_transform", "view_size",
                                "exif", "clip", "clip_tower", "model"})
    if (auto text = file.attribute(attribute)) out[attribute] = std::move(*text);
  if (!names.images.empty() || file.has("/images") || file.has("/encoded")) {
    const data::Dataset dataset = data::Dataset::open(path, names);
    out["kind"] = "dataset";
    out["images"] = dataset.size();
    out["width"] = dataset.width();
    out["description"] = dataset.description();
  } else if (file.has("/embeddings") && file.shape("/embeddings").rank() == 2) {
    const Shape shape = file.shape("/embeddings");
    out["kind"] = file.has("/texts") ? "embeddings of texts" : "embeddings of images";
    out[file.has("/texts") ? "texts" : "images"] = shape[0];
    out["width"] = shape[1];
    if (file.has("/patch_embeddings")) out["patches"] = file.shape("/patch_embeddings").dim(1);
  }
  return out;
}

// A number or a truth value; else a text.
ordered_json json_of(const std::string& text) {
  const auto value = ordered_json::parse(text, nullptr, false);
  return value.is_discarded() ? ordered_json(text) : value;
}

ordered_json describe_student(const models::StudentConfig& config) {
  ordered_json out;
  for (const auto& field : models::student_fields()) {
    const std::string text = field.write(config);
    if (!text.starts_with('[')) {
      out[field.name] = json_of(text);
      continue;
    }
    auto& list = out[field.name] = ordered_json::array();
    std::istringstream items(text.substr(1, text.size() - 2));
    for (std::string item; std::getline(items >> std::ws, item, ',');) list.push_back(json_of(item));
  }
  return out;
}

// {"kind": "clip", "image_size": 96, ..., "vision": {"width": 192, ...}, "text": {...}}
ordered_json describe_clip(const models::ClipConfig& config) {
  ordered_json out = {{"kind", "clip"}};
  for (const auto& [key, text] : models::to_metadata(config)) {
    std::string place = key.substr(key.find('.'));
    std::replace(place.begin(), place.end(), '.', '/');
    out[ordered_json::json_pointer(place)] = json_of(text);
  }
  return out;
}

// guessed: what of it the files do not say.
ordered_json describe_tower(ordered_json sizes, const auto& config, const std::string& guessed) {
  sizes["width"] = config.block.width;
  sizes["layers"] = config.layers;
  sizes["heads"] = config.block.heads;
  sizes["activation"] = config.block.mlp;
  sizes["embedding"] = config.embedding;
  if (!guessed.empty()) sizes["guessed"] = guessed;
  return sizes;
}

// Null where there is no such tower.
ordered_json where_it_is(const std::function<ordered_json()>& describe_it) {
  try {
    return describe_it();
  } catch (const UsageError&) {
    return nullptr;
  }
}

// The towers of a pretrained model, each null where it is not there; null for weights of another kind.
ordered_json describe_pretrained(const models::Checkpoint& checkpoint) {
  return where_it_is([&]() -> ordered_json {
    const models::Family& family = models::family_of(checkpoint);
    ordered_json out = {{"family", family.name}};
    const auto guessed = [&](const char* group, const auto& config) {
      return models::guessed_of(checkpoint.tensors, checkpoint.config, group, family.usual, config.block);
    };
    out["image"] = where_it_is([&] {
      const auto c = family.image(checkpoint.tensors, checkpoint.config, checkpoint.path, 0)->config();
      return describe_tower({{"image_size", c.image_size}, {"patch_size", c.patch_size}}, c,
                            guessed("vision_config", c));
    });
    out["text"] = where_it_is([&]() -> ordered_json {
      const auto c = models::text_tower_of(family, checkpoint, checkpoint.config)->config();
      return describe_tower({{"context", c.context}, {"vocabulary", c.vocabulary}}, c,
                            guessed("text_config", c));
    });
    return out["image"].is_null() && out["text"].is_null() ? ordered_json() : out;
  });
}

// The state of a training that PyTorch began; nothing where there is none.
std::optional<ordered_json> describe_training(const std::string& file) {
  // A run's own checkpoint may be gone by now, removed by its training.
  if (std::filesystem::path(file).filename() == data::model_file || !data::looks_like_torch_file(file))
    return {};
  try {
    const data::TorchTraining t = data::read_torch_training(file);
    if (!t.optimizer) return {};
    ordered_json out = {{"optimizer", "AdamW"}, {"step", t.optimizer->steps}, {"lr", t.optimizer->lr}};
    if (t.epoch) out["last_epoch"] = *t.epoch;
    if (t.scheduler) {
      out["scheduler"] = "ReduceLROnPlateau";
      out["best_loss"] = t.scheduler->best;
      out["bad_epochs"] = t.scheduler->bad_epochs;
    }
    return out;
  } catch (const Error& e) {  // the weights can be read all the same
    return ordered_json{{"not_resumable", e.what()}};
  }
}

ordered_json describe_onnx(const std::string& path) {
  const data::OnnxSummary model = data::read_onnx_summary(path);
  ordered_json out = {{"file", path},
                      {"kind", "ONNX"},
                      {"producer", model.producer},
                      {"opset", model.opset},
                      {"nodes", model.nodes.size()},
                      {"metadata", model.metadata},
                      {"tensors", ordered_json::array()}};
  const auto add = [&](const char* role, const std::vector<data::OnnxTensor>& tensors) {
    for (const auto& t : tensors) {
      std::string shape;
      for (const auto& dim : t.dims)
        std::visit([&](const auto& size) { shape += fmt::format("{}{}", shape.empty() ? "" : ", ", size); },
                   dim);
      out["tensors"].push_back(
          {{"name", t.name}, {"role", role}, {"dtype", t.dtype}, {"shape", "[" + shape + "]"}});
    }
  };
  add("input", model.inputs);
  add("output", model.outputs);
  return out;
}

ordered_json describe_weights(const std::string& path) {
  const models::Checkpoint checkpoint = models::read_checkpoint(path, data::TensorMemory::mapped);
  ordered_json tensors = ordered_json::array();
  for (const auto& [name, tensor] : checkpoint.tensors)
    tensors.push_back(
        {{"name", name}, {"dtype", vitral::name(tensor.dtype())}, {"shape", tensor.shape().str()}});
  ordered_json out = {{"file", path},
                      {"kind", "weights"},
                      {"read_from", checkpoint.file},
                      {"parameters", data::parameter_count(checkpoint.tensors)}};
  try {
    data::WeightsFile weights{checkpoint.tensors, checkpoint.config};
    out["model"] = describe_student(models::configure_student(weights, path));
  } catch (const UsageError&) {  // weights, but no student's
    const auto clip = models::clip_config_from_metadata(checkpoint.config, path);
    out["model"] = clip ? describe_clip(*clip) : ordered_json();
    if (auto towers = describe_pretrained(checkpoint); !towers.is_null()) out["pretrained"] = towers;
  }
  if (const auto training = describe_training(checkpoint.file)) out["training"] = *training;
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

ordered_json describe(const std::string& path, bool folder, const data::DatasetNames& names) {
  if (data::H5File::is_hdf5(path)) return describe_hdf5(path, names);
  // Weights first: the first bytes of theirs may look like a model's.
  const bool weights = folder || data::looks_like_torch_file(path) || data::looks_like_safetensors(path);
  return !weights && data::looks_like_onnx(path) ? describe_onnx(path) : describe_weights(path);
}

void print(const ordered_json& out) {
  for (const auto& [key, value] : out.items()) {
    if (key == "description") {
      fmt::print("{}\n", value.get<std::string>());
    } else if (value.is_array()) {
      for (const auto& t : value)
        fmt::print("  {:<48} {:<8} {}{}\n", one_line(t["name"].get<std::string>()),
                   t["dtype"].get<std::string>(), one_line(t["shape"].get<std::string>()),
                   t.contains("role") ? ", " + t["role"].get<std::string>() : "");
    } else {
      fmt::print("{:<12} {}\n", key,
                 one_line(value.is_string() ? value.get<std::string>() : json_text(value)));
    }
  }
}

}  // namespace

void add_info(Program& program) {
  struct Arguments {
    std::string path;
    DatasetArguments dataset;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  Command command = program.command("info", "says what a dataset, embeddings, weights or a run folder holds",
                                    "vitral info runs/shapes");
  command
      .option("file", a->path,
              "HDF5 file, .safetensors, .pt, .onnx, run folder, checkpoint or folder of CLIP's weights")
      .required()
      .type_name("FILE");
  a->dataset.add_to(command);
  command.flag("--json", a->json, "one JSON object");
  command.run([a] {
    namespace fs = std::filesystem;
    std::error_code why;
    const auto status = fs::status(a->path, why);
    if (status.type() == fs::file_type::not_found) {
      const std::string hub = data::hub_advice(a->path);
      throw_error<UsageError>("{}: no such file{}", a->path, hub.empty() ? "" : "; " + hub);
    }
    if (!fs::exists(status))
      throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", a->path,
                              why.message());
    ordered_json out = describe(a->path, fs::is_directory(status), a->dataset.names);
    if (fs::is_directory(status)) {
      if (fs::exists(a->path + "/checkpoints", why)) out["kind"] = "run";
      if (fs::exists(a->path + "/" + data::state_file, why)) out["kind"] = "checkpoint";
      add_metrics(a->path, out);
    }
    if (a->json)
      print_json(out);
    else
      print(out);
  });
}

}  // namespace vitral::cli
