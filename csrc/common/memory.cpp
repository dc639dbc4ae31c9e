#include "common/memory.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace crnn {
namespace {

constexpr size_t kHugePage = size_t(2) << 20;

struct Kept {
  std::mutex mutex;
  void* data = nullptr;
  size_t capacity = 0;
};

// Never destroyed: tensors may release their memory after static destruction.
Kept& kept() {
  static Kept* const instance = new Kept;
  return *instance;
}

size_t whole_pages(size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

}  // namespace

void* allocate_large(size_t bytes) {
  const size_t capacity = whole_pages(bytes);
  void* data = std::aligned_alloc(kHugePage, capacity);
  if (data == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  // Only advice: the result is the same where it is refused.
  (void)madvise(data, capacity, MADV_HUGEPAGE);
#endif
  return data;
}

LargeBuffer::LargeBuffer(size_t bytes) : data_(nullptr), bytes_(bytes), capacity_(0) {
  {
    Kept& k = kept();
    std::lock_guard<std::mutex> lock(k.mutex);
    if (k.capacity >= bytes && k.capacity / 2 <= bytes) {
      data_ = std::exchange(k.data, nullptr);
      capacity_ = std::exchange(k.capacity, 0);
    }
  }
  if (data_ == nullptr) {
    capacity_ = whole_pages(bytes);
    data_ = allocate_large(capacity_);
  }
}

LargeBuffer::~LargeBuffer() {
  Kept& k = kept();
  void* old = nullptr;
  {
    std::lock_guard<std::mutex> lock(k.mutex);
    old = std::exchange(k.data, data_);
    k.capacity = capacity_;
  }
  std::free(old);
}

size_t release_large_buffer() {
  Kept& k = kept();
  void* old = nullptr;
  size_t capacity = 0;
  {
    std::lock_guard<std::mutex> lock(k.mutex);
    old = std::exchange(k.data, nullptr);
    capacity = std::exchange(k.capacity, 0);
  }
  std::free(old);
  return capacity;
}

}  // namespace crnn
