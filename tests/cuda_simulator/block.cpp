// A block's threads run in turn, each until it must wait. A fiber runs threads one after the other; where one
// of them waits, it keeps its fiber and another fiber goes on with the next thread. So threads that never
// wait share one fiber. All of it is under the runtime's lock: one block at a time.
#include "block.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "fiber.h"
#include "runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace simulator {
namespace {

enum class State : unsigned char { running, at_barrier, at_warp, finished };

constexpr unsigned max_threads = 1024;

struct Thread {
  uint3 index{};
  State state = State::running;
  Fiber* fiber = nullptr;
  // What it waits at, and for an exchange what it brings and gets.
  Place where;
  const char* operation = nullptr;
  unsigned mask = 0, source = 0, ballot = 0;
  bool condition = false;
  Slot value{}, result{};
};

class Block {
 public:
  void run(const Kernel& kernel);
  void barrier(const char* operation, Place where);
  int counting_barrier(bool condition, Place where);
  /// The thread has filled in what it brings; its answer is there when this returns.
  Thread& meet_warp(unsigned mask, const char* operation, Place where);

  Thread& current() { return threads_[current_]; }
  unsigned lane() const { return current_ % lanes; }
  unsigned present(unsigned mask) const;
  void* shared() const { return shared_.get(); }
  bool shares_all() const { return kernel_->shared == default_shared || kernel_->shared == most_shared; }
  void describe() const;

 private:
  void prepare(const Kernel& kernel);
  void run_block();
  static void run_threads();
  Fiber* next();
  void wait(State state, const char* operation, Place where);
  void complete_warp(unsigned mask);
  void go_on(const std::vector<unsigned>& released);
  [[noreturn]] void fail_diverged() const;
  std::string doing(unsigned thread) const;
  unsigned count() const { return static_cast<unsigned>(threads_.size()); }

  const Kernel* kernel_ = nullptr;  // null between grids
  std::vector<Thread> threads_;
  Order order_kind_ = Order::forward;
  std::vector<unsigned> order_;     // in which threads start
  std::vector<unsigned> ready_;     // threads that waited and may go on; the next is the last
  std::vector<unsigned> released_;  // scratch
  unsigned started_ = 0, finished_ = 0, at_barrier_ = 0, counted_ = 0, last_count_ = 0;
  std::array<unsigned, max_threads / lanes> at_warp_{};  // lanes that wait, for each warp
  unsigned current_ = 0;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Fiber* running_ = nullptr;
  Fiber outside_;
  std::unique_ptr<void, decltype(&std::free)> shared_{nullptr, std::free};
  std::mt19937 random_;
};

Block& block() {
  static auto* the_block = new Block;  // kept: static tensors may queue work until the very end
  return *the_block;
}

bool same(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }

std::string text(uint3 v) {
  std::string out = "(";  // appended to: GCC 12 warns of "(" + text
  return out.append(std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")");
}

// --- messages ---

std::string Block::doing(unsigned thread) const {
  const Thread& t = threads_[thread];
  const std::string name = "thread " + text(t.index);
  if (t.state == State::finished) return name + " has returned";
  if (t.state == State::running) return name + " runs";
  std::string what = name + " waits at " + t.operation;
  if (t.state == State::at_warp) {
    char mask[32];
    std::snprintf(mask, sizeof mask, " of lanes 0x%08x", t.mask);
    what += mask;
  }
  return what + " (" + t.where.file + ":" + std::to_string(t.where.line) + ")";
}

void Block::describe() const {
  if (!kernel_) return;
  std::fprintf(stderr, "  in kernel '%s', grid %s, block %s of %s threads, thread %s\n",
               kernel_->name.c_str(), text(kernel_->grid).c_str(), text(blockIdx).c_str(),
               text(kernel_->block).c_str(), text(threads_[current_].index).c_str());
}

// Nobody can go on. Two threads that wait for different things tell most; of a warp that waits, its own
// lanes.
void Block::fail_diverged() const {
  const auto find = [&](State state) {
    const auto at =
        std::find_if(threads_.begin(), threads_.end(), [&](const Thread& t) { return t.state == state; });
    return static_cast<unsigned>(at - threads_.begin());
  };
  unsigned one = find(State::at_warp);
  if (one == count()) one = find(State::at_barrier);
  const Thread& t = threads_[one];
  const bool warp = t.state == State::at_warp;
  const unsigned first = warp ? one / lanes * lanes : 0;
  const unsigned last = warp ? std::min<unsigned>(count(), first + lanes) : count();
  for (unsigned other = first; other < last; ++other) {
    const Thread& o = threads_[other];
    if (o.state != t.state || o.where.line != t.where.line || o.mask != t.mask)
      fail("threads of a %s diverge: %s, but %s", warp ? "warp" : "block", doing(one).c_str(),
           doing(other).c_str());
  }
  fail("threads diverge: %s, and nobody comes", doing(one).c_str());
}

// --- who runs ---

// First those that have waited, so that a warp goes on before the next one starts; in random order sometimes
// a new one in between.
Fiber* Block::next() {
  const bool random = order_kind_ == Order::random, fresh = started_ < count();
  if (!ready_.empty() && !(random && fresh && random_() % 4 == 0)) {
    if (random) std::swap(ready_[random_() % ready_.size()], ready_.back());
    current_ = ready_.back();
    ready_.pop_back();
    return current().fiber;
  }
  if (!fresh) return nullptr;
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>());
    idle_.push_back(fibers_.back().get());
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  fiber->start(run_threads);
  return fiber;
}

