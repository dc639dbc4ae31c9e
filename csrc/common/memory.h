// Large buffers that are written once per call, such as gradients of [T, N, C].
//
// The C library gives memory of this size back to the system, so that every call of a training
// loop pays for fresh pages: at 256 MB 65,536 page faults of 4 KB, at 2 MB 512. One released buffer
// is therefore kept for the next call. It is memory that the process had in use at that moment, so
// its peak does not grow.
#pragma once

#include <cstddef>

namespace crnn {

// Sizes from which a buffer is worth keeping.
constexpr size_t kLargeBuffer = size_t(1) << 20;

// Memory of whole 2 MB pages, aligned to them, which one entry of the processor's page table covers
// where the system allows. Contents are undefined. Release with std::free. Throws std::bad_alloc.
void* allocate_large(size_t bytes);

class LargeBuffer {
 public:
  // Takes the kept buffer if it is large enough but not over twice as large, else new memory.
  // Contents are undefined. Throws std::bad_alloc.
  explicit LargeBuffer(size_t bytes);
  // Keeps the memory in place of what was kept before, which goes back to the system.
  ~LargeBuffer();
  LargeBuffer(const LargeBuffer&) = delete;
  LargeBuffer& operator=(const LargeBuffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_;
  size_t bytes_, capacity_;
};

// Gives the kept buffer back to the system; returns its size, 0 if there was none.
size_t release_large_buffer();

}  // namespace crnn
