// Runs the cases of the suites named on the command line, or all.
#include <chrono>
#include <cstdio>
#include <exception>

#include "check.h"

int main(int argc, char** argv) {
  int ran = 0, failed = 0;
  for (const test::Case& c : test::cases()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || c.suite == argv[i];
    if (!wanted) continue;
    ++ran;
    const auto start = std::chrono::steady_clock::now();
    try {
      c.run();
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED %s.%s: %s\n", c.suite.c_str(), c.name.c_str(), error.what());
    }
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    std::printf("%s.%s: %.2f s\n", c.suite.c_str(), c.name.c_str(), time.count());
  }
  std::printf("%d of %d cases passed\n", ran - failed, ran);
  return failed == 0 && ran > 0 ? 0 : 1;
}
