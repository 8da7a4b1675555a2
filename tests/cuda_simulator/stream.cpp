// Streams, events and graphs. Streams are lazy: what was queued runs when somebody waits for it, so that a
// host that reads or overwrites memory too early gets wrong numbers every time.
#include <algorithm>
#include <random>

#include "runtime.h"

namespace simulator {

CUstream_st* resolve(cudaStream_t stream) {
  if (stream) return stream;
  const Locked state;
  CUstream_st*& of_device = state->default_streams[current_device()];
  if (!of_device) {
    of_device = new CUstream_st{.device = current_device(), .tasks = {}, .capture = {}};
    state->streams.push_back(of_device);
  }
  return of_device;
}

bool capturing(const CUstream_st* stream) { return stream->capture != nullptr; }

cudaError_t push(cudaStream_t on, Task task) {
  const Locked state;
  CUstream_st* const stream = resolve(on);
  if (capturing(stream)) {
    Capture& capture = *stream->capture;
    if (capture.invalidated) return cudaErrorStreamCaptureInvalidated;
    capture.tasks.push_back(std::move(task));
    if (stream != capture.origin) capture.unjoined.insert(stream);
    return cudaSuccess;
  }
  stream->tasks.push_back(std::move(task));
  if (settings().eager) advance(stream);
  return cudaSuccess;
}

namespace {

void run_one(CUstream_st& stream) {
  const DeviceAccess access;
  const Task task = std::move(stream.tasks.front());
  stream.tasks.pop_front();
  task();
}

}  // namespace

void advance(CUstream_st* stream, const Mark* until) {
  if (stream->tasks.empty()) return;
  const DeviceAccess access;  // once for all of them
  while (!stream->tasks.empty() && !(until && until->done)) run_one(*stream);
}

void pass(std::chrono::nanoseconds time) {
  const Locked state;
  state->passed += time;
}
std::chrono::steady_clock::time_point device_time() {
  const Locked state;
  return std::chrono::steady_clock::now() + state->passed;
}

void drain(int device) {
  const Locked state;
  std::vector<CUstream_st*> busy;
  for (CUstream_st* s : state->streams)
    if (device < 0 || s->device == device) busy.push_back(s);
  if (settings().order == Order::forward) {
    for (CUstream_st* s : busy) advance(s);
    return;
  }
  if (settings().order == Order::reverse) {
    std::for_each(busy.rbegin(), busy.rend(), [](CUstream_st* s) { advance(s); });
    return;
  }
  static std::mt19937 random(settings().seed);
  const auto idle = [](const CUstream_st* s) { return s->tasks.empty(); };
  for (std::erase_if(busy, idle); !busy.empty(); std::erase_if(busy, idle))
    run_one(*busy[random() % busy.size()]);
}

namespace {

// What would wait for a stream that records ends the recording.
cudaError_t refuse(CUstream_st* stream) {
  stream->capture->invalidated = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t synchronize(CUstream_st* stream) {
  const Locked state;
  if (capturing(stream)) return refuse(stream);
  advance(stream);
  return cudaSuccess;
}

cudaError_t synchronize_device() {
  const Locked state;
  for (CUstream_st* s : state->streams)
    if (s->device == current_device() && capturing(s)) return refuse(s);
  drain(current_device());
  return cudaSuccess;
}

cudaError_t record(CUevent_st* event, CUstream_st* stream) {
  const Locked state;
  auto mark = std::make_shared<Mark>();
  mark->stream = stream;
  event->mark = mark;
  if (capturing(stream)) {
    if (stream->capture->invalidated) return cudaErrorStreamCaptureInvalidated;
    mark->capture = stream->capture;
    return cudaSuccess;
  }
  return push(stream, [mark] {
    mark->done = true;
    mark->time = device_time();
  });
}

// While capturing, an event of the recording takes the waiting stream into it.
cudaError_t wait_captured(CUstream_st* stream, const Mark& mark) {
  if (!mark.capture || (stream->capture && stream->capture != mark.capture)) {
    stream->capture->invalidated = true;
    return cudaErrorStreamCaptureIsolation;
  }
  Capture& capture = *mark.capture;
  if (capture.invalidated) return cudaErrorStreamCaptureInvalidated;
  if (stream == capture.origin) {
    capture.unjoined.erase(mark.stream);
  } else {
    stream->capture = mark.capture;
    capture.unjoined.insert(stream);
  }
  return cudaSuccess;
}

cudaError_t wait(CUstream_st* stream, const CUevent_st* event) {
  const Locked state;
  if (!event->mark) return cudaSuccess;
  const std::shared_ptr<Mark> mark = event->mark;
  if (capturing(stream) || mark->capture) return wait_captured(stream, *mark);
  if (mark->done) return cudaSuccess;
  return push(stream, [mark] { advance(mark->stream, mark.get()); });
}

// The first question finds nothing done, and each further one does one more task of the stream: a program
// that looks once must cope with work under way, and one that asks again and again comes to an end.
cudaError_t query(const CUevent_st* event) {
  const Locked state;
  if (!event->mark) return cudaSuccess;
  Mark& mark = *event->mark;
  if (mark.capture) return cudaErrorCapturedEvent;
  if (!mark.done && mark.queries++ > 0) run_one(*mark.stream);
  return mark.done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t synchronize_event(const CUevent_st* event) {
  const Locked state;
  if (!event->mark) return cudaSuccess;
  if (event->mark->capture) return cudaErrorCapturedEvent;
  if (!event->mark->done) advance(event->mark->stream, event->mark.get());
  return cudaSuccess;
}

cudaError_t elapsed(float* milliseconds, const CUevent_st* start, const CUevent_st* end) {
  const Locked state;
  if (!start->mark || !end->mark || !start->timing || !end->timing) return cudaErrorInvalidResourceHandle;
  if (!start->mark->done || !end->mark->done) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->mark->time - start->mark->time).count();
  return cudaSuccess;
}

cudaError_t end_capture(CUstream_st* stream, CUgraph_st** graph) {
  const Locked state;
  *graph = nullptr;
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture || capture->origin != stream) return cudaErrorStreamCaptureUnmatched;
  for (CUstream_st* s : state->streams)
    if (s->capture == capture) s->capture.reset();
  if (capture->invalidated) return cudaErrorStreamCaptureInvalidated;
  if (!capture->unjoined.empty()) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{capture->tasks};
  return cudaSuccess;
}

}  // namespace
}  // namespace simulator

