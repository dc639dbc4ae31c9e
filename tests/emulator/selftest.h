#pragma once

#include <string>

namespace crnn {

void selftest(const std::string& name, const float* in, float* out, unsigned* counter, int n);

}  // namespace crnn
