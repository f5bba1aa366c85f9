// Goal: the small formats of HTTP are read as their RFCs say, and nothing else is taken.
#include "server/http/text.h"

namespace millrace {
namespace {

TEST(Text, MediaTypesLoseTheirParametersAndCase) {
  EXPECT_EQ(media_type_of("Image/JPEG; q=1"), "image/jpeg");
  EXPECT_EQ(media_type_of("nonsense"), "");
  EXPECT_EQ(media_type_of("a/b/c"), "");
}

TEST(Text, ParametersMayBeQuoted) {
  EXPECT_EQ(header_param("multipart/form-data; boundary=\"a;b\"", "boundary"), "a;b");
  EXPECT_EQ(header_param("form-data; name=x; filename=\"C:\\dir\\a.jpg\"", "filename"),
            "C:\\dir\\a.jpg");
  EXPECT_EQ(header_param("form-data; name=\"a\\\"b\"", "name"), "a\"b");
  EXPECT_FALSE(header_param("form-data; name=\"open", "name"));
  EXPECT_FALSE(header_param("form-data", "name"));
}

TEST(Text, QueriesAreDecodedAndMustBeUtf8) {
  const auto query = parse_query("a=1&b=x%20y+z&a=2&flag");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->size(), 4u);
  EXPECT_EQ((*query)[1].second, "x y z");
  EXPECT_FALSE(parse_query("a=%zz"));
  EXPECT_FALSE(parse_query("a=%ff"));
  EXPECT_FALSE(parse_query("a=%00"));
}

TEST(Text, RangesAreCutToTheBody) {
  ByteRange range;
  EXPECT_EQ(parse_range("bytes=0-9", 100, &range), RangeKind::kPart);
  EXPECT_EQ(range.size, 10u);
  EXPECT_EQ(parse_range("bytes=90-200", 100, &range), RangeKind::kPart);
  EXPECT_EQ(range.size, 10u);
  EXPECT_EQ(parse_range("bytes=-5", 100, &range), RangeKind::kPart);
  EXPECT_EQ(range.first, 95u);
  EXPECT_EQ(parse_range("bytes=-500", 100, &range), RangeKind::kPart);
  EXPECT_EQ(range.first, 0u);
  EXPECT_EQ(parse_range("bytes=100-", 100, &range), RangeKind::kUnsatisfiable);
  EXPECT_EQ(parse_range("bytes=-0", 100, &range), RangeKind::kUnsatisfiable);
  EXPECT_EQ(parse_range("bytes=0-1,3-4", 100, &range), RangeKind::kWhole);
  EXPECT_EQ(parse_range("lines=0-1", 100, &range), RangeKind::kWhole);
  EXPECT_EQ(parse_range("bytes=9-1", 100, &range), RangeKind::kWhole);
  EXPECT_EQ(parse_range("bytes=0-0", 0, &range), RangeKind::kUnsatisfiable);
}

TEST(Text, PreferWaitIsCutAndMalformedOnesIgnored) {
  EXPECT_EQ(prefer_wait_seconds("respond-async, wait=10", 300), 10);
  EXPECT_EQ(prefer_wait_seconds("wait=1000", 300), 300);
  EXPECT_EQ(prefer_wait_seconds("Wait = \"5\"", 300), 5);
  EXPECT_FALSE(prefer_wait_seconds("wait=soon", 300));
  EXPECT_FALSE(prefer_wait_seconds("", 300));
}

TEST(Text, EntityTagsCompareWeakly) {
  EXPECT_TRUE(etag_in_list("W/\"a\", \"b\"", "\"a\""));
  EXPECT_TRUE(etag_in_list("*", "\"a\""));
  EXPECT_FALSE(etag_in_list("\"c\"", "\"a\""));
}

}  // namespace
}  // namespace millrace
