// Goal: the checksum is the one that its name says, whichever way it is worked out.
// Method: the test vectors of RFC 3720, and both ways side by side on bytes of every length.
#include "engine/base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace millrace {
namespace {

TEST(Crc32c, GivesTheSumsOfTheStandard) {
  std::string ascending(32, '\0'), descending(32, '\0');
  for (size_t i = 0; i < 32; i++) {
    ascending[i] = static_cast<char>(i);
    descending[i] = static_cast<char>(31 - i);
  }
  for (const auto sum : {crc32c, crc32c_by_table}) {
    EXPECT_EQ(sum("", 0), 0u);
    EXPECT_EQ(sum("123456789", 0), 0xe3069283u);
    EXPECT_EQ(sum(std::string(32, '\0'), 0), 0x8a9136aau);
    EXPECT_EQ(sum(std::string(32, '\xff'), 0), 0x62a8ab43u);
    EXPECT_EQ(sum(ascending, 0), 0x46dd794eu);
    EXPECT_EQ(sum(descending, 0), 0x113fdb5cu);
  }
}

TEST(Crc32c, BothWaysAgreeOnEveryLengthAndInPieces) {
  std::mt19937_64 random(1);
  std::string bytes(600, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (size_t size = 0; size < bytes.size(); size++) {
    const std::string_view data = std::string_view(bytes).substr(size % 7, size);
    const uint32_t sum = crc32c(data);
    ASSERT_EQ(sum, crc32c_by_table(data)) << size;
    const size_t cut = data.empty() ? 0 : random() % data.size();
    ASSERT_EQ(crc32c(data.substr(cut), crc32c(data.substr(0, cut))), sum) << size;
  }
}

}  // namespace
}  // namespace millrace
