// Goal: the tidy tests measure what they say. Method: small texts with every trap that once fooled
// the counter.
#include "tests/tidy/tree.h"

#include <gtest/gtest.h>

namespace millrace::tidy {
namespace {

TEST(Tree, CommentsAndLiteralsAreBlankAndLinesStay) {
  EXPECT_EQ(without_comments_and_literals("a // }\nb \"{\\\"\" c"), "a     \nb \"   \" c");
  EXPECT_EQ(without_comments_and_literals("x /* {\n } */ y"), "x     \n      y");
  EXPECT_EQ(without_comments_and_literals("R\"(\" {)\" + '{'"), "R\"     \" + ' '");
  EXPECT_EQ(without_comments_and_literals("1'000'000 + f('\\'')"), "1'000'000 + f('  ')");
}

TEST(Tree, FunctionsAreFoundInNamespacesAndClasses) {
  const auto found = functions_of(
      "namespace a {\n"
      "class B : public C {\n"
      " public:\n"
      "  B(int x)\n"
      "      : x_(x) {\n"
      "    run([&] { x_++; });\n"
      "  }\n"
      "  int x_ = 0;\n"
      "};\n"
      "constexpr int kTable[] = {\n"
      "    1,\n"
      "    2,\n"
      "};\n"
      "template <typename T>\n"
      "struct D {\n"
      "  bool operator==(const D& other) const { return true; }\n"
      "};\n"
      "}\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].line, 4);
  EXPECT_EQ(found[0].lines, 4);
  EXPECT_EQ(found[1].line, 16);
  EXPECT_EQ(found[1].lines, 1);
}

TEST(Tree, MacrosAndStructReturnsDoNotFoolTheCounter) {
  const auto found = functions_of(
      "#define OPEN(x) \\\n"
      "  if (x) {\n"
      "static struct thing *make(int n) {\n"
      "  return 0;\n"
      "}\n"
      "extern \"C\" {\n"
      "int f(void) { return 1; }\n"
      "}\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].line, 3);
  EXPECT_EQ(found[0].lines, 3);
  EXPECT_EQ(found[1].line, 7);
}

}  // namespace
}  // namespace millrace::tidy
