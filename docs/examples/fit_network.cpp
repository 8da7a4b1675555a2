// Fits a network of two layers to y = sin(x) on [-pi, pi): vitral as a library.
#include <cmath>

#include "nn/nn.h"
#include "train/adamw.h"

using namespace vitral;

struct Network : nn::Module {
  Random random{0};  // the seed of the first weights
  nn::Linear& hidden = child<nn::Linear>("hidden", 1, 32, random);
  nn::Linear& out = child<nn::Linear>("out", 32, 1, random);

  // x [B,1] -> [B,1]
  Variable operator()(const Variable& x) const { return out(gelu(hidden(x))); }
};

int main() {
  Network network;
  train::AdamW optimizer(network, {.lr = 1e-2});
  Random random(1);
  double last = 0;
  for (int step = 1; step <= 1000; ++step) {
    const Tensor x = nn::uniform({64, 1}, M_PI, random), y(x.shape());
    for (int i = 0; i < 64; ++i) y.data<float>()[i] = std::sin(x.data<float>()[i]);
    const Variable loss = mse_loss(network(Variable(x)), Variable(y));
    network.zero_grad();
    loss.backward();
    optimizer.step();
    last = loss.item();
    if (step % 100 == 0) fmt::print("step {:4}  loss {:.6f}\n", step, last);
  }
  return last < 1e-3 ? 0 : 1;
}
