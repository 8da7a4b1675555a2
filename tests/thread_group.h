// A Group of threads, for tests of what several processes do together.
#pragma once
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "processes/group.h"

namespace vitral::test {

// Processes of this one: a thread each.
class Threads {
 public:
  explicit Threads(int size) : size_(size), barrier_(size), sent_(static_cast<std::size_t>(size)) {}

  template <class Work>
  void run(Work&& work) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank)
      threads.emplace_back([&, rank] {
        Member member(*this, rank);
        work(member);
      });
    for (auto& thread : threads) thread.join();
  }

 private:
  class Member : public Group {
   public:
    Member(Threads& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    void all_to_all(const void* from, void* to, std::size_t bytes) override {
      exchange(from, to, bytes, static_cast<std::size_t>(rank_) * bytes);
    }
    void all_gather(const void* from, void* to, std::size_t bytes) override { exchange(from, to, bytes, 0); }
    void broadcast(void*, std::size_t) override { FAIL() << "not needed"; }
    [[noreturn]] void abort(int) override { std::abort(); }

   private:
    void exchange(const void* from, void* to, std::size_t bytes, std::size_t offset) {
      all_.sent_[static_cast<std::size_t>(rank_)] = static_cast<const char*>(from);
      all_.barrier_.arrive_and_wait();
      std::vector<char> got;
      for (const char* sent : all_.sent_) got.insert(got.end(), sent + offset, sent + offset + bytes);
      all_.barrier_.arrive_and_wait();
      std::memcpy(to, got.data(), got.size());
    }

    Threads& all_;
    int rank_;
  };

  int size_;
  std::barrier<> barrier_;
  std::vector<const char*> sent_;
};

}  // namespace vitral::test
