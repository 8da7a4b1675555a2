// Lesson 6: a block, and a vision transformer. docs/course/06_vit.md explains it.
#include <cmath>
#include <functional>
#include <map>

#include "data/images/image.h"
#include "infer/show/canvas.h"
#include "models/student/student.h"

using namespace vitral;
using Numbers = std::vector<double>;
using Weights = std::map<std::string, Numbers>;  // by their names in files

// --- A vision transformer by hand, without its head. x [N,W] is row after row ---

// y [N,O] = x [N,I] weight^T + bias;  weight [O,I], bias [O] or empty
Numbers linear_rows(const Numbers& x, const Numbers& weight, const Numbers& bias, std::size_t in) {
  const std::size_t out = weight.size() / in, rows = x.size() / in;
  Numbers y(rows * out);
  for (std::size_t n = 0; n < rows; ++n)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0 : bias[o];
      for (std::size_t i = 0; i < in; ++i) sum += x[n * in + i] * weight[o * in + i];
      y[n * out + o] = sum;
    }
  return y;
}

// Each row: (x - mean) / sqrt(variance + 1e-5) * weight + bias
Numbers norm_rows(const Numbers& x, const Numbers& weight, const Numbers& bias) {
  const std::size_t w = weight.size();
  Numbers y(x.size());
  for (std::size_t row = 0; row < x.size(); row += w) {
    double mean = 0, variance = 0;
    for (std::size_t i = 0; i < w; ++i) mean += x[row + i] / static_cast<double>(w);
    for (std::size_t i = 0; i < w; ++i) variance += std::pow(x[row + i] - mean, 2) / static_cast<double>(w);
    for (std::size_t i = 0; i < w; ++i)
      y[row + i] = (x[row + i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
  }
  return y;
}

// qkv [N, 3 W] -> [N,W]: softmax over the tokens that each sees (lesson 5)
Numbers attend(const Numbers& qkv, std::size_t w, std::size_t heads, const Neighbourhood& sees) {
  const std::size_t tokens = qkv.size() / (3 * w), size = w / heads;
  Numbers out(tokens * w);
  for (std::size_t i = 0; i < tokens; ++i)
    for (std::size_t h = 0; h < w; h += size) {
      Numbers p(tokens);
      double total = 0;
      for (std::size_t j = 0; j < tokens; ++j) {
        if (!sees.sees(static_cast<std::int64_t>(i), static_cast<std::int64_t>(j))) continue;
        double score = 0;
        for (std::size_t d = h; d < h + size; ++d) score += qkv[i * 3 * w + d] * qkv[(j * 3 + 1) * w + d];
        total += p[j] = std::exp(score / std::sqrt(size));
      }
      for (std::size_t j = 0; j < tokens; ++j)
        for (std::size_t d = h; d < h + size; ++d) out[i * w + d] += p[j] / total * qkv[(j * 3 + 2) * w + d];
    }
  return out;
}

void add_to(Numbers& x, const Numbers& delta) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += delta[i % delta.size()];
}

// x += attn(ln_1(x));  x += mlp(ln_2(x))
void block(Numbers& x, Weights& p, const std::string& at, std::size_t w, std::size_t heads,
           const Neighbourhood& sees) {
  const Numbers a = norm_rows(x, p[at + "ln_1.weight"], p[at + "ln_1.bias"]);
  const Numbers qkv = linear_rows(a, p[at + "attn.in_proj_weight"], p[at + "attn.in_proj_bias"], w);
  const Numbers seen = attend(qkv, w, heads, sees);
  add_to(x, linear_rows(seen, p[at + "attn.out_proj.weight"], p[at + "attn.out_proj.bias"], w));

  const Numbers m = norm_rows(x, p[at + "ln_2.weight"], p[at + "ln_2.bias"]);
  Numbers hidden = linear_rows(m, p[at + "mlp.c_fc.weight"], p[at + "mlp.c_fc.bias"], w);
  for (double& h : hidden) h /= 1 + std::exp(-1.702 * h);  // quick_gelu: h sigmoid(1.702 h)
  add_to(x, linear_rows(hidden, p[at + "mlp.c_proj.weight"], p[at + "mlp.c_proj.bias"], 4 * w));
}

// patches [N, 3 p p] of one image -> x [N,W]
Numbers vision_transformer(const Numbers& patches, Weights& p, int layers, std::size_t heads,
                           const Neighbourhood& sees) {
  const std::size_t w = p["ln_pre.weight"].size(), in = p["conv1.weight"].size() / w;
  Numbers x = linear_rows(patches, p["conv1.weight"], {}, in);
  add_to(x, p["positional_embedding"]);
  x = norm_rows(x, p["ln_pre.weight"], p["ln_pre.bias"]);
  for (int layer = 0; layer < layers; ++layer)
    block(x, p, fmt::format("transformer.resblocks.{}.", layer), w, heads, sees);
  return x;
}

bool all_hold = true;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what);
  all_hold = all_hold && holds;
}

