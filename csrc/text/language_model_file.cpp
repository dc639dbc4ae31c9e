// The file of a language model, laid out to be mapped. All numbers are little-endian, as on every
// machine this library is built for:
//
//   bytes  what
//   8      "CRNNLM" and two zero bytes
//   4 4    version of the format: 1; the blank
//   4 4    the order; zero
//   8 8    classes; h, the size of the header text
//   8 8    nodes and contexts
//   8 8    size of the file; checksum of everything, this number taken as 0
//   h      the header text: what Python wants back (symbols)
//          zeros to a multiple of 8
//   4 ...  first_child, unit, suffix (32-bit integers), log_prob, backoff (floats): see NGrams
//          zeros to a multiple of 8
//
// The checksum is that of common/checksum.h. The n-grams are checked whole before they are used: a
// file made to mislead can give wrong answers, not crash.
#include <cstring>
#include <stdexcept>

#include "common/checksum.h"
#include "common/mapped_file.h"
#include "text/language_model.h"

namespace crnn {
namespace {

constexpr char kMagic[8] = "CRNNLM\0";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMostClasses = uint64_t{1} << 24;

struct Head {
  char magic[8];
  uint32_t version, blank, order, zero;
  uint64_t classes, header_bytes, nodes, contexts, size, checksum;
};
static_assert(sizeof(Head) == 72, "the layout above");

struct Part {
  const void* data;
  uint64_t bytes;
};

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

uint64_t ngram_bytes(const Head& head) { return 4 * (3 * head.nodes + 2 * head.contexts + 1); }

[[noreturn]] void reject(const std::string& reason) { throw std::invalid_argument(reason); }

void check_head(const Head& head, uint64_t size) {
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) reject("it is not a language model");
  if (head.version != kVersion) {
    reject("it has format version " + std::to_string(head.version) + ", not 1");
  }
  if (head.nodes >= UINT32_MAX || head.contexts < 1 || head.contexts > head.nodes ||
      head.header_bytes > size || head.classes > kMostClasses || head.blank >= head.classes ||
      head.order < 1 || head.order > LanguageModel::kHighestOrder) {
    reject("it announces an impossible size");
  }
  const uint64_t announced = sizeof head + padded(head.header_bytes) + padded(ngram_bytes(head));
  if (head.size != announced || announced != size) {
    reject("it has " + std::to_string(size) + " bytes and announces " +
           std::to_string(head.size == announced ? announced : head.size));
  }
}

}  // namespace

void LanguageModel::save(int descriptor, const std::string& header) const {
  const NGrams& g = ngrams_;
  const auto nodes = static_cast<uint64_t>(g.nodes), contexts = static_cast<uint64_t>(g.contexts);
  Head head{};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  head.version = kVersion;
  head.blank = static_cast<uint32_t>(blank_);
  head.order = static_cast<uint32_t>(order_);
  head.classes = static_cast<uint64_t>(classes_);
  head.header_bytes = header.size();
  head.nodes = nodes;
  head.contexts = contexts;
  head.size = sizeof head + padded(header.size()) + padded(ngram_bytes(head));
  // In one piece, because the checksum takes words of 8 bytes.
  std::string body(padded(header.size()) + padded(ngram_bytes(head)), '\0');
  std::memcpy(body.data(), header.data(), header.size());
  char* at = body.data() + padded(header.size());
  for (const Part& part :
       {Part{g.first_child, 4 * (contexts + 1)}, Part{g.unit, 4 * nodes}, Part{g.suffix, 4 * nodes},
        Part{g.log_prob, 4 * nodes}, Part{g.backoff, 4 * contexts}}) {
    std::memcpy(at, part.data, part.bytes);
    at += part.bytes;
  }
  Checksum sum;
  sum.add(&head, sizeof head);
  sum.add(body.data(), body.size());
  head.checksum = sum.value();
  write_all(descriptor, &head, sizeof head);
  write_all(descriptor, body.data(), body.size());
}

std::unique_ptr<LanguageModel> LanguageModel::load(int descriptor, std::string& header) {
  const std::shared_ptr<const MappedFile> file = map_file(descriptor);
  Head head;
  if (file->size < sizeof head) reject("it is shorter than a head");
  const char* data = static_cast<const char*>(file->data);
  std::memcpy(&head, data, sizeof head);
  check_head(head, file->size);
  Head unsigned_head = head;
  unsigned_head.checksum = 0;
  Checksum sum;
  sum.add(&unsigned_head, sizeof head);
  sum.add(data + sizeof head, head.size - sizeof head);
  if (sum.value() != head.checksum) reject("its checksum is wrong");
  header.assign(data + sizeof head, head.header_bytes);
  const char* body = data + sizeof head + padded(head.header_bytes);
  const auto* numbers = reinterpret_cast<const uint32_t*>(body);
  const uint32_t* unit = numbers + head.contexts + 1;
  const auto* log_prob = reinterpret_cast<const float*>(unit + 2 * head.nodes);
  NGrams ngrams{static_cast<int64_t>(head.nodes),
                static_cast<int64_t>(head.contexts),
                numbers,
                unit,
                unit + head.nodes,
                log_prob,
                log_prob + head.nodes,
                file};
  return std::make_unique<LanguageModel>(std::move(ngrams), static_cast<int64_t>(head.classes),
                                         static_cast<int64_t>(head.blank),
                                         static_cast<int64_t>(head.order));
}

}  // namespace crnn
