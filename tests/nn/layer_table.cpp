#include "tests/nn/layer_table.h"

#include <initializer_list>

namespace vitral::test {
namespace {

using nn::AttentionMask;
using Names = std::vector<std::string>;

template <class Module>
Layer made(std::unique_ptr<Module> module) {
  const Module* m = module.get();
  return {std::move(module), [m](const Variable& x) { return (*m)(x); }};
}

Names below(const std::string& child, const Names& names) {
  Names out;
  for (const auto& name : names) out.push_back(child + "." + name);
  return out;
}

Names joined(std::initializer_list<Names> parts) {
  Names out;
  for (const Names& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

std::string n(std::int64_t size) { return std::to_string(size); }
Names linear(std::int64_t in, std::int64_t out) {
  return {"weight [" + n(out) + ", " + n(in) + "]", "bias [" + n(out) + "]"};
}
Names layer_norm(std::int64_t w) { return {"weight [" + n(w) + "]", "bias [" + n(w) + "]"}; }
Names rms_norm(std::int64_t w) { return {"weight [" + n(w) + "]"}; }
Names attention(std::int64_t w) {
  return joined({{"in_proj_weight [" + n(3 * w) + ", " + n(w) + "]", "in_proj_bias [" + n(3 * w) + "]"},
                 below("out_proj", linear(w, w))});
}
Names mlp(std::int64_t w, std::int64_t hidden) {
  return joined({below("c_fc", linear(w, hidden)), below("c_proj", linear(hidden, w))});
}
Names block(std::int64_t w) {
  return joined({below("attn", attention(w)), below("ln_1", layer_norm(w)), below("ln_2", layer_norm(w)),
                 below("mlp", mlp(w, 4 * w))});
}

constexpr AttentionMask full, neighbours{.neighbourhood = Neighbourhood{{2, 3}, 3}}, causal{.causal = true};
Names swiglu(std::int64_t w, std::int64_t hidden) {
  const auto matrix = [](const char* name, std::int64_t out, std::int64_t in) {
    return std::string(name) + ".weight [" + n(out) + ", " + n(in) + "]";
  };
  return {matrix("w1", hidden, w), matrix("w2", hidden, w), matrix("w3", w, hidden)};
}

const nn::BlockConfig neighbourhood_block{.width = 4, .heads = 2, .mask = neighbours},
    rms_block{.width = 4, .heads = 2, .mlp = "swiglu", .mlp_ratio = 3, .norm = "rms_norm"},
    last_block{.width = 4, .heads = 2, .residual = false};

}  // namespace

std::vector<LayerRow> layer_table() {
  using std::make_unique;
  std::vector<LayerRow> rows;
  const auto add = [&](const char* name, const char* variant, Shape input, Shape output, Names parameters,
                       std::function<Layer(Random&)> make) {
    rows.push_back({name, variant, input, output, std::move(parameters), std::move(make)});
  };
  add("Linear", "", {2, 3, 5}, {2, 3, 4}, linear(5, 4),
      [](Random& r) { return made(make_unique<nn::Linear>(5, 4, r)); });
  add("Projection", "", {2, 3, 5}, {2, 3, 4}, {"weight [4, 5]"},
      [](Random& r) { return made(make_unique<nn::Projection>(5, 4, r)); });
  add("Norm", "layer_norm", {2, 3, 7}, {2, 3, 7}, layer_norm(7),
      [](Random&) { return made(make_unique<nn::LayerNorm>(7)); });
  add("Norm", "layer_norm_eps", {2, 3, 7}, {2, 3, 7}, layer_norm(7),
      [](Random&) { return made(nn::make_norm("layer_norm", 7, 1e-3)); });
  add("Norm", "rms_norm", {2, 3, 7}, {2, 3, 7}, rms_norm(7),
      [](Random&) { return made(nn::make_norm("rms_norm", 7, 1e-6)); });
  add("Mlp", "quick_gelu", {2, 3, 4}, {2, 3, 4}, mlp(4, 6), [](Random& r) {
    return made(nn::make_mlp({4, 6}, r));
  });
  add("Mlp", "gelu", {2, 3, 4}, {2, 3, 4}, mlp(4, 6), [](Random& r) {
    return made(nn::make_mlp({4, 6, "gelu"}, r));
  });
  add("Mlp", "gelu_pytorch_tanh", {2, 3, 4}, {2, 3, 4}, mlp(4, 6), [](Random& r) {
    return made(nn::make_mlp({4, 6, "gelu_pytorch_tanh"}, r));
  });
  add("Mlp", "swiglu", {2, 3, 4}, {2, 3, 4}, swiglu(4, 6), [](Random& r) {
    return made(nn::make_mlp({4, 6, "swiglu"}, r));
  });
  add("PatchEmbedding", "bias", {2, 3, 4, 6}, {2, 6, 5}, {"weight [5, 3, 2, 2]", "bias [5]"},
      [](Random& r) { return made(make_unique<nn::PatchEmbedding>(3, 5, 2, r, true)); });
  add("PatchEmbedding", "", {2, 3, 4, 6}, {2, 6, 5}, {"weight [5, 3, 2, 2]"},
      [](Random& r) { return made(make_unique<nn::PatchEmbedding>(3, 5, 2, r)); });
  add("Attention", "full", {2, 6, 4}, {2, 6, 4}, attention(4), [](Random& r) {
    return made(make_unique<nn::Attention>(nn::AttentionConfig{4, 2, full}, r));
  });
  add("Attention", "neighbourhood", {2, 6, 4}, {2, 6, 4}, attention(4), [](Random& r) {
    return made(make_unique<nn::Attention>(nn::AttentionConfig{4, 2, neighbours}, r));
  });
  add("Attention", "dilated_registers_rope", {2, 8, 8}, {2, 8, 8}, attention(8), [](Random& r) {
    const TokenGrid grid{2, 3};
    return made(make_unique<nn::Attention>(
        nn::AttentionConfig{8, 2, {.neighbourhood = Neighbourhood{grid, 3, 2, 2}}, grid}, r));
  });
  add("Attention", "causal", {2, 6, 4}, {2, 6, 4}, attention(4), [](Random& r) {
    return made(make_unique<nn::Attention>(nn::AttentionConfig{4, 2, causal}, r));
  });
  add("ResidualBlock", "", {2, 6, 4}, {2, 6, 4}, block(4),
      [](Random& r) { return made(make_unique<nn::ResidualBlock>(neighbourhood_block, r)); });
  add("ResidualBlock", "swiglu_rms_norm", {2, 6, 4}, {2, 6, 4},
      joined({below("attn", attention(4)), below("ln_1", rms_norm(4)), below("ln_2", rms_norm(4)),
              below("mlp", swiglu(4, 8))}),
      [](Random& r) { return made(make_unique<nn::ResidualBlock>(rms_block, r)); });
  add("ResidualBlock", "no_residual", {2, 6, 4}, {2, 6, 4},
      joined({below("attn", attention(4)), below("ln_1", layer_norm(4))}),
      [](Random& r) { return made(make_unique<nn::ResidualBlock>(last_block, r)); });
  add("Transformer", "", {2, 6, 4}, {2, 6, 4},
      joined({below("resblocks.0", block(4)), below("resblocks.1", block(4))}),
      [](Random& r) { return made(make_unique<nn::Transformer>(2, neighbourhood_block, r)); });
  return rows;
}

}  // namespace vitral::test
