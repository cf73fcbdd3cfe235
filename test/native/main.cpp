// Runs the native tests. Besides doctest's output it prints which share of the conformance suite
// ran on which backend and which backends were skipped, and writes the figures to the file that
// HIVE_TEST_REPORT names.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "conformance.h"

namespace {

// Keeps doctest's figures for the report.
struct Figures : doctest::IReporter {
  static doctest::TestRunStats stats;

  explicit Figures(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& s) override { stats = s; }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
doctest::TestRunStats Figures::stats;

void write_report(const char* path) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) {
    std::fprintf(stderr, "HIVE_TEST_REPORT: %s cannot be written.\n", path);
    return;
  }
  const doctest::TestRunStats& s = Figures::stats;
  const unsigned ran = s.numTestCasesPassingFilters;
  std::fprintf(file, "test cases: %u | %u passed | %u failed | %u skipped\n", ran,
               ran - s.numTestCasesFailed, s.numTestCasesFailed, s.numTestCases - ran);
  for (const std::string& line : hive::test::notes()) std::fprintf(file, "%s\n", line.c_str());
  std::fclose(file);
}

}  // namespace

REGISTER_LISTENER("figures", 0, Figures);

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int result = context.run();
  for (const std::string& line : hive::test::notes()) std::printf("%s\n", line.c_str());
  if (const char* path = std::getenv("HIVE_TEST_REPORT")) write_report(path);
  return result;
}
