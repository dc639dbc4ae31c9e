// The file of a lexicon, laid out to be mapped. All numbers are little-endian, as on every machine
// this library is built for:
//
//   bytes  what
//   8      "CRNNLEX" and a zero byte
//   4 4    version of the format: 1; the blank
//   8 8    classes; h, the size of the header text
//   8 8    nodes and words of the trie
//   8 8    size of the file; checksum of everything, this number taken as 0
//   h      the header text: what Python wants back (symbols)
//          zeros to a multiple of 8
//   4 ...  the trie: Trie::buffer()
//          zeros to a multiple of 8
//
// The checksum is that of common/checksum.h. The trie is checked whole before it is used: a file
// made to mislead can give wrong answers, not crash.
#include <cstring>
#include <stdexcept>

#include "common/checksum.h"
#include "common/mapped_file.h"
#include "transcription/lexicon_words.h"

namespace crnn {
namespace {

constexpr char kMagic[8] = "CRNNLEX";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMostClasses = uint64_t{1} << 24;
constexpr uint64_t kZeros = 0;

struct Head {
  char magic[8];
  uint32_t version, blank;
  uint64_t classes, header_bytes, nodes, words, size, checksum;
};
static_assert(sizeof(Head) == 64, "the layout above");

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

uint64_t checksum(Head head, const std::string& header, const uint32_t* trie, uint64_t bytes) {
  head.checksum = 0;
  Checksum sum;
  sum.add(&head, sizeof head);
  sum.add(header.data(), header.size());
  sum.add(trie, bytes);
  return sum.value();
}

uint64_t trie_bytes(const Head& head) {
  return 4 * static_cast<uint64_t>(Trie::buffer_size(static_cast<int64_t>(head.nodes),
                                                     static_cast<int64_t>(head.words)));
}

[[noreturn]] void reject(const std::string& reason) { throw std::invalid_argument(reason); }

void check_head(const Head& head, uint64_t size) {
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) reject("it is not a lexicon file");
  if (head.version != kVersion) {
    reject("it has format version " + std::to_string(head.version) + ", not 1");
  }
  if (head.nodes >= Trie::kNone || head.words >= Trie::kNone || head.header_bytes > size ||
      head.classes > kMostClasses || head.blank >= head.classes) {
    reject("it announces an impossible size");
  }
  const uint64_t announced = sizeof head + padded(head.header_bytes) + padded(trie_bytes(head));
  if (head.size != announced || announced != size) {
    reject("it has " + std::to_string(size) + " bytes and announces " +
           std::to_string(head.size == announced ? announced : head.size));
  }
}

}  // namespace

void Lexicon::save(int descriptor, const std::string& header) const {
  std::shared_ptr<const Words> words = this->words();
  if (words->index.tries.size() != 1 || !words->live.empty()) words = merged(*words);
  const Trie empty((WordList()));
  const Trie& trie = words->index.tries.empty() ? empty : *words->index.tries[0];
  Head head{};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  head.version = kVersion;
  head.blank = static_cast<uint32_t>(blank_);
  head.classes = static_cast<uint64_t>(classes_);
  head.header_bytes = header.size();
  head.nodes = static_cast<uint64_t>(trie.nodes());
  head.words = static_cast<uint64_t>(trie.size());
  const uint64_t bytes = trie_bytes(head);
  head.size = sizeof head + padded(header.size()) + padded(bytes);
  head.checksum = checksum(head, header, trie.buffer(), bytes);
  write_all(descriptor, &head, sizeof head);
  write_all(descriptor, header.data(), header.size());
  write_all(descriptor, &kZeros, padded(header.size()) - header.size());
  write_all(descriptor, trie.buffer(), bytes);
  write_all(descriptor, &kZeros, padded(bytes) - bytes);
}

std::unique_ptr<Lexicon> Lexicon::load(int descriptor, std::string& header) {
  const std::shared_ptr<const MappedFile> file = map_file(descriptor);
  Head head;
  if (file->size < sizeof head) reject("it is shorter than a head");
  const char* data = static_cast<const char*>(file->data);
  std::memcpy(&head, data, sizeof head);
  check_head(head, file->size);
  header.assign(data + sizeof head, head.header_bytes);
  const char* buffer = data + sizeof head + padded(head.header_bytes);
  const auto* numbers = reinterpret_cast<const uint32_t*>(buffer);
  if (checksum(head, header, numbers, trie_bytes(head)) != head.checksum) {
    reject("its checksum is wrong");
  }
  auto trie = std::make_shared<const Trie>(numbers, static_cast<int64_t>(head.nodes),
                                           static_cast<int64_t>(head.words),
                                           static_cast<uint32_t>(head.classes), file);
  for (uint32_t unit : trie->units()) {
    if (unit == head.blank) reject("its words hold the blank");
  }
  auto lexicon = std::make_unique<Lexicon>(static_cast<int64_t>(head.classes),
                                           static_cast<int64_t>(head.blank));
  lexicon->publish(std::make_shared<Words>(std::vector<std::shared_ptr<const Trie>>{trie},
                                           std::vector<bool>(), head.blank));
  return lexicon;
}

}  // namespace crnn
