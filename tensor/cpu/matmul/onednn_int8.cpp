#include "tensor/cpu/matmul/onednn_int8.h"

#include <algorithm>
#include <mutex>
#include <tuple>
#include <vector>

#include "base/threads.h"
#include "tensor/cpu/matmul/onednn_support.h"

namespace vitral::cpu_kernels::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

constexpr std::int64_t usual_rows = 64, block = 64;

memory::desc bytes_of(std::int64_t in, std::int64_t out, Tag tag) {
  return {{in, out}, memory::data_type::s8, tag};
}

dnnl::matmul::primitive_desc describe(std::int64_t rows, std::int64_t in, std::int64_t columns,
                                      const memory::desc& weight) {
  const memory::desc x({rows, in}, memory::data_type::u8, Tag::ab),
      y({rows, columns}, memory::data_type::s32, Tag::ab);
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), x, weight, y};
#else
  return {{x, weight, y}, engine()};
#endif
}

// What is made and executed under CpuThreads(1) is for one thread, also where a region of several is around
// it: oneDNN plans for as many threads as it could have, and leaves work out where it gets fewer.

struct Order {
  memory::desc desc;
  bool blocks;  // of `block` columns, in which a part of them is a packed weight, too
};

// Does not depend on the rows that it will be multiplied with.
Order order_of(std::int64_t in, std::int64_t out) {
  // Decided once: what was packed must be read in the same order ever after.
  static std::mutex mutex;
  static std::map<std::pair<std::int64_t, std::int64_t>, Order> known;
  std::lock_guard lock(mutex);
  auto found = known.find({in, out});
  if (found == known.end()) {
    const CpuThreads alone(1);
    const memory::desc chosen = describe(usual_rows, in, out, bytes_of(in, out, Tag::any)).weights_desc();
    const bool blocks = out >= block && chosen == bytes_of(in, out, Tag::BA16a64b4a);
    found = known.emplace(std::pair(in, out), Order{chosen, blocks}).first;
  }
  return found->second;
}

// Of the largest numbers, whose pairs are no 16 bits.
bool sums_are_exact() {
  constexpr std::int64_t rows = 16, in = 128, out = 64;
  const std::vector<std::int8_t> weight(in * out, std::int8_t{127});
  const std::vector<std::uint8_t> x(rows * in, std::uint8_t{255});
  std::vector<std::int32_t> sums(rows * out);
  std::vector<std::byte> packed(int8_order(in, out).bytes());
  pack_int8(packed.data(), weight.data(), in, out);
  multiply_int8(sums.data(), x.data(), packed.data(), rows, in, out, out);
  return std::all_of(sums.begin(), sums.end(), [](std::int32_t sum) { return sum == in * 255 * 127; });
}

}  // namespace

bool multiplies_int8() {
  static const bool found =
      (has_isa(dnnl::cpu_isa::avx512_core_vnni) || has_isa(dnnl::cpu_isa::avx2_vnni)) && sums_are_exact();
  return found;
}

Int8Order int8_order(std::int64_t in, std::int64_t out) {
  Int8Order order;
  guarded("pack_int8", [&] {
    const Order chosen = order_of(in, out);
    order.blocks = chosen.blocks ? (out + block - 1) / block : 1;
    order.block = chosen.blocks ? block : out;
    order.block_bytes = chosen.desc.get_size() / static_cast<std::size_t>(order.blocks);
  });
  return order;
}

void pack_int8(void* packed, const std::int8_t* weight, std::int64_t in, std::int64_t out) {
  guarded("pack_int8", [&] {
    memory from = view(bytes_of(in, out, Tag::ba), weight), to = view(order_of(in, out).desc, packed);
    dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from.get_desc(), engine(), to.get_desc()))
        .execute(stream(), from, to);
    stream().wait();
  });
}

void multiply_int8(std::int32_t* sums, const std::uint8_t* x, const void* packed, std::int64_t rows,
                   std::int64_t in, std::int64_t columns, std::int64_t out) {
  guarded("linear_int8", [&] {
    struct Ready {
      dnnl::matmul::primitive_desc desc;
      dnnl::matmul primitive;
    };
    const CpuThreads alone(1);
    thread_local Cache<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>, Ready> cache;
    const Ready& ready = cache.get({rows, in, columns, out}, [&]() -> Ready {
      const auto desc =
          describe(rows, in, columns,
                   columns == out ? order_of(in, out).desc : bytes_of(in, columns, Tag::BA16a64b4a));
      return {desc, dnnl::matmul(desc)};
    });
    ready.primitive.execute(stream(), {{DNNL_ARG_SRC, view(ready.desc.src_desc(), x)},
                                       {DNNL_ARG_WEIGHTS, view(ready.desc.weights_desc(), packed)},
                                       {DNNL_ARG_DST, view(ready.desc.dst_desc(), sums)}});
    stream().wait();
  });
}

}  // namespace vitral::cpu_kernels::onednn
