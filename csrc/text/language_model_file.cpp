// The file of a language model (common/framed_file.h):
//
//   bytes  what
//   8      "CRNNLM" and two zero bytes
//   4 4    version of the format: 1; the blank
//   4 4    the order; zero
//   8 8    classes; h, the size of the header text
//   8 8    nodes and contexts
//   8 8    size of the file; checksum of everything, this number taken as 0
//   h      the header text; zeros to a multiple of 8
//   4 ...  first_child, unit, suffix (32-bit integers), log_prob, backoff (floats): see NGrams;
//          zeros to a multiple of 8
//
// The n-grams are checked whole before they are used: a file made to mislead can give wrong
// answers, not crash.
#include <cstring>

#include "common/framed_file.h"
#include "text/language_model.h"

namespace crnn {
namespace {

constexpr char kMagic[8] = "CRNNLM\0";

struct Head {
  char magic[8];
  uint32_t version, blank, order, zero;
  uint64_t classes, header_bytes, nodes, contexts, size, checksum;
};
static_assert(sizeof(Head) == 72, "the layout above");

uint64_t ngram_bytes(const Head& head) {
  if (head.nodes >= UINT32_MAX || head.contexts < 1 || head.contexts > head.nodes ||
      head.order < 1 || head.order > LanguageModel::kHighestOrder) {
    reject_file("it announces an impossible size");
  }
  return 4 * (3 * head.nodes + 2 * head.contexts + 1);
}

}  // namespace

void LanguageModel::save(int descriptor, const std::string& header) const {
  const NGrams& g = ngrams_;
  Head head{};
  head.blank = static_cast<uint32_t>(blank_);
  head.order = static_cast<uint32_t>(order_);
  head.classes = static_cast<uint64_t>(classes_);
  head.nodes = static_cast<uint64_t>(g.nodes);
  head.contexts = static_cast<uint64_t>(g.contexts);
  std::string body;
  body.reserve(ngram_bytes(head));
  const auto add = [&body](const void* numbers, uint64_t count) {
    body.append(static_cast<const char*>(numbers), 4 * count);
  };
  add(g.first_child, head.contexts + 1);
  add(g.unit, head.nodes);
  add(g.suffix, head.nodes);
  add(g.log_prob, head.nodes);
  add(g.backoff, head.contexts);
  write_framed(descriptor, head, kMagic, header, body.data(), body.size());
}

std::unique_ptr<LanguageModel> LanguageModel::load(int descriptor, std::string& header) {
  const std::shared_ptr<const MappedFile> file = map_file(descriptor);
  Head head;
  const uint32_t* numbers = read_framed(*file, kMagic, "language model", ngram_bytes, head, header);
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
