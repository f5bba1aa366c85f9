// Goal: configuration is strict, says where it is wrong, and its sources win in the right order.
#include "server/config.h"

#include <cstdio>
#include <fstream>

#include "engine/base/value.h"

namespace millrace {
namespace {

class ConfigTest : public testing::Test {
 protected:
  LoadedConfig load(const std::string& text) {
    path_ = testing::TempDir() + "config_test.yaml";
    std::ofstream(path_) << text;
    sources.file = path_;
    return load_config(sources);
  }
  // The only error, without the file's name.
  std::string error_of(const std::string& text) {
    const LoadedConfig loaded = load(text);
    EXPECT_EQ(loaded.errors.size(), 1u) << text;
    if (loaded.errors.empty()) return "";
    const std::string& error = loaded.errors[0];
    return error.starts_with(path_) ? error.substr(path_.size()) : error;
  }
  void TearDown() override { std::remove(path_.c_str()); }
  ConfigSources sources;
  std::string path_;
};

TEST_F(ConfigTest, DefaultsAreThoseOfTheContract) {
  const LoadedConfig loaded = load_config({});
  ASSERT_TRUE(loaded.errors.empty()) << loaded.errors[0];
  const Config& c = loaded.config;
  EXPECT_EQ(c.listen, "127.0.0.1:8080");
  EXPECT_EQ(c.body_bytes_max, 64 << 20);
  EXPECT_EQ(c.retention_ms, 7 * 86'400'000LL);
  EXPECT_EQ(c.drain_ms, 30'000);
  EXPECT_EQ(c.jobs_max, 10'000);
  EXPECT_EQ(c.stores.size(), 1u);
  EXPECT_EQ(c.stores[0].name, "default");
  EXPECT_EQ(c.stores[0].directory, c.data + "/store");
  EXPECT_GT(c.memory_bytes_max, 0u);
  EXPECT_GT(c.workers_memory_bytes, 0u);
  EXPECT_LT(c.workers_memory_bytes, c.memory_bytes_max) << "an eighth of the machine is left";
  EXPECT_GE(c.workers_cpu, 1u);
}

TEST_F(ConfigTest, KeysMayBeNestedOrDotted) {
  const LoadedConfig loaded = load(
      "pipelines: here\npipelines.writable: false\nlimits:\n  body: 1MiB\nlimits.jobs: 5\n"
      "cors:\n  origins: [https://a.example, https://b.example/]\n"
      "stores:\n  default: {url: \"file:/srv\", public_url: https://cdn.example}\n"
      "webhook: {allow: [10.0.0.0/8, \"::1\"]}\n");
  ASSERT_TRUE(loaded.errors.empty()) << loaded.errors[0];
  EXPECT_TRUE(loaded.config.pipelines.ends_with("/here"));
  EXPECT_EQ(loaded.config.body_bytes_max, 1 << 20);
  EXPECT_EQ(loaded.config.jobs_max, 5);
  EXPECT_EQ(loaded.config.cors_origins[1], "https://b.example");
  EXPECT_EQ(loaded.config.stores[0].public_url, "https://cdn.example");
  EXPECT_EQ(loaded.config.webhook_allow.size(), 2u);
}

TEST_F(ConfigTest, FlagsWinOverEnvironmentOverFile) {
  sources.environment = {
      {"MILLRACE_LIMITS_JOBS", "2"}, {"MILLRACE_DRAIN", "2s"}, {"MILLRACE_PORT", "tcp://10.0.0.1"}};
  sources.flags = {{"limits.jobs", "3"}, {"cors.origins", ""}};
  const LoadedConfig loaded =
      load("limits.jobs: 1\ndrain: 1s\nlease: 1s\ncors.origins: https://a.example\n");
  ASSERT_TRUE(loaded.errors.empty()) << loaded.errors[0];
  EXPECT_EQ(loaded.config.jobs_max, 3);
  EXPECT_EQ(loaded.config.drain_ms, 2000);
  EXPECT_EQ(loaded.config.lease_ms, 1000);
  EXPECT_TRUE(loaded.config.cors_origins.empty());
  ASSERT_EQ(loaded.warnings.size(), 1u);
  EXPECT_NE(loaded.warnings[0].find("MILLRACE_PORT"), std::string::npos);
}

TEST_F(ConfigTest, MapsAndListsMayBeFlags) {
  sources.flags = {{"stores", "{a: {url: \"file:/srv/a\"}, b: {url: \"file:/srv/b\"}}"},
                   {"cors.origins", "https://a.example,https://b.example"}};
  const LoadedConfig loaded = load_config(sources);
  ASSERT_TRUE(loaded.errors.empty()) << loaded.errors[0];
  EXPECT_EQ(loaded.config.stores.size(), 2u);
  EXPECT_EQ(loaded.config.cors_origins.size(), 2u);
}

TEST_F(ConfigTest, ErrorsSayWhereAndWhatIsNear) {
  EXPECT_EQ(error_of("limits:\n  bodi: 1MiB\n"),
            ":2:3: error E100: no configuration key is named 'limits.bodi'; did you mean "
            "'limits.body'?");
  EXPECT_EQ(error_of("limits.body: 64\n"),
            ":1:14: error E102: limits.body: '64' is not a size with its unit, such as 64MiB");
  EXPECT_NE(error_of("drain: 30\n").find("E102"), std::string::npos);
  EXPECT_NE(error_of("limits.jobs: 1\nlimits: {jobs: 2}\n").find("set twice"), std::string::npos);
  EXPECT_NE(error_of("a: [\n").find("E030"), std::string::npos);
  EXPECT_NE(error_of("pipelines.writable: true\n").find("E103"), std::string::npos);
  EXPECT_NE(error_of("auth.token: secret\n").find("env:NAME"), std::string::npos);
  EXPECT_EQ(error_of("auth.token: secret\n").find("'secret'"), std::string::npos);
  EXPECT_EQ(load("unknown: 1\nlimits.body: x\nlog.level: loud\n").errors.size(), 3u);
  EXPECT_TRUE(load("# nothing\n\n").errors.empty());
}

TEST_F(ConfigTest, ReplicasShareStoreAndBlobsAndNoPasswordIsShown) {
  EXPECT_TRUE(load("store: mongodb://u:geheim@h/d\nblobs: file:/srv/blobs\n").errors.empty());
  EXPECT_NE(error_of("store: mongodb://u:geheim@h/d\n").find("blobs"), std::string::npos);
  EXPECT_EQ(error_of("store: mongodb://u:geheim@h/d\n").find("geheim"), std::string::npos);
  EXPECT_EQ(error_of("store: mongodb:u:geheim@h/d\n").find("geheim"), std::string::npos);
  EXPECT_NE(error_of("store: mongodb://h/d\nblobs: file:/srv/blobs\nlease: 50ms\n").find("lease"),
            std::string::npos);
}

TEST_F(ConfigTest, BeyondLoopbackSomebodyMustSayWhoMayComeIn) {
  EXPECT_NE(error_of("listen: 0.0.0.0:80\n").find("E104"), std::string::npos);
  EXPECT_TRUE(load("listen: 0.0.0.0:80\nauth.mode: none\n").errors.empty());
  EXPECT_TRUE(load("listen: 0.0.0.0:80\nauth.token: env:TOKEN\n").errors.empty());
  EXPECT_TRUE(load("listen: \"[::1]:80\"\n").errors.empty());
  EXPECT_NE(error_of("auth.mode: token\n").find("E104"), std::string::npos);
}

TEST_F(ConfigTest, SecretsAreReferencesAndNeverShown) {
  setenv("CONFIG_TEST_SECRET", "whsec_abc", 1);
  EXPECT_EQ(*resolve_secret("env:CONFIG_TEST_SECRET"), "whsec_abc");
  const auto missing = resolve_secret("env:CONFIG_TEST_NONE");
  EXPECT_FALSE(missing.ok());
  EXPECT_NE(missing.status().message().find("env:CONFIG_TEST_NONE"), std::string::npos);
  const LoadedConfig loaded = load("webhook.secret: [\"env:CONFIG_TEST_SECRET\"]\n");
  const auto settings = plugin_settings(loaded.config);
  ASSERT_TRUE(settings.ok());
  bool found = false;
  for (const auto& [key, json] : *settings) {
    if (key == "webhook.secret") found = json == "[\"whsec_abc\"]";
  }
  EXPECT_TRUE(found);
}

TEST_F(ConfigTest, BucketsNeedKeysWhichNobodyShows) {
  setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "hunter2", 1);
  const std::string text =
      "blobs: \"s3://pictures/b?endpoint=http://127.0.0.1:9000\"\nblobs.cache: 0B\n"
      "stores: { default: { url: \"s3://pictures/o?region=eu-west-1\" } }\n";
  const LoadedConfig loaded = load(text);
  ASSERT_TRUE(loaded.errors.empty()) << loaded.errors[0];
  EXPECT_EQ(loaded.config.blob_cache_bytes_max, 0u);
  EXPECT_EQ(loaded.config.blobs,
            "s3://pictures/b?endpoint=http://127.0.0.1:9000&region=us-east-1&path_style=true");
  ASSERT_TRUE(loaded.config.stores[0].s3.has_value());
  EXPECT_EQ(loaded.config.stores[0].s3->region, "eu-west-1");
  const auto settings = plugin_settings(loaded.config);
  for (const auto& [key, json] : *settings) {
    EXPECT_EQ(json.find("hunter2") != std::string::npos, key == "s3.keys") << key;
  }
  unsetenv("AWS_SECRET_ACCESS_KEY");
  const LoadedConfig keyless = load(text);
  ASSERT_EQ(keyless.errors.size(), 1u);
  EXPECT_NE(keyless.errors[0].find("E106: blobs: a bucket needs keys"), std::string::npos)
      << keyless.errors[0];
  unsetenv("AWS_ACCESS_KEY_ID");
  EXPECT_EQ(load("").config.blob_cache_bytes_max, uint64_t{1} << 30);
  for (const auto& [broken, part] : std::vector<std::pair<std::string, std::string>>{
           {"blobs: \"s3://id:hunter2@b\"\n", "blobs: this S3 URL cannot be used"},
           {"stores: { x: { url: \"s3://U\" } }\n", "stores.x.url: this S3 URL"}}) {
    const LoadedConfig refused = load(broken);
    ASSERT_FALSE(refused.errors.empty());
    EXPECT_NE(refused.errors[0].find(part), std::string::npos) << refused.errors[0];
    EXPECT_EQ(refused.errors[0].find("hunter2"), std::string::npos) << refused.errors[0];
  }
}

TEST_F(ConfigTest, TheSchemaIsJsonAndKnowsEveryKey) {
  const auto schema = parse_json(config_schema());
  ASSERT_TRUE(schema.ok());
  for (const ConfigKey& key : config_keys()) {
    EXPECT_NE(schema->find("properties")->find(key.name), nullptr) << key.name;
  }
}

}  // namespace
}  // namespace millrace
