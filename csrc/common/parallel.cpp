#include "common/parallel.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace crnn {
namespace {

std::atomic<void (*)()> interrupt_check{nullptr};

struct Loop {
  int64_t n, grain;
  ChunkFunction fn;
  void* context;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex error_mutex{};
  std::exception_ptr error{};

  void keep_error() {
    std::lock_guard<std::mutex> lock(error_mutex);
    if (!error) error = std::current_exception();
    failed = true;
  }

  void work(bool is_caller) {
    try {
      while (!failed) {
        const int64_t begin = next.fetch_add(grain);
        if (begin >= n) return;
        fn(context, begin, std::min(n, begin + grain));
        if (is_caller) poll_interrupt();
      }
    } catch (...) {
      keep_error();
    }
  }
};

class Pool {
 public:
  // Returns false, having done nothing, when another loop holds the pool.
  bool try_run(Loop& loop, int helpers) {
    std::unique_lock<std::mutex> turn(turn_mutex_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (size_ < helpers && start_worker()) ++size_;
      loop_ = &loop;
      wanted_ = std::min(helpers, size_);
    }
    wake_.notify_all();
    loop.work(true);
    std::unique_lock<std::mutex> lock(mutex_);
    wanted_ = 0;  // workers that did not wake in time are not needed any more
    idle_.wait(lock, [&] { return running_ == 0; });
    loop_ = nullptr;
    return true;
  }

 private:
  bool start_worker() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals stay with Python's threads
    bool started = true;
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      started = false;  // out of threads: the loop runs on those there are
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return wanted_ > 0; });
      --wanted_;
      ++running_;
      Loop* loop = loop_;
      lock.unlock();
      loop->work(false);
      lock.lock();
      if (--running_ == 0) idle_.notify_one();
    }
  }

  std::mutex turn_mutex_, mutex_;
  std::condition_variable wake_, idle_;
  Loop* loop_ = nullptr;
  int size_ = 0, wanted_ = 0, running_ = 0;
};

// Never destroyed: detached workers may outlive static destruction, and a forked child must not
// touch the parent's pool, whose threads it does not have.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new Pool;
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
  });
  return *pool;
}

}  // namespace

void run_chunks(int64_t n, int64_t grain, int num_threads, ChunkFunction fn, void* context) {
  if (n <= 0) return;
  Loop loop{n, grain, fn, context};
  const int64_t chunks = (n + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(num_threads, chunks)) - 1;
  if (helpers < 1 || !the_pool().try_run(loop, helpers)) loop.work(true);
  if (loop.error) std::rethrow_exception(loop.error);
}

void set_interrupt_check(void (*check)()) { interrupt_check = check; }

void poll_interrupt() {
  using Clock = std::chrono::steady_clock;
  thread_local Clock::time_point last = Clock::now();
  const auto now = Clock::now();
  if (now - last < std::chrono::milliseconds(50)) return;
  last = now;
  if (auto check = interrupt_check.load()) check();
}

}  // namespace crnn
