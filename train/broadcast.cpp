#include "train/broadcast.h"

namespace vitral::train {
namespace {

using nlohmann::json;

void broadcast(Group& group, data::NamedTensors& tensors) {
  json header = json::array();
  if (group.is_first())
    for (const auto& [name, tensor] : tensors)
      header.push_back({name, static_cast<int>(tensor.dtype()),
                        std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end())});
  header = json::parse(vitral::broadcast(group, header.dump()));
  if (!group.is_first()) {
    tensors.clear();
    for (const auto& entry : header)
      tensors.emplace_back(entry[0].get<std::string>(),
                           Tensor(Shape(entry[2].get<std::vector<std::int64_t>>()), entry[1].get<DType>()));
  }
  for (auto& [name, tensor] : tensors) {
    const Tensor here = tensor.to(cpu);
    group.broadcast(here.raw(), here.bytes());
  }
}

}  // namespace

void broadcast(Group& group, Checkpoint& c) {
  const json small = {{"step", c.step}, {"metadata", c.model_metadata}, {"state", c.state}};
  const json got = json::parse(vitral::broadcast(group, small.dump()));
  c.step = got.at("step");
  c.model_metadata = got.at("metadata");
  c.state = got.at("state");
  broadcast(group, c.model);
  broadcast(group, c.optimizer);
}

}  // namespace vitral::train
