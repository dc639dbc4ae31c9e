// Advice to the operating system about large buffers.
#pragma once

#include <cstddef>

namespace crnn {

// Asks for 2 MB pages behind a large buffer that is about to be written for the first time: a
// fresh 256 MB in pages of 4 KB costs 65,536 page faults, more time than computing its contents.
// Does nothing for small buffers or where the system has no such advice.
void prefer_huge_pages(void* data, size_t bytes);

}  // namespace crnn
