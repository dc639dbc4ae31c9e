// A file in memory, shared with every process that maps it.
#pragma once

#include <cstddef>
#include <memory>

namespace crnn {

struct MappedFile {
  const void* data;
  size_t size;  // bytes
  ~MappedFile();
};

// Maps an open file for reading; the descriptor may be closed afterwards. Throws
// std::system_error. The file must not be cut short while it is mapped.
std::shared_ptr<const MappedFile> map_file(int descriptor);

// Writes all of the bytes. Throws std::system_error.
void write_all(int descriptor, const void* data, size_t size);

}  // namespace crnn
