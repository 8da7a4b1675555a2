#include "autograd/trace.h"

namespace vitral {
namespace {

thread_local std::vector<TracedOperation>* recording_to = nullptr;

template <class T>
const T& attribute_of(const TracedOperation& operation, const std::string& name) {
  const auto found = operation.attributes.find(name);
  VITRAL_CHECK(found != operation.attributes.end() && std::holds_alternative<T>(found->second),
               "trace: {} has no attribute {} of this type", operation.name, name);
  return std::get<T>(found->second);
}

}  // namespace

std::int64_t TracedOperation::integer(const std::string& attribute) const {
  return attribute_of<std::int64_t>(*this, attribute);
}
double TracedOperation::number(const std::string& attribute) const {
  return attribute_of<double>(*this, attribute);
}
const std::vector<std::int64_t>& TracedOperation::integers(const std::string& attribute) const {
  return attribute_of<std::vector<std::int64_t>>(*this, attribute);
}

Trace::Trace() {
  VITRAL_CHECK(!recording_to, "trace: one is taken already");
  recording_to = &operations_;
}
Trace::~Trace() { recording_to = nullptr; }

bool Trace::active() { return recording_to != nullptr; }

void Trace::record(const Operation& operation, const std::vector<Variable>& inputs, const Tensor& output) {
  if (!recording_to) return;
  TracedOperation traced{.name = operation.name, .inputs = {}, .output = output, .attributes = {}};
  for (const auto& input : inputs) traced.inputs.push_back(input.value());
  for (const auto& [name, value] : operation.attributes) traced.attributes.emplace(name, value);
  recording_to->push_back(std::move(traced));
}

}  // namespace vitral
