// What the files of a lexicon and of a language model have in common. All numbers are
// little-endian, as on every machine this library is built for:
//
//   a head    magic, version of the format, the blank, the classes, and what the kind of file adds
//   a header  text: what Python wants back (symbols); zeros to a multiple of 8
//   a body    numbers of 4 bytes, laid out to be mapped; zeros to a multiple of 8
//
// Head is a struct, without gaps between its fields, with char magic[8]; uint32_t version, blank;
// uint64_t classes, header_bytes, size, checksum. `size` is that of the whole file, `checksum`
// (common/checksum.h) that of everything, itself taken as 0.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "common/checksum.h"
#include "common/mapped_file.h"

namespace crnn {

[[noreturn]] inline void reject_file(const std::string& reason) {
  throw std::invalid_argument(reason);
}

inline uint64_t padded_bytes(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

// Completes the head and writes the file. Throws std::system_error.
template <typename Head>
void write_framed(int descriptor, Head head, const char (&magic)[8], const std::string& header,
                  const void* body, uint64_t body_bytes) {
  constexpr uint64_t zeros = 0;
  std::memcpy(head.magic, magic, sizeof magic);
  head.version = 1;
  head.header_bytes = header.size();
  head.size = sizeof head + padded_bytes(header.size()) + padded_bytes(body_bytes);
  head.checksum = 0;
  Checksum sum;
  sum.add(&head, sizeof head);
  sum.add(header.data(), header.size());
  sum.add(body, body_bytes);
  head.checksum = sum.value();
  write_all(descriptor, &head, sizeof head);
  write_all(descriptor, header.data(), header.size());
  write_all(descriptor, &zeros, padded_bytes(header.size()) - header.size());
  write_all(descriptor, body, body_bytes);
  write_all(descriptor, &zeros, padded_bytes(body_bytes) - body_bytes);
}

// Checks all but the body's own rules; returns the body, and by reference the head and the header.
// Throws std::invalid_argument with the reason, which names `kind`. `body_bytes` gives the size of
// the body from the head, and rejects what is out of range there.
template <typename Head, typename BodyBytes>
const uint32_t* read_framed(const MappedFile& file, const char (&magic)[8], const std::string& kind,
                            BodyBytes body_bytes, Head& head, std::string& header) {
  constexpr uint64_t most_classes = uint64_t{1} << 24;
  if (file.size < sizeof head) reject_file("it is shorter than a head");
  const char* data = static_cast<const char*>(file.data);
  std::memcpy(&head, data, sizeof head);
  if (std::memcmp(head.magic, magic, sizeof magic) != 0) reject_file("it is not a " + kind);
  if (head.version != 1) {
    reject_file("it has format version " + std::to_string(head.version) + ", not 1");
  }
  if (head.header_bytes > file.size || head.classes > most_classes || head.blank >= head.classes) {
    reject_file("it announces an impossible size");
  }
  const uint64_t announced =
      sizeof head + padded_bytes(head.header_bytes) + padded_bytes(body_bytes(head));
  if (head.size != announced || announced != file.size) {
    reject_file("it has " + std::to_string(file.size) + " bytes and announces " +
                std::to_string(head.size == announced ? announced : head.size));
  }
  Head unsigned_head = head;
  unsigned_head.checksum = 0;
  Checksum sum;
  sum.add(&unsigned_head, sizeof head);
  sum.add(data + sizeof head, head.size - sizeof head);
  if (sum.value() != head.checksum) reject_file("its checksum is wrong");
  header.assign(data + sizeof head, head.header_bytes);
  return reinterpret_cast<const uint32_t*>(data + sizeof head + padded_bytes(head.header_bytes));
}

}  // namespace crnn