bool close(const Numbers& a, const Numbers& b, double tolerance) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = std::abs(a[i] - b[i]) < tolerance;
  return same;
}

void against_vitral() {
  const models::StudentConfig config{.image_size = 24, .patch_size = 4, .width = 28, .layers = 3, .heads = 4};
  models::Trunk trunk(config, Random(1));
  trunk.to(DType::float64);
  Weights weights;
  for (const auto& p : trunk.parameters()) weights[p.name] = p.value->value().to_vector();
  Random random(2);
  const Tensor images = nn::uniform({1, 3, 24, 24}, 1, random).cast(DType::float64);
  const Variable patches = patchify(Variable(images), 4);
  const Numbers real = trunk(patches).value().to_vector();
  const Numbers by_hand =
      vision_transformer(patches.value().to_vector(), weights, 3, 4, Neighbourhood{{6, 6}, 3, 1, 0});
  const bool same = close(real, by_hand, 1e-12);
  fmt::print("3 layers by hand and models::Trunk, float64: largest difference {}\n",
             same ? "below 1e-12" : "too large");
  expect(same, "the transformer by hand is the real one");
}

double mean_length(const Variable& x) {  // of the tokens
  const Numbers squares = sum(square(x), 2).value().to_vector();
  double sum = 0;
  for (const double s : squares) sum += std::sqrt(s) / static_cast<double>(squares.size());
  return sum;
}

// The 21M student's trunk as a chain of operations, for one image; the first block is printed in full.
void chain_of_shapes() {
  const models::StudentConfig config;  // 224 pixels, patches of 28, W = 512 + 16, 6 layers, 16 heads
  const models::Trunk trunk(config, Random(1));
  std::map<std::string, Variable> p;
  for (const auto& named : trunk.parameters()) p[named.name] = *named.value;
  const NoGrad no_grad;
  Random random(3);
  const std::int64_t n = 64, w = 528;
  bool shown = true;
  const auto show = [&](const char* what, const Variable& y, std::int64_t weights = 0,
                        std::int64_t products = 0) {
    if (shown)
      fmt::print("{:<28} {:>16} {:>12} {:>10.1f}\n", what, y.shape().str(), weights,
                 2e-6 * static_cast<double>(products));
    return y;
  };
  const auto linear_of = [&](const char* what, const Variable& x, const std::string& name, char dot = '.') {
    const Variable &weight = p.at(name + dot + "weight"), &bias = p.at(name + dot + "bias");
    const std::int64_t count = weight.value().numel();
    return show(what, linear(x, weight, bias), count + bias.dim(0), count * x.dim(1));
  };
  const auto norm_of = [&](const char* what, const Variable& x, const std::string& name) {
    return show(what, layer_norm(x, p.at(name + ".weight"), p.at(name + ".bias")), 2 * x.dim(2));
  };
  fmt::print("\n{:<28} {:>16} {:>12} {:>10}\n", "of one image", "shape", "weights", "MFLOP");
  const Variable image = show("image", Variable(nn::normal({1, 3, 224, 224}, 1, random)));
  const Variable patches = show("patchify", patchify(image, 28));
  const Variable conv1 = reshape(p.at("conv1.weight"), {w, -1});
  Variable x = show("conv1", linear(patches, conv1, {}), w * 2352, n * w * 2352);
  x = show("+ positional_embedding", add(x, p.at("positional_embedding")), n * w);
  x = norm_of("ln_pre", x, "ln_pre");
  std::string lengths = fmt::format("ln_pre            {:6.1f}\n", mean_length(x));
  for (int layer = 0; layer < 6; ++layer) {
    const std::string at = fmt::format("transformer.resblocks.{}.", layer);
    const Variable a = norm_of("block 0: ln_1", x, at + "ln_1");
    const Variable qkv = linear_of("  attn.in_proj", a, at + "attn.in_proj", '_');
    const Variable seen = show("  neighbourhood_attention",
                               neighbourhood_attention(qkv, 16, {{8, 8}, 3, 1, 0}), 0, 2 * n * 9 * w);
    const Variable from_others = linear_of("  attn.out_proj", seen, at + "attn.out_proj");
    x = show("  x += that", add(x, from_others));
    const Variable h = linear_of("  mlp.c_fc of ln_2", norm_of("  ln_2", x, at + "ln_2"), at + "mlp.c_fc");
    const Variable from_itself = linear_of("  mlp.c_proj of quick_gelu", quick_gelu(h), at + "mlp.c_proj");
    x = show("  x += that", add(x, from_itself));
    lengths += fmt::format("block {} {:10.1f} {:6.1f} {:12.1f}\n", layer, mean_length(from_others),
                           mean_length(from_itself), mean_length(x));
    shown = false;
  }
  fmt::print("the trunk with its six blocks {:>28}\n", trunk.parameter_count());
  fmt::print("\nmean length of a token: added by attention, by the MLP, x\n{}", lengths);
  const Numbers real = trunk(patches).value().to_vector(), chained = x.value().to_vector();
  expect(close(real, chained, 1e-4), "the chain of operations is the trunk");
}

