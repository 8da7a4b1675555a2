#include "tensor/stream.h"

#include "base/error.h"
#include "tensor/backend.h"
#include "tensor/profile.h"
#include "tensor/tensor.h"

namespace vitral {

void synchronize(Device device) {
  if (const auto wait = backend(device.kind).synchronize) wait(device.index);
}

void copy_async(Tensor& to, const Tensor& from, Queue queue) {
  const Device device = to.device().is_cpu() ? from.device() : to.device();
  if (device.is_cpu()) return to.copy_from(from);
  VITRAL_CHECK(to.shape() == from.shape() && to.dtype() == from.dtype(),
               "copy_async: {} {} does not fit {} {}", from.dtype(), from.shape(), to.dtype(), to.shape());
  const Tensor& host = to.device().is_cpu() ? to : from;
  VITRAL_CHECK(!host.device().is_cpu() || host.pinned(), "copy_async: the host's tensor {} must be pinned",
               host.shape());
  if (to.bytes() > 0) backend(device.kind).copy_async(to.raw(), from.raw(), to.bytes(), device.index, queue);
}

Event::Event(Device device) : device_(device) {
  const Backend& b = backend(device.kind);
  if (b.make_event) event_ = {b.make_event(device.index), b.destroy_event};
}

void Event::record(Queue queue) {
  if (event_) backend(device_.kind).record_event(event_.get(), device_.index, queue);
}

void Event::hold(Queue queue) const {
  if (event_) backend(device_.kind).hold_queue(event_.get(), device_.index, queue);
}

bool Event::done() const { return !event_ || backend(device_.kind).event_done(event_.get()); }

void Event::wait() const {
  if (event_) backend(device_.kind).wait_event(event_.get());
}

double Event::seconds_since(const Event& start) const {
  return event_ ? backend(device_.kind).seconds_between(start.event_.get(), event_.get()) : 0;
}

bool Graph::supported(Device device) { return backend(device.kind).begin_capture != nullptr; }

Graph::Graph(Device device, const std::function<void()>& work) : device_(device) {
  const Backend& b = backend(device.kind);
  VITRAL_CHECK(b.begin_capture, "graph: {} does not record graphs", device.str());
  VITRAL_CHECK(!current_profile, "graph: a profile waits for each kernel; record the graph without one");
  release_cached(device);  // now: memory that runs short later cannot be given back while recording
  b.begin_capture(device.index);
  try {
    work();
  } catch (...) {
    b.end_capture(device.index, false);
    throw;
  }
  graph_ = {b.end_capture(device.index, true), b.destroy_graph};
}

void Graph::launch() const { backend(device_.kind).launch_graph(graph_.get(), device_.index); }

}  // namespace vitral
