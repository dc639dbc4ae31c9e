// The file of a BK-tree. All numbers are little-endian; n words with u units in all:
//
//   bytes  what
//   8      "CRNNBKT" and a zero byte
//   4      version of the format: 1
//   4      kind of the units: 1 = Unicode code points
//   8      n
//   8      u
//   12 n   for each word in the order of addition: length, parent's number (0 for the root), edge
//   4 u    the units of all words
//   8      checksum of everything before it: FNV-1a over 32-bit words
//
// Each step of the checksum is one-to-one in the state and in the word, so damage within one
// 32-bit word never goes unseen. Sizes are checked before anything is allocated, and the tree's
// shape before it is used: a file made to mislead can give wrong answers, not crash.
#include <cstring>
#include <stdexcept>

#include "common/parallel.h"
#include "text/bk_tree_builder.h"

namespace crnn {
namespace {

constexpr char kMagic[8] = "CRNNBKT";
constexpr uint32_t kVersion = 1, kCodePoints = 1, kLastCodePoint = 0x10FFFF;
constexpr uint64_t kWordBytes = 12, kUnitBytes = 4, kChecksumBytes = 8;

void put(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
}

uint32_t get32(const char* p) {
  unsigned char b[4];
  std::memcpy(b, p, 4);
  return b[0] | uint32_t{b[1]} << 8 | uint32_t{b[2]} << 16 | uint32_t{b[3]} << 24;
}

uint64_t get64(const char* p) { return get32(p) | uint64_t{get32(p + 4)} << 32; }

uint64_t checksum(const char* p, size_t bytes) {
  uint64_t state = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; i += 4) state = (state ^ get32(p + i)) * 0x100000001b3u;
  return state;
}

[[noreturn]] void reject(const std::string& reason) { throw std::invalid_argument(reason); }

}  // namespace

std::string BkTree::save() const {
  const Builder builder(*this);
  const auto words = static_cast<size_t>(size());
  std::string out;
  out.reserve(kHeaderBytes + kWordBytes * words + kUnitBytes * units_.size() + kChecksumBytes);
  out.append(kMagic, sizeof kMagic);
  put(out, kVersion, 4);
  put(out, kCodePoints, 4);
  put(out, words, 8);
  put(out, units_.size(), 8);
  for (size_t i = 0; i < words; ++i) {
    put(out, begins_[i + 1] - begins_[i], 4);
    put(out, builder.parents()[i], 4);
    put(out, builder.edges()[i], 4);
  }
  for (uint32_t unit : units_) put(out, unit, 4);
  put(out, checksum(out.data(), out.size()), 8);
  return out;
}

uint64_t BkTree::announced_size(const std::string& header) {
  if (header.size() < kHeaderBytes) reject("it is shorter than a header");
  if (std::memcmp(header.data(), kMagic, sizeof kMagic) != 0) reject("it is not a BK-tree file");
  const uint32_t version = get32(header.data() + 8), kind = get32(header.data() + 12);
  if (version != kVersion) reject("it has format version " + std::to_string(version) + ", not 1");
  if (kind != kCodePoints) reject("its units are of the unknown kind " + std::to_string(kind));
  const uint64_t words = get64(header.data() + 16), units = get64(header.data() + 24);
  if (words >= kNone || units > UINT64_MAX / 64) reject("it announces an impossible size");
  return kHeaderBytes + kWordBytes * words + kUnitBytes * units + kChecksumBytes;
}

BkTree BkTree::load(const std::string& bytes) {
  const uint64_t size = announced_size(bytes);
  if (bytes.size() != size) {
    reject("it has " + std::to_string(bytes.size()) + " bytes and announces " +
           std::to_string(size));
  }
  const char* end = bytes.data() + size - kChecksumBytes;
  if (checksum(bytes.data(), static_cast<size_t>(end - bytes.data())) != get64(end)) {
    reject("its checksum is wrong");
  }
  const uint64_t words = get64(bytes.data() + 16), units = get64(bytes.data() + 24);
  const char* entry = bytes.data() + kHeaderBytes;
  const char* unit = entry + kWordBytes * words;
  BkTree tree;
  tree.units_.reserve(units);
  std::vector<uint32_t> word, parents, edges;
  uint64_t left = units;
  for (uint64_t i = 0; i < words; ++i, entry += kWordBytes) {
    const uint32_t length = get32(entry), parent = get32(entry + 4), edge = get32(entry + 8);
    if (length > left) reject("its words are longer than their total");
    left -= length;
    if (i == 0 ? (parent != 0 || edge != 0) : (parent >= i || edge == 0)) {
      reject("its tree is malformed");
    }
    word.resize(length);
    for (uint32_t& u : word) {
      u = get32(unit);
      unit += kUnitBytes;
      if (u > kLastCodePoint) reject("it holds a number that is no code point");
    }
    tree.append({word.data(), length});
    parents.push_back(parent);
    edges.push_back(edge);
    if (i % 1024 == 0) poll_interrupt();
  }
  if (left != 0) reject("its words are shorter than their total");
  tree.place(parents, edges);
  return tree;
}

}  // namespace crnn
