// The least a C++ test needs: TEST(suite, name) { CHECK(...); }. main.cpp runs one suite or all.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace test {

struct Case {
  std::string suite, name;
  std::function<void()> run;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Registration {
  Registration(const char* suite, const char* name, void (*run)()) {
    cases().push_back({suite, name, run});
  }
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  std::ostringstream message;
  message << file << ":" << line << ": " << what;
  throw std::runtime_error(message.str());
}

template <class A, class B>
void check_equal(const char* file, int line, const char* text, const A& a, const B& b) {
  if (a == b) return;
  std::ostringstream message;
  message << text << ": " << a << " is not " << b;
  fail(file, line, message.str());
}

// The message of the exception that body throws.
template <class Exception, class Body>
std::string thrown(const char* file, int line, Body&& body) {
  try {
    body();
  } catch (const Exception& error) {
    return error.what();
  }
  fail(file, line, "nothing was thrown");
}

}  // namespace test

#define TEST(SUITE, NAME)                                                                \
  static void SUITE##_##NAME();                                                          \
  static const test::Registration SUITE##_##NAME##_entry(#SUITE, #NAME, SUITE##_##NAME); \
  static void SUITE##_##NAME()

#define CHECK(CONDITION) \
  if (!(CONDITION)) test::fail(__FILE__, __LINE__, "not true: " #CONDITION)
#define CHECK_EQUAL(A, B) test::check_equal(__FILE__, __LINE__, #A " == " #B, A, B)
#define THROWN(EXCEPTION, ...) test::thrown<EXCEPTION>(__FILE__, __LINE__, [&] { __VA_ARGS__; })