void Block::run_threads() {
  Block& b = block();
  while (b.started_ < b.count()) {
    b.current_ = b.order_[b.started_++];
    threadIdx = b.current().index;
    b.kernel_->body();
    b.current().state = State::finished;
    ++b.finished_;
    if (!b.running_->intact()) fail("stack overflow: a thread takes more than the simulator gives it");
  }
  Fiber& self = *b.running_;
  Fiber* next = b.next();
  if (!next && b.finished_ < b.count()) b.fail_diverged();
  b.idle_.push_back(&self);
  b.running_ = next ? next : &b.outside_;
  Fiber::finish(self, *b.running_);
}

void Block::wait(State state, const char* operation, Place where) {
  Thread& self = current();
  self.state = state;
  self.operation = operation;
  self.where = where;
  self.fiber = running_;
  const unsigned number = current_;
  if (!running_->intact()) fail("stack overflow: a thread takes more than the simulator gives it");
  Fiber* to = next();
  if (!to) fail_diverged();
  running_ = to;
  Fiber::change(*self.fiber, *to);
  current_ = number;
  threadIdx = self.index;
}

// They run in the order of the settings: the last of ready_ is the next.
void Block::go_on(const std::vector<unsigned>& released) {
  if (order_kind_ == Order::forward)
    ready_.insert(ready_.end(), released.rbegin(), released.rend());
  else
    ready_.insert(ready_.end(), released.begin(), released.end());
}

// --- barriers and warps ---

void Block::barrier(const char* operation, Place where) {
  current().mask = 0;
  if (++at_barrier_ < count()) return wait(State::at_barrier, operation, where);
  Thread& self = current();
  self.state = State::at_barrier;
  self.operation = operation;
  self.where = where;
  released_.clear();
  for (unsigned i = 0; i < count(); ++i) {
    if (threads_[i].where.line != where.line || !same(threads_[i].operation, operation)) fail_diverged();
    if (i != current_) released_.push_back(i);
  }
  for (Thread& t : threads_) t.state = State::running;
  at_barrier_ = 0;
  last_count_ = std::exchange(counted_, 0);
  go_on(released_);
}

int Block::counting_barrier(bool condition, Place where) {
  counted_ += condition ? 1 : 0;
  barrier("__syncthreads_count", where);
  return static_cast<int>(last_count_);
}

unsigned Block::present(unsigned mask) const {
  const unsigned first = current_ / lanes * lanes, here = std::min<unsigned>(count() - first, lanes);
  return mask & (0xFFFFFFFFU >> (lanes - here));
}

