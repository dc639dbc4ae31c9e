#include "common/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace crnn {
namespace {

constexpr size_t kMostWritten = size_t{1} << 30;  // of one call: Linux takes less than 2^31

[[noreturn]] void fail_by_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

MappedFile::~MappedFile() {
  if (size > 0) munmap(const_cast<void*>(data), size);
}

std::shared_ptr<const MappedFile> map_file(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) fail_by_errno("fstat");
  const auto size = static_cast<size_t>(status.st_size);
  auto mapped = std::make_shared<MappedFile>(MappedFile{nullptr, 0});
  if (size == 0) return mapped;
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) fail_by_errno("mmap");
  mapped->data = data;
  mapped->size = size;
  return mapped;
}

void write_all(int descriptor, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(descriptor, next, std::min(size, kMostWritten));
    if (written < 0 && errno != EINTR) fail_by_errno("write");
    if (written < 0) continue;
    next += written;
    size -= static_cast<size_t>(written);
  }
}

}  // namespace crnn
