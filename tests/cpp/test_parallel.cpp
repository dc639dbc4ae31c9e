#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"
#include "common/parallel.h"

using crnn::parallel_for;

TEST(parallel, every_item_once) {
  for (int64_t n : {0, 1, 2, 7, 1000}) {
    for (int64_t grain : {1, 3, 2000}) {
      for (int threads : {1, 2, 5}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
        parallel_for(n, grain, threads, [&](int64_t begin, int64_t end) {
          CHECK(begin % grain == 0 && end <= n && end - begin <= grain);
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const auto& count : seen) CHECK_EQUAL(count.load(), 1);
      }
    }
  }
}

TEST(parallel, an_exception_reaches_the_caller_and_the_pool_lives_on) {
  for (int threads : {1, 4}) {
    std::atomic<int> chunks{0};
    const std::string message = THROWN(std::runtime_error, {
      parallel_for(1000, 1, threads, [&](int64_t begin, int64_t) {
        ++chunks;
        if (begin == 10) throw std::runtime_error("item ten");
        // Long enough that the others cannot finish while an exception is on its way.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
    });
    CHECK_EQUAL(message, "item ten");
    CHECK(chunks < 1000);
    std::atomic<int64_t> sum{0};
    parallel_for(100, 1, threads, [&](int64_t begin, int64_t) { sum += begin; });
    CHECK_EQUAL(sum.load(), 4950);
  }
}

TEST(parallel, loops_of_several_threads_and_nested_loops) {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        parallel_for(20, 1, 3, [&](int64_t, int64_t) {
          parallel_for(5, 1, 2, [&](int64_t begin, int64_t) { sum += begin; });
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQUAL(sum.load(), 4 * 50 * 20 * 10);
}

TEST(parallel, the_interrupt_check_stops_a_loop) {
  crnn::set_interrupt_check([] { throw std::runtime_error("interrupted"); });
  const std::string message = THROWN(std::runtime_error, {
    parallel_for(1000, 1, 2, [](int64_t, int64_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    });
  });
  crnn::set_interrupt_check(nullptr);
  CHECK_EQUAL(message, "interrupted");
}
