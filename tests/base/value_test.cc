// Goal: JSON text is canonical (RFC 8785), survives a round trip byte by byte, and bad text is
// refused.
#include "engine/base/value.h"

#include <malloc.h>

#include <cmath>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

std::string round_trip(std::string_view text) {
  auto value = parse_json(text);
  return value.ok() ? canonical_json(*value) : value.status().message();
}

// Goal: one large text does not cost its memory for as long as the thread lives.
TEST(Value, BuffersOfALargeTextAreNotKept) {
  ASSERT_TRUE(parse_json("[1]").ok());
  const auto in_use = [] {
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t before = in_use();
  {
    const std::string text = "[\"" + std::string(16 << 20, 'x') + "\"]";
    ASSERT_TRUE(parse_json(text).ok());
  }
  EXPECT_LT(in_use(), before + (1 << 20));
  ASSERT_TRUE(parse_json("[\"" + std::string(kJsonKeptBytes - 4, 'x') + "\"]").ok());
  EXPECT_LT(in_use(), before + 32 * kJsonKeptBytes);
}

TEST(Value, CanonicalTextSortsMembersAndDropsWhiteSpace) {
  EXPECT_EQ(round_trip(R"( {"b": [1, 2.50, null], "a": {"y": true, "x": "z"}} )"),
            R"({"a":{"x":"z","y":true},"b":[1,2.5,null]})");
}

// The example of RFC 8785, section 3.2.3: sorted by UTF-16 code units, not by code points.
TEST(Value, MembersAreSortedByUtf16CodeUnits) {
  EXPECT_EQ(round_trip("{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,"
                       "\"\\u0080\":6,\"\\u00f6\":7}"),
            "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\xef\xac\xb3\":3}");
}

// Values of RFC 8785, appendix B.
TEST(Value, NumbersAreWrittenAsEcmaScriptDoes) {
  const std::pair<double, const char*> cases[] = {
      {0.0, "0"},
      {-0.0, "0"},
      {1e21, "1e+21"},
      {1e20, "100000000000000000000"},
      {9007199254740992.0, "9007199254740992"},
      {0.000001, "0.000001"},
      {1e-7, "1e-7"},
      {123.456, "123.456"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {-1.5, "-1.5"},
      {333333333.33333329, "333333333.3333333"},
      {295147905179352830000.0, "295147905179352830000"}};
  for (const auto& [number, text] : cases) {
    std::string out;
    append_json_number(number, &out);
    EXPECT_EQ(out, text);
  }
}

TEST(Value, IntegersKeepEveryDigit) {
  EXPECT_EQ(round_trip("[9223372036854775807,-9223372036854775808]"),
            "[9223372036854775807,-9223372036854775808]");
}

TEST(Value, StringsAreEscapedMinimallyAndBrokenUtf8IsReplaced) {
  std::string out;
  append_json_string(std::string_view("a\"\\\n\x01/\xff ü", 10), &out);
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\u0001/\xef\xbf\xbd ü\"");
}

TEST(Value, BadTextIsRefusedWithAReason) {
  for (const char* text :
       {"", "{", "[1,]", "{\"a\":1,\"a\":2}", "{\"$blob\":{}}", "\"\xff\"", "01", "[1] 2"}) {
    auto value = parse_json(text);
    ASSERT_FALSE(value.ok()) << text;
    EXPECT_EQ(value.status().number(), errors::kBrokenJson);
  }
  EXPECT_FALSE(parse_json(std::string(1000, '[') + std::string(1000, ']')).ok());
}

TEST(Value, BlobsSurviveARoundTripAndShareTheirContent) {
  BlobRef blob;
  blob.content = std::make_shared<BlobContent>();
  blob.content->digest = sha256("abc");
  blob.content->size_bytes = 3;
  blob.media_type = "image/png";
  blob.width = 7;
  blob.height = 5;
  const std::string text = canonical_json(Value::List{blob, blob});
  BlobTable known;
  auto back = parse_json(text, BlobsIn::kAllowed, &known);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(canonical_json(*back), text);
  EXPECT_EQ(back->as_list()[0].as_blob().content, back->as_list()[1].as_blob().content);
  EXPECT_TRUE(back->as_list()[0].as_blob().content->durable);
  EXPECT_EQ(known.size(), 1u);
}

}  // namespace
}  // namespace millrace