// --- The picture: which patches one patch depends on after so many layers, by gradients ---

// The steepest |d |x_query|^2 / d pixel| of each patch, [64].
Numbers influence(models::StudentConfig config, int layers, std::int64_t query) {
  config.layers = layers;
  models::Trunk trunk(config, Random(1));
  trunk.to(DType::float64);
  Random random(2);
  const Variable patches(nn::normal({1, 64, 48}, 1, random).cast(DType::float64), true);
  const Variable x = slice(trunk(patches), 1, query, query + 1);  // [1,1,W]
  sum(square(x)).backward();
  const Numbers g = patches.grad().to_vector();
  Numbers steepest(64);
  for (std::size_t i = 0; i < g.size(); ++i) steepest[i / 48] = std::max(steepest[i / 48], std::abs(g[i]));
  return steepest;
}

void draw(const std::string& path) {
  const models::StudentConfig base{.image_size = 32, .patch_size = 4, .width = 32, .heads = 4};
  models::StudentConfig holes = base, registers = base, full = base;
  holes.dilation = 2;
  registers.registers = 1;
  full.attention = "full";
  const std::pair<const char*, models::StudentConfig> rows[] = {
      {"3x3", base}, {"3x3, dilation 2", holes}, {"3x3, a register", registers}, {"full", full}};
  const std::int64_t query = 9, cell = 12;  // patch (1, 1)
  infer::Canvas canvas(790, 480, {255, 255, 255});
  fmt::print("\npatches that patch (1, 1) depends on\n");
  for (std::int64_t row = 0; row < 4; ++row) {
    fmt::print("{:<18}", rows[row].first);
    canvas.text(10, 75 + 112 * row, rows[row].first, infer::Font::large, {0, 0, 0});
    for (std::int64_t layer = 1; layer <= 6; ++layer) {
      const Numbers steepest = influence(rows[row].second, static_cast<int>(layer), query);
      const double most = *std::max_element(steepest.begin(), steepest.end());
      const std::int64_t x0 = 144 + 107 * (layer - 1), y0 = 32 + 112 * row;
      if (row == 0)
        canvas.text(x0, 10, fmt::format("{} layer{}", layer, layer > 1 ? "s" : ""), infer::Font::large,
                    {0, 0, 0});
      int seen = 0;
      for (std::int64_t n = 0; n < 64; ++n) {
        const double s = steepest[static_cast<std::size_t>(n)];
        seen += s > 0 ? 1 : 0;  // exactly 0 where there is no way from the patch
        const float strength = s > 0 ? static_cast<float>(std::max(0.0, 1 + std::log10(s / most) / 5)) : 0;
        const infer::Colour c = infer::mix({200, 215, 255}, {10, 30, 140}, strength);
        canvas.fill({x0 + n % 8 * cell, y0 + n / 8 * cell, cell - 1, cell - 1},
                    s > 0 ? c : infer::Colour{235, 235, 235});
        const bool ring = std::max(std::abs(n / 8 - query / 8), std::abs(n % 8 - query % 8)) <= layer;
        expect(row != 0 || ring == (s > 0), fmt::format("layer {}: one ring a layer, patch {}", layer, n));
      }
      canvas.frame({x0 + query % 8 * cell - 1, y0 + query / 8 * cell - 1, cell + 1, cell + 1}, 2,
                   {220, 50, 40});
      expect(row != 3 || seen == 64, "full attention sees all after a layer");
      expect(row != 2 || layer == 1 || seen == 64, "a register brings all after two layers");
      fmt::print("{:5}", seen);
    }
    fmt::print("\n");
  }
  data::write_png(path, canvas.image());
}

int main(int argc, char** argv) {
  against_vitral();
  chain_of_shapes();
  draw(std::string(argc > 1 ? argv[1] : ".") + "/06_receptive_field.png");
  return all_hold ? 0 : 1;
}