using namespace simulator;

// --- streams ---

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Locked state;
  *stream = new CUstream_st{.device = current_device(), .tasks = {}, .capture = {}};
  state->streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Locked state;
  if (!stream) return report(cudaErrorInvalidResourceHandle);
  if (capturing(stream)) return report(cudaErrorStreamCaptureUnsupported);
  advance(stream);
  std::erase(state->streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return report(synchronize(resolve(stream))); }
cudaError_t cudaDeviceSynchronize() { return report(synchronize_device()); }

cudaError_t cudaStreamQuery(cudaStream_t on) {
  const Locked state;
  CUstream_st* const stream = resolve(on);
  if (capturing(stream)) return report(refuse(stream));
  if (stream->tasks.empty()) return cudaSuccess;
  run_one(*stream);
  return report(cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return report(wait(resolve(stream), event));
}

// --- events ---

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{.timing = (flags & cudaEventDisableTiming) == 0, .mark = {}};
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return report(record(event, resolve(stream)));
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return report(query(event)); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return report(synchronize_event(event)); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return report(elapsed(milliseconds, start, end));
}

// --- graphs ---

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Locked state;
  if (!stream || capturing(stream)) return report(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return report(end_capture(resolve(stream), graph));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t on, cudaStreamCaptureStatus* status) {
  const Locked state;
  const CUstream_st* const stream = resolve(on);
  *status = !capturing(stream)             ? cudaStreamCaptureStatusNone
            : stream->capture->invalidated ? cudaStreamCaptureStatusInvalidated
                                           : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (!graph) return report(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{std::make_shared<const std::vector<Task>>(graph->tasks)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (!exec) return report(cudaErrorInvalidValue);
  return report(push(stream, [tasks = exec->tasks] {
    for (const Task& task : *tasks) task();
  }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (!graph) return report(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  if (!exec) return report(cudaErrorInvalidValue);
  delete exec;
  return cudaSuccess;
}
