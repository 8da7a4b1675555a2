// A tensor that is made before main() has no CPU to live on yet; the error must say so.
#include <gtest/gtest.h>

#include "tensor/tensor.h"
#include "tests/support.h"

namespace vitral {
namespace {

struct Early {
  std::string message = test::message_of([] { Tensor::zeros({1}); });
};
[[gnu::init_priority(101)]] Early early;  // before everything else

TEST(StaticTensor, SaysWhyItCannotBe) {
#ifdef VITRAL_SHARED  // what a program is linked with is ready before it
  GTEST_SKIP() << "the library is shared";
#endif
  EXPECT_EQ(early.message,
            "tensor: made before main(), when the CPU is not registered yet; make it inside a function");
  EXPECT_EQ(Tensor::zeros({1}).item(), 0);
}

}  // namespace
}  // namespace vitral
