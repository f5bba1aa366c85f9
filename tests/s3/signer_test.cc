// Goal: what we sign is what AWS signs.
// Method: the requests and signatures that AWS publishes: of its test suite for signature version
// 4, and the examples of the S3 API reference.
#include "s3/signer.h"

#include <gtest/gtest.h>

#include "s3/location.h"

namespace millrace::s3 {
namespace {

constexpr int64_t kSuiteTime = 1'440'938'160;    // 20150830T123600Z
constexpr int64_t kExampleTime = 1'369'353'600;  // 20130524T000000Z

const Credentials kSuite = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
const Credentials kExample = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                              ""};

std::string signature_of(const std::string& signed_text) {
  return signed_text.substr(signed_text.rfind("Signature=") + 10);
}

struct Vector {
  const char* name;
  SignedRequest request;
  std::string payload_hash;
  const char* signature;
};

TEST(S3Signer, MakesTheSignaturesOfTheTestSuite) {
  const std::map<std::string, std::string> headers = {{"host", "example.amazonaws.com"},
                                                      {"x-amz-date", "20150830T123600Z"}};
  const std::vector<Vector> vectors = {
      {"get-vanilla",
       {"GET", "/", {}, headers},
       sha256_hex(""),
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"get-vanilla-query-order-key-case",
       {"GET", "/", {{"Param2", "value2"}, {"Param1", "value1"}}, headers},
       sha256_hex(""),
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"post-vanilla",
       {"POST", "/", {}, headers},
       sha256_hex(""),
       "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
  };
  for (const Vector& vector : vectors) {
    EXPECT_EQ(signature_of(authorization(vector.request, vector.payload_hash, kSuite,
                                         {"us-east-1", "service", kSuiteTime})),
              vector.signature)
        << vector.name;
  }
}

TEST(S3Signer, MakesTheSignaturesOfTheS3Reference) {
  const std::string empty = sha256_hex("");
  const auto headers = [](std::map<std::string, std::string> more, const std::string& hash) {
    more["host"] = "examplebucket.s3.amazonaws.com";
    more["x-amz-date"] = "20130524T000000Z";
    more["x-amz-content-sha256"] = hash;
    return more;
  };
  const std::string welcome = sha256_hex("Welcome to Amazon S3.");
  const std::vector<Vector> vectors = {
      {"GET object",
       {"GET", "/test.txt", {}, headers({{"range", "bytes=0-9"}}, empty)},
       empty,
       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
      {"PUT object",
       {"PUT",
        "/" + uri_encode("test$file.text"),
        {},
        headers({{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                 {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                welcome)},
       welcome,
       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
      {"GET bucket lifecycle",
       {"GET", "/", {{"lifecycle", ""}}, headers({}, empty)},
       empty,
       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
      {"list objects",
       {"GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, headers({}, empty)},
       empty,
       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
  };
  for (const Vector& vector : vectors) {
    EXPECT_EQ(signature_of(authorization(vector.request, vector.payload_hash, kExample,
                                         {"us-east-1", "s3", kExampleTime})),
              vector.signature)
        << vector.name;
  }
}

TEST(S3Signer, MakesThePresignedUrlOfTheS3Reference) {
  const std::string query =
      presigned_query({"GET", "/test.txt", {}, {{"host", "examplebucket.s3.amazonaws.com"}}}, 86400,
                      kExample, {"us-east-1", "s3", kExampleTime});
  EXPECT_EQ(signature_of(query),
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
  EXPECT_EQ(query.substr(0, 120),
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
            "us-east-1%2Fs3%2Faws4_request&X-Amz-");
}

TEST(S3Signer, AUrlThatIsHandedOutCarriesTheSessionToken) {
  Credentials session = kExample;
  session.session_token = "token/with+signs";
  const std::string query = presigned_query({"GET", "/k", {}, {{"host", "h"}}}, 60, session,
                                            {"us-east-1", "s3", kExampleTime});
  EXPECT_NE(query.find("&X-Amz-Security-Token=token%2Fwith%2Bsigns&"), std::string::npos) << query;
  EXPECT_EQ(query.find(session.secret_access_key), std::string::npos);
}

TEST(S3Signer, HashesGoBothWays) {
  const std::string hex = sha256_hex("abc");
  EXPECT_EQ(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(base64_of_hex(hex), base64(sha256_bytes("abc")));
  EXPECT_EQ(hex_of_base64(base64_of_hex(hex)), hex);
  EXPECT_EQ(hex_of_base64("not base64!"), "");
  EXPECT_EQ(hex_of_base64(base64(sha256_bytes("abc")) + "-3"), "");  // a hash of hashes
  EXPECT_EQ(base64_of_hex("xy"), "");
}

}  // namespace
}  // namespace millrace::s3
