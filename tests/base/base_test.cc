// Goal: ids, digests, times, sizes and budgets have exactly one text form each, and refuse
// everything else.
#include "engine/base/bytes.h"
#include "engine/base/digest.h"
#include "engine/base/errors.h"
#include "engine/base/ids.h"
#include "engine/base/time.h"

namespace millrace {
namespace {

TEST(Digest, TextFormIsExact) {
  const Digest digest = sha256("abc");
  EXPECT_EQ(digest.text(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest::parse(digest.text()), digest);
  EXPECT_FALSE(
      Digest::parse("sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"));
  EXPECT_FALSE(Digest::parse(digest.hex()));
  EXPECT_FALSE(Digest::parse(digest.text() + "0"));
}

TEST(Digest, HmacOfRfc4231Case2) {
  EXPECT_EQ(hmac_sha256("Jefe", "what do ya want for nothing?").hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Digest, Base64RefusesWhatIsNotExact) {
  EXPECT_EQ(base64_encode("foob"), "Zm9vYg==");
  EXPECT_EQ(base64_decode("Zm9vYg=="), "foob");
  EXPECT_EQ(base64_decode(""), "");
  EXPECT_FALSE(base64_decode("Zm9vYg"));
  EXPECT_FALSE(base64_decode("Zm9v Yg="));
  EXPECT_FALSE(base64_decode("=m9vYg=="));
}

TEST(JobId, TextFormRoundTripsAndIsUnique) {
  Salt salt{};
  salt[0] = 0xab;
  const JobId id = job_id(uuid_v7(1700000000123, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), salt);
  EXPECT_EQ(id.text(), "018bcfe5-687b-7102-8304-05060708090a-ab000000");
  EXPECT_EQ(JobId::parse(id.text()), id);
  EXPECT_FALSE(JobId::parse("018BCFE5-687B-7102-8304-05060708090A-AB000000"));
  EXPECT_FALSE(JobId::parse("018bcfe5-687b-7102-8304-05060708090a"));
}

TEST(JobId, ComputedKeysDifferByPipelineAndKey) {
  const JobKey key = idempotent_job_key("a", "bc");
  EXPECT_EQ(key, idempotent_job_key("a", "bc"));
  EXPECT_NE(key, idempotent_job_key("ab", "c"));
  EXPECT_EQ(key.bytes[6] >> 4, 8);
}

TEST(Time, RoundTripsAndRefusesNonsense) {
  EXPECT_EQ(format_time(1700000000123), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(parse_time("2023-11-14T22:13:20.123Z"), 1700000000123);
  EXPECT_EQ(parse_time("2023-11-15T00:13:20.1234+02:00"), 1700000000123);
  for (const char* text :
       {"2023-11-14", "2023-04-31T00:00:00Z", "2023-02-29T00:00:00Z", "2023-11-14T22:13:20",
        "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20Zx"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

TEST(Time, DurationsNeedAUnit) {
  EXPECT_EQ(parse_duration("250ms"), 250);
  EXPECT_EQ(parse_duration("7d"), 7 * 86'400'000LL);
  for (const char* text : {"10", "", "s", "-1s", "1 s", "1.5s", "99999999999999999d"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
  EXPECT_EQ(format_duration(90'000), "90s");
  EXPECT_EQ(format_duration(0), "0s");
}

TEST(Time, SizesNeedAUnit) {
  EXPECT_EQ(parse_size("64MiB"), 64 << 20);
  EXPECT_EQ(parse_size("10MB"), 10'000'000);
  EXPECT_FALSE(parse_size("64"));
  EXPECT_FALSE(parse_size("64mib"));
  EXPECT_EQ(format_size(64 << 20), "64MiB");
}

TEST(ByteBudget, NeverExceedsItsLimitAndIsReleasedByTheLastCopy) {
  auto budget = std::make_shared<ByteBudget>(10);
  EXPECT_TRUE(budget->try_charge(8));
  EXPECT_FALSE(budget->try_charge(3));
  {
    const Bytes bytes = charged_bytes("12345678", budget);
    const Bytes copy = bytes;
    EXPECT_EQ(copy.view(), "12345678");
  }
  EXPECT_EQ(budget->used_bytes(), 0u);
}

TEST(Errors, TableIsAscendingAndFound) {
  int count = 0;
  const ErrorInfo* table = error_table(&count);
  for (int i = 1; i < count; i++) EXPECT_LT(table[i - 1].number, table[i].number);
  ASSERT_NE(error_info(17), nullptr);
  EXPECT_STREQ(error_info(17)->name, "BodyTooLarge");
  EXPECT_EQ(error_info(999), nullptr);
  EXPECT_EQ(error_code(7), "E007");
}

}  // namespace
}  // namespace millrace
