// The columns of edit_distance.cpp, per SIMD level: those of several texts side by side.
#include "common/simd.h"
#include "text/edit_lanes.h"

namespace crnn {
namespace CRNN_SIMD_NAMESPACE {

typedef uint32_t VecU __attribute__((vector_size(kVectorBytes)));

void edit_distances(const EditLanes& lanes, int32_t rows, int32_t* distances) {
  const VecU last = (VecU)splat(rows - 1);
  for (int begin = 0; begin < EditLanes::kTexts; begin += kLanes) {
    const VecI sizes = load(lanes.sizes + begin);
    int32_t columns = 0;
    for (int i = 0; i < kLanes; ++i) columns = sizes[i] > columns ? sizes[i] : columns;
    VecU vp = ~VecU{}, vn = {};
    VecI distance = splat(rows);
    for (int32_t j = 0; j < columns; ++j) {
      VecU equal;
      std::memcpy(&equal, lanes.equal[j] + begin, sizeof equal);
      const VecU x = equal | vn;
      const VecU d0 = (((x & vp) + vp) ^ vp) | x;
      VecU hp = vn | ~(d0 | vp);
      VecU hn = d0 & vp;
      const VecI rise = (VecI)(hp >> last & 1) - (VecI)(hn >> last & 1);
      distance += splat(j) < sizes ? rise : VecI{};  // a text that has ended keeps its distance
      hp = hp << 1 | 1;
      hn <<= 1;
      vp = hn | ~(d0 | hp);
      vn = hp & d0;
    }
    store(distances + begin, distance);
  }
}

}  // namespace CRNN_SIMD_NAMESPACE
}  // namespace crnn