Thread& Block::meet_warp(unsigned mask, const char* operation, Place where) {
  Thread& self = current();
  const unsigned here = present(mask);
  unsigned& waiting = at_warp_[current_ / lanes];
  if (!(mask >> lane() & 1U))
    fail("%s: lane %u calls it with mask 0x%08x, which lacks it", operation, lane(), mask);
  self.mask = mask;
  waiting |= 1U << lane();
  if ((waiting & here) != here) {
    wait(State::at_warp, operation, where);
    return self;
  }
  self.state = State::at_warp;
  self.operation = operation;
  self.where = where;
  complete_warp(here);
  waiting &= ~here;
  return self;
}

void Block::complete_warp(unsigned mask) {
  const unsigned first = current_ / lanes * lanes;
  Thread* const warp = &threads_[first];
  const Thread& self = current();
  unsigned ballot = 0;
  released_.clear();
  for (unsigned i = 0; i < lanes; ++i) {
    if (!(mask >> i & 1U)) continue;
    Thread& t = warp[i];
    if (t.mask != self.mask || t.where.line != self.where.line || !same(t.operation, self.operation))
      fail("threads of a warp diverge: %s, but %s", doing(current_).c_str(), doing(first + i).c_str());
    ballot |= t.condition ? 1U << i : 0;
    if (mask >> t.source & 1U)
      t.result = warp[t.source].value;
    else
      std::memset(t.result.bytes, 0xFF, sizeof t.result.bytes);  // of a lane that takes no part
    if (first + i != current_) released_.push_back(first + i);
  }
  for (unsigned i = 0; i < lanes; ++i) {
    if (!(mask >> i & 1U)) continue;
    warp[i].ballot = ballot;
    warp[i].state = State::running;
  }
  go_on(released_);
}

// --- grids ---

void Block::prepare(const Kernel& kernel) {
  const dim3 size = kernel.block;
  threads_.assign(std::size_t{size.x} * size.y * size.z, {});
  order_.resize(threads_.size());
  std::iota(order_.begin(), order_.end(), 0U);
  order_kind_ = settings().order;
  if (order_kind_ == Order::reverse) std::reverse(order_.begin(), order_.end());
  for (unsigned i = 0; i < count(); ++i)
    threads_[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
  void* shared = nullptr;
  if (kernel.shared > 0 && posix_memalign(&shared, 128, kernel.shared) != 0) throw std::bad_alloc();
  shared_.reset(shared);  // of exactly the size asked for, so that AddressSanitizer sees what lies beyond
  blockDim = kernel.block;
  gridDim = kernel.grid;
}

void Block::run_block() {
  started_ = finished_ = at_barrier_ = counted_ = 0;
  if (order_kind_ == Order::random) std::shuffle(order_.begin(), order_.end(), random_);
  if (shared_) std::memset(shared_.get(), 0xFF, kernel_->shared);  // NaN, whatever the type
  running_ = next();
  Fiber::change(outside_, *running_);
}

void Block::run(const Kernel& kernel) {
  kernel_ = &kernel;
  prepare(kernel);
  random_.seed(settings().seed);
  for (unsigned z = 0; z < kernel.grid.z; ++z)
    for (unsigned y = 0; y < kernel.grid.y; ++y)
      for (unsigned x = 0; x < kernel.grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block();
      }
  shared_.reset();
  kernel_ = nullptr;
}

}  // namespace

void run(const Kernel& kernel) { block().run(kernel); }

void* dynamic_shared() { return block().shared(); }
void has_static_shared() {
  if (block().shares_all())
    fail("static shared memory beside all the dynamic that a block can have: the GPU refuses the launch");
}
unsigned lane() { return block().lane(); }
unsigned present(unsigned mask) { return block().present(mask); }

void barrier(Place where) { block().barrier("__syncthreads", where); }
int counting_barrier(bool condition, Place where) { return block().counting_barrier(condition, where); }

Slot exchange(unsigned mask, const Slot& value, unsigned source, const char* operation, Place where) {
  Thread& self = block().current();
  self.value = value;
  self.source = source % lanes;
  return block().meet_warp(mask, operation, where).result;
}

unsigned ballot(unsigned mask, bool condition, const char* operation, Place where) {
  block().current().condition = condition;
  return block().meet_warp(mask, operation, where).ballot;
}

void fail(const char* format, ...) {
  std::fprintf(stderr, "CUDA simulator: ");
  std::va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "\n");
  block().describe();
  std::abort();
}

}  // namespace simulator
