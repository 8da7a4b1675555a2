#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "tensor/cuda/cudnn/run.h"
#include "tensor/cuda/launch.h"

namespace vitral::cuda::cudnn {
namespace {

/// cuDNN on one device.
struct Library {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;              // null where cuDNN does not work
  std::map<Key, std::unique_ptr<Plan>> plans;  // null where it refused
};

}  // namespace

struct Plan {
  Library& owner;
  Graph graph;
  Descriptor plan;
  std::int64_t workspace = 0;  // bytes
};

namespace {

/// False where an engine says of itself that its sums are made in any order.
bool deterministic(const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const std::int64_t count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                        static_cast<std::int64_t>(notes.size()), notes.data());
  for (std::int64_t i = 0; i < count; ++i)
    if (notes[static_cast<std::size_t>(i)] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
  return true;
}

/// What cuDNN would run the graph with, the best first.
std::vector<Descriptor> proposals(const Descriptor& operations, cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode)
      .finalize();
  const auto get = [&](std::int64_t capacity, cudnnBackendDescriptor_t* raw) {
    return heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, capacity, raw);
  };
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  const std::int64_t available = get(0, nullptr);
  for (std::int64_t i = 0; i < available; ++i)
    raw.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  // Fewer than were counted: those that do not work here are left out only now.
  const std::int64_t count = available > 0 ? get(available, raw.data()) : 0;
  configs.erase(configs.begin() + count, configs.end());
  return configs;
}

/// The first proposal that can be made ready (its kernels are compiled now), or null.
std::unique_ptr<Plan> plan_of(Graph& graph, const Descriptor& operations, cudnnBackendHeurMode_t mode,
                              Library& library) {
  for (const Descriptor& config : proposals(operations, mode)) {
    try {
      if (!deterministic(config)) continue;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, library.handle)
          .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)
          .finalize();
      std::int64_t bytes = 0;
      plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
      return std::make_unique<Plan>(Plan{library, std::move(graph), std::move(plan), bytes});
    } catch (const Refused&) {
      continue;
    }
  }
  return nullptr;
}

std::unique_ptr<Plan> make_plan(Library& library, const std::function<void(Graph&)>& build) {
  try {
    Graph graph;
    build(graph);
    Descriptor operations(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    operations.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, library.handle)
        .set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, graph.operations())
        .finalize();
    auto plan = plan_of(graph, operations, CUDNN_HEUR_MODE_A, library);
    return plan ? std::move(plan) : plan_of(graph, operations, CUDNN_HEUR_MODE_FALLBACK, library);
  } catch (const Refused&) {
    return nullptr;
  }
}

/// Leaves the handle null, and says why, where the library is missing or does not work.
void start(Library& l, cudaStream_t queue) {
  std::string problem;
  try {
    const Functions& f = functions();
    // The library that is found when the program runs may be older than the headers.
    cudnnStatus_t status = CUDNN_STATUS_NOT_SUPPORTED;
    if (f.cudnnGetVersion() >= 91600) status = f.cudnnCreate(&l.handle);
    if (status == CUDNN_STATUS_SUCCESS) status = f.cudnnSetStream(l.handle, queue);
    if (status == CUDNN_STATUS_SUCCESS) return;
    problem = "cuDNN " + std::to_string(f.cudnnGetVersion()) +
              " does not start, 91600 or later is needed: " + f.cudnnGetErrorString(status);
    if (l.handle) f.cudnnDestroy(std::exchange(l.handle, nullptr));
  } catch (const Error& e) {
    problem = e.what();
  }
  std::fprintf(stderr, "vitral: %s; vitral's own kernels take its place\n", problem.c_str());
}

// Kept to the end of the process, as the streams are.
Library& library(Device device) {
  static auto* mutex = new std::mutex;
  static auto* libraries = new std::map<int, Library>;
  const cudaStream_t queue = stream(device);
  const std::lock_guard lock(*mutex);
  const auto [found, fresh] = libraries->try_emplace(device.index);
  Library& l = found->second;
  if (fresh) start(l, queue);
  return l;
}

}  // namespace

std::int64_t version(Device device) {
  return library(device).handle ? static_cast<std::int64_t>(functions().cudnnGetVersion()) : 0;
}

const Plan* find_plan(Device device, const Key& key, const std::function<void(Graph&)>& build) {
  Library& l = library(device);
  if (!l.handle) return nullptr;
  const std::lock_guard lock(l.mutex);  // a handle is for one thread at a time
  auto found = l.plans.find(key);
  if (found == l.plans.end()) found = l.plans.emplace(key, make_plan(l, build)).first;
  return found->second.get();
}

void execute(const char* operation, const Plan& plan, std::span<const Argument> arguments, const Tensor& of) {
  std::vector<std::int64_t> ids;
  std::vector<void*> pointers;
  for (const Argument& a : arguments) {
    ids.push_back(a.id);
    pointers.push_back(a.data);
  }
  Tensor workspace;
  if (plan.workspace > 0) workspace = Tensor({plan.workspace}, DType::uint8, of.device());
  const std::lock_guard lock(plan.owner.mutex);
  try {
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const std::int64_t>(ids))
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(pointers))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, data<void>(workspace))
        .finalize();
    require(functions().cudnnBackendExecute(plan.owner.handle, plan.plan.raw(), pack.raw()));
  } catch (const Refused& e) {  // planned and not done: that is no reason to go on some other way
    throw_error("{}: cuDNN: {} for {} {}", operation, e.what(), of.shape(), name(of.dtype()));
  }
}

bool aligned(const Tensor& t) { return reinterpret_cast<std::uintptr_t>(data<void>(t)) % alignment == 0; }

}  // namespace vitral::cuda::cudnn
