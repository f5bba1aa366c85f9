// Goal: an S3 URL means one place, or says what is wrong with it and never what is secret in it.
// Method: URLs and what they are read as.
#include "s3/location.h"

#include <gtest/gtest.h>

#include "s3/transport.h"
#include "s3/xml.h"

namespace millrace::s3 {
namespace {

Location read(const std::string& url) {
  Location location;
  EXPECT_EQ(parse_location(url, &location), "") << url;
  return location;
}

std::string problem(const std::string& url) {
  Location location;
  return parse_location(url, &location);
}

TEST(S3Location, WithoutAnEndpointIsAmazons) {
  const Location plain = read("s3://pictures");
  EXPECT_EQ(plain.request_host(), "pictures.s3.us-east-1.amazonaws.com");
  EXPECT_EQ(plain.scheme, "https");
  EXPECT_EQ(plain.path(plain.key("a b")), "/a%20b");
  const Location there = read("s3://pictures/some/where/?region=eu-central-1");
  EXPECT_EQ(there.request_host(), "pictures.s3.eu-central-1.amazonaws.com");
  EXPECT_EQ(there.key("k"), "some/where/k");
  EXPECT_EQ(read("s3://x-y?region=cn-north-1").host, "s3.cn-north-1.amazonaws.com.cn");
  EXPECT_EQ(read("s3://with.dots").request_host(), "s3.us-east-1.amazonaws.com");
}

TEST(S3Location, WithAnEndpointHasTheBucketInThePath) {
  const Location location = read("s3://pictures/p?endpoint=http://127.0.0.1:9000/&region=r1");
  EXPECT_EQ(location.request_host(), "127.0.0.1:9000");
  EXPECT_EQ(location.path(location.key("ü/+")), "/pictures/p/%C3%BC/%2B");
  EXPECT_EQ(location.path(""), "/pictures");
  const Location hosted =
      read("s3://pictures?endpoint=http%3A%2F%2Fs3.example%3A9000&path_style=false");
  EXPECT_EQ(hosted.request_host(), "pictures.s3.example:9000");
  EXPECT_EQ(hosted.path(""), "/");
  EXPECT_EQ(read("s3://pictures?endpoint=https://s3.example:443").request_host(), "s3.example");
  EXPECT_EQ(read("s3://pictures?endpoint=http://[::1]:9000").request_host(), "[::1]:9000");
  EXPECT_EQ(read("s3://pictures?endpoint=http://[::1]:80").request_host(), "[::1]");
}

TEST(S3Location, IsReadBackFromItsUrl) {
  for (const std::string url :
       {"s3://pictures/p/q?endpoint=http://127.0.0.1:9000&path_style=true", "s3://a-b"}) {
    const Location location = read(url);
    const Location again = read(location.url());
    EXPECT_EQ(again.url(), location.url());
    EXPECT_EQ(again.request_host(), location.request_host());
    EXPECT_EQ(again.path(again.key("k")), location.path(location.key("k")));
  }
}

TEST(S3Location, SaysWhatIsWrongWithIt) {
  for (const auto& [url, part] : std::vector<std::pair<std::string, std::string>>{
           {"file:x", "has the form"},
           {"s3:bucket", "has the form"},
           {"s3://", "names no bucket"},
           {"s3://UPPER", "names no bucket"},
           {"s3://ab", "names no bucket"},
           {"s3://bucket/a//b", "prefix"},
           {"s3://bucket/../b", "prefix"},
           {"s3://bucket/a b", "prefix"},
           {"s3://bucket?endpoint=ftp://x", "endpoint"},
           {"s3://bucket?endpoint=http://x/path", "endpoint"},
           {"s3://bucket?endpoint=http://", "endpoint"},
           {"s3://bucket?endpoint=http://:80", "endpoint"},
           {"s3://bucket?endpoint=http://x:", "endpoint"},
           {"s3://bucket?endpoint=http://x:80:80", "endpoint"},
           {"s3://bucket?endpoint=http://x:port", "endpoint"},
           {"s3://bucket?endpoint=http://[::1", "endpoint"},
           {"s3://bucket?endpoint=http://[]:80", "endpoint"},
           {"s3://bucket?region=", "region"},
           {"s3://bucket?path_style=maybe", "path_style"},
           {"s3://bucket?secret=x", "nothing else"}}) {
    EXPECT_NE(problem(url).find(part), std::string::npos) << url << ": " << problem(url);
  }
}

TEST(S3Location, NeverRepeatsAKeyThatStandsInIt) {
  for (const std::string url : {"s3://AKIA:hunter2@bucket", "s3://bucket?secret_key=hunter2",
                                "s3://bucket?endpoint=https://user:hunter2@host"}) {
    EXPECT_NE(problem(url), "");
    EXPECT_EQ(problem(url).find("hunter2"), std::string::npos) << problem(url);
  }
}

TEST(S3Xml, FindsElementsAndTheirText) {
  const std::string page =
      "<?xml version=\"1.0\"?>\n<ListBucketResult "
      "xmlns=\"http://x\"><IsTruncated>true</IsTruncated>"
      "<KeyCount>2</KeyCount><Contents><Key>a&amp;b&#x20;&#xFC;</Key><Owner/></Contents>"
      "<Contents a='1'><Key>&lt;c&gt;&unknown;&</Key></Contents></ListBucketResult>";
  EXPECT_EQ(XmlReader::text_of(page, "IsTruncated"), "true");
  XmlReader reader(page);
  std::string_view inside;
  ASSERT_TRUE(reader.next("Contents", &inside));
  EXPECT_EQ(XmlReader::text_of(inside, "Key"), "a&b ü");
  EXPECT_EQ(XmlReader::text_of(inside, "Owner"), "");
  ASSERT_TRUE(reader.next("Contents", &inside));
  EXPECT_EQ(XmlReader::text_of(inside, "Key"), "<c>&unknown;&");
  EXPECT_FALSE(reader.next("Contents", &inside));
}

TEST(S3Xml, OfGarbageFindsLess) {
  for (const std::string text :
       {"", "<", "<Key", "<Key>", "<Key>x", "<Key>x</Ke", "<<<Key>>", "</Key>",
        "<KeyCount>1</KeyCount>", "<Key>&#xFFFFFFFFF;&#;</Key"}) {
    EXPECT_EQ(XmlReader::text_of(text, "Key"), "") << text;
  }
  EXPECT_EQ(XmlReader::text_of("<Key>&#xFFFFFFFFF;</Key>", "Key"), "&#xFFFFFFFFF;");
  EXPECT_EQ(XmlReader::text_of("<Key><![CDATA[a&b]]></Key>", "Key"), "a&b");
}

// An answer of the largest size, each of whose tags looks for its end: minutes, if all did.
TEST(S3Xml, OfTagsThatNothingClosesTakesNoTime) {
  std::string text;
  while (text.size() < kAnswerBytesMax) text += "<Key ";
  EXPECT_EQ(XmlReader::text_of(text, "Key"), "");
}

}  // namespace
}  // namespace millrace::s3
