// The file of a lexicon (common/framed_file.h):
//
//   bytes  what
//   8      "CRNNLEX" and a zero byte
//   4 4    version of the format: 1; the blank
//   8 8    classes; h, the size of the header text
//   8 8    nodes and words of the trie
//   8 8    size of the file; checksum of everything, this number taken as 0
//   h      the header text; zeros to a multiple of 8
//   4 ...  the trie: Trie::buffer(); zeros to a multiple of 8
//
// The trie is checked whole before it is used: a file made to mislead can give wrong answers, not
// crash.
#include "common/framed_file.h"
#include "transcription/lexicon_words.h"

namespace crnn {
namespace {

constexpr char kMagic[8] = "CRNNLEX";

struct Head {
  char magic[8];
  uint32_t version, blank;
  uint64_t classes, header_bytes, nodes, words, size, checksum;
};
static_assert(sizeof(Head) == 64, "the layout above");

uint64_t trie_bytes(const Head& head) {
  if (head.nodes >= Trie::kNone || head.words >= Trie::kNone) {
    reject_file("it announces an impossible size");
  }
  return 4 * static_cast<uint64_t>(Trie::buffer_size(static_cast<int64_t>(head.nodes),
                                                     static_cast<int64_t>(head.words)));
}

}  // namespace

void Lexicon::save(int descriptor, const std::string& header) const {
  std::shared_ptr<const Words> words = this->words();
  if (words->index.tries.size() != 1 || !words->live.empty()) words = merged(*words);
  const Trie empty((WordList()));
  const Trie& trie = words->index.tries.empty() ? empty : *words->index.tries[0];
  Head head{};
  head.blank = static_cast<uint32_t>(blank_);
  head.classes = static_cast<uint64_t>(classes_);
  head.nodes = static_cast<uint64_t>(trie.nodes());
  head.words = static_cast<uint64_t>(trie.size());
  write_framed(descriptor, head, kMagic, header, trie.buffer(), trie_bytes(head));
}

std::unique_ptr<Lexicon> Lexicon::load(int descriptor, std::string& header) {
  const std::shared_ptr<const MappedFile> file = map_file(descriptor);
  Head head;
  const uint32_t* numbers = read_framed(*file, kMagic, "lexicon file", trie_bytes, head, header);
  auto trie = std::make_shared<const Trie>(numbers, static_cast<int64_t>(head.nodes),
                                           static_cast<int64_t>(head.words),
                                           static_cast<uint32_t>(head.classes), file);
  for (uint32_t unit : trie->units()) {
    if (unit == head.blank) reject_file("its words hold the blank");
  }
  auto lexicon = std::make_unique<Lexicon>(static_cast<int64_t>(head.classes),
                                           static_cast<int64_t>(head.blank));
  lexicon->publish(std::make_shared<Words>(std::vector<std::shared_ptr<const Trie>>{trie},
                                           std::vector<bool>(), head.blank));
  return lexicon;
}

}  // namespace crnn
