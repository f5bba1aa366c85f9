// Goal: a notification is sent as Standard Webhooks say, each answer means what the contract
// says, and nothing forbidden is ever connected to.
// Method: the built plugin runs in a fake host against a receiver on loopback that answers by
// script.
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <chrono>

#include "steps/notify/delivery.h"
#include "steps/notify/signature.h"
#include "tests/steps_io/receiver.h"
#include "tests/steps_io/test_host.h"

namespace millrace {
namespace {

using notify_step::describe_url;
using notify_step::parse_secrets;
using notify_step::retry_after_ms;
using notify_step::signature_of;

const char* kLoopback = R"(["127.0.0.0/8","::1/128"])";
const char* kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const char* kBody = R"({"gray":"/v1/files/default/results/1.jpg","job":"ü"})";

class NotifyStep : public testing::Test {
 protected:
  static TestCall call(const std::string& url) {
    TestCall call;
    call.params = {{"url", url}, {"body", kBody}};
    call.settings["webhook.allow"] = kLoopback;
    return call;
  }
  TestResult send(const std::string& url) { return run_step(step_, call(url)); }
  TestResult send_to(const Receiver::Script& script) {
    Receiver receiver(script);
    return send(receiver.url());
  }
  TestResult send_answered(const std::string& status, const std::string& headers = "") {
    return send_to([&](const ReceivedRequest&) { return answer(status, headers); });
  }

  const mr_step& step_ = load_step("notify");
};

// Independent of the step's own code: the key is decoded and the MAC made here.
std::string expected_signature(const std::string& secret, const ReceivedRequest& request) {
  const std::string base64 = secret.substr(6);
  unsigned char key[256];
  int key_size = EVP_DecodeBlock(key, reinterpret_cast<const unsigned char*>(base64.data()),
                                 static_cast<int>(base64.size()));
  for (size_t i = base64.size(); i > 0 && base64[i - 1] == '='; --i) --key_size;
  const std::string content = request.headers.at("webhook-id") + "." +
                              request.headers.at("webhook-timestamp") + "." + request.body;
  unsigned char mac[32];
  unsigned int size = sizeof mac;
  HMAC(EVP_sha256(), key, key_size, reinterpret_cast<const unsigned char*>(content.data()),
       content.size(), mac, &size);
  unsigned char text[64];
  const int length = EVP_EncodeBlock(text, mac, 32);
  return "v1," + std::string(reinterpret_cast<char*>(text), static_cast<size_t>(length));
}

TEST_F(NotifyStep, SendsTheFrozenBodyUnderTheEffectKey) {
  Receiver receiver([](const ReceivedRequest&) { return answer("204 No Content"); });
  const int64_t before = ::time(nullptr);
  const TestResult result = send(receiver.url("/hook?token=1"));
  ASSERT_EQ(result.code, MR_OK) << result.message;
  EXPECT_EQ(result.ints.at("status"), 204);
  EXPECT_TRUE(result.note.starts_with("204 No Content in ")) << result.note;
  ASSERT_EQ(receiver.requests().size(), 1u);
  const ReceivedRequest request = receiver.requests()[0];
  EXPECT_EQ(request.line, "POST /hook?token=1 HTTP/1.1");
  EXPECT_EQ(request.body, kBody);
  EXPECT_EQ(request.headers.at("content-type"), "application/json");
  EXPECT_EQ(request.headers.at("webhook-id"), "effect-key-1");
  EXPECT_EQ(request.headers.at("idempotency-key"), "effect-key-1");
  EXPECT_TRUE(request.headers.at("user-agent").starts_with("millrace/"));
  EXPECT_GE(std::stoll(request.headers.at("webhook-timestamp")), before);
  EXPECT_LE(std::stoll(request.headers.at("webhook-timestamp")), ::time(nullptr));
  EXPECT_FALSE(request.headers.contains("webhook-signature"));
  EXPECT_FALSE(request.headers.contains("expect"));
  EXPECT_FALSE(request.headers.contains("authorization"));
}

TEST_F(NotifyStep, SignsWithEveryLiveSecret) {
  Receiver receiver([](const ReceivedRequest&) { return answer("200 OK"); });
  const std::string second = "whsec_c2Vjb25kIHNlY3JldCBvZiBzb21lIGxlbmd0aA==";
  TestCall one = call(receiver.url());
  one.settings["webhook.secret"] = fmt::format("\"{}\"", kSecret);
  ASSERT_EQ(run_step(step_, one).code, MR_OK);
  TestCall two = one;
  two.settings["webhook.secret"] = fmt::format(R"(["{}","{}"])", kSecret, second);
  ASSERT_EQ(run_step(step_, two).code, MR_OK);
  const auto requests = receiver.requests();
  EXPECT_EQ(requests[0].headers.at("webhook-signature"), expected_signature(kSecret, requests[0]));
  EXPECT_EQ(
      requests[1].headers.at("webhook-signature"),
      expected_signature(kSecret, requests[1]) + " " + expected_signature(second, requests[1]));
}

TEST(Signature, IsTheOneOfTheSpecification) {
  std::string problem;
  const auto keys = parse_secrets(fmt::format("\"{}\"", kSecret), &problem);
  ASSERT_TRUE(keys) << problem;
  EXPECT_EQ(
      signature_of(*keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, R"({"test": 2432232314})"),
      "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

TEST(Signature, WrongSecretsAreRefusedWithoutBeingShown) {
  for (const char* setting : {R"("hunter2hunter2")", R"("whsec_")", R"("whsec_hunter2")",
                              R"("whsec_hunt er2=")", R"(["whsec_AAAA",5])", "{}",
                              R"("whsec_A===")", R"(["whsec_AAAA","whsec_AAAA","whsec_AAAA"])"}) {
    std::string problem;
    EXPECT_FALSE(parse_secrets(setting, &problem)) << setting;
    EXPECT_EQ(problem.find("hunt"), std::string::npos);
    EXPECT_NE(problem.find("webhook.secret"), std::string::npos);
  }
  std::string problem;
  EXPECT_EQ(parse_secrets("null", &problem)->size(), 0u);
  EXPECT_EQ(parse_secrets(R"("whsec_AAAA,whsec_AAAA")", &problem)->size(), 2u);
}

TEST_F(NotifyStep, RepetitionsCarryTheSameKeyAndBytesOverOneConnection) {
  Receiver receiver([](const ReceivedRequest&) { return answer("503 Service Unavailable"); });
  for (uint32_t attempt = 1; attempt <= 3; ++attempt) {
    TestCall again = call(receiver.url());
    again.attempt = attempt;
    EXPECT_EQ(run_step(step_, again).reason, "receiver_error");
  }
  const auto requests = receiver.requests();
  ASSERT_EQ(requests.size(), 3u);
  for (const ReceivedRequest& request : requests) {
    EXPECT_EQ(request.body, requests[0].body);
    EXPECT_EQ(request.headers.at("webhook-id"), requests[0].headers.at("webhook-id"));
  }
  EXPECT_EQ(receiver.connections(), 1);
}

struct StatusCase {
  const char* status;
  const char* reason;  // "" is success
  bool transient;
};

TEST_F(NotifyStep, EachStatusMeansWhatTheContractSays) {
  for (const StatusCase& expected :
       std::initializer_list<StatusCase>{{"200 OK", "", false},
                                         {"201 Created", "", false},
                                         {"202 Accepted", "", false},
                                         {"299 Odd", "", false},
                                         {"300 Multiple Choices", "redirected", false},
                                         {"304 Not Modified", "redirected", false},
                                         {"400 Bad Request", "rejected", false},
                                         {"401 Unauthorized", "rejected", false},
                                         {"404 Not Found", "rejected", false},
                                         {"408 Request Timeout", "receiver_error", true},
                                         {"409 Conflict", "rejected", false},
                                         {"410 Gone", "gone", false},
                                         {"422 Unprocessable", "rejected", false},
                                         {"425 Too Early", "receiver_error", true},
                                         {"429 Too Many Requests", "rate_limited", true},
                                         {"499 Odd", "rejected", false},
                                         {"500 Internal Server Error", "receiver_error", true},
                                         {"501 Not Implemented", "receiver_error", true},
                                         {"503 Service Unavailable", "receiver_error", true},
                                         {"599 Odd", "receiver_error", true}}) {
    const TestResult result = send_answered(expected.status);
    EXPECT_EQ(result.reason, expected.reason) << expected.status;
    EXPECT_EQ(result.transient, expected.transient) << expected.status;
    EXPECT_TRUE(result.note.starts_with(expected.status)) << result.note;
    if (*expected.reason != '\0') {
      EXPECT_NE(result.message.find(expected.status), std::string::npos) << result.message;
    }
  }
}

TEST_F(NotifyStep, ARedirectIsNotFollowed) {
  Receiver target([](const ReceivedRequest&) { return answer("200 OK"); });
  for (const char* status :
       {"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"}) {
    const TestResult result = send_answered(status, "Location: " + target.url() + "\r\n");
    EXPECT_EQ(result.reason, "redirected") << status;
  }
  EXPECT_EQ(target.connections(), 0);
}

TEST_F(NotifyStep, RetryAfterIsHonouredWhereTryingAgainHelps) {
  EXPECT_EQ(send_answered("429 Slow Down", "Retry-After: 7\r\n").retry_after_ms, 7'000);
  EXPECT_EQ(send_answered("503 Busy", "retry-after:  12 \r\n").retry_after_ms, 12'000);
  EXPECT_EQ(send_answered("503 Busy", "Retry-After: 999999\r\n").retry_after_ms, 3'600'000);
  EXPECT_EQ(send_answered("503 Busy", "Retry-After: soon\r\n").retry_after_ms, 0);
  EXPECT_EQ(send_answered("503 Busy").retry_after_ms, 0);
  EXPECT_EQ(send_answered("404 Not Found", "Retry-After: 7\r\n").retry_after_ms, 0);
}

TEST(RetryAfter, IsSecondsOrADate) {
  constexpr int64_t kNow = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(retry_after_ms("Sun, 06 Nov 1994 08:50:07 GMT", kNow), 30'000);
  EXPECT_EQ(retry_after_ms("Sun, 06 Nov 1994 08:00:00 GMT", kNow), 0);
  EXPECT_EQ(retry_after_ms("Mon, 06 Nov 2034 08:00:00 GMT", kNow), 3'600'000);
  EXPECT_EQ(retry_after_ms("120", kNow), 120'000);
  EXPECT_EQ(retry_after_ms("0", kNow), 0);
  EXPECT_EQ(retry_after_ms("-5", kNow), 0);
  EXPECT_EQ(retry_after_ms("99999999999999999999999", kNow), 3'600'000);
  EXPECT_EQ(retry_after_ms("", kNow), 0);
  EXPECT_EQ(retry_after_ms("5 apples", kNow), 0);
}

TEST_F(NotifyStep, LoopbackIsForbiddenByDefaultInEveryForm) {
  Receiver receiver([](const ReceivedRequest&) { return answer("200 OK"); });
  for (const char* host : {"127.0.0.1",
                           "127.1",
                           "127.0.1",
                           "0x7f000001",
                           "0x7f.0.0.1",
                           "2130706433",
                           "017700000001",
                           "0177.0.0.1",
                           "0",
                           "0.0.0.0",
                           "localhost",
                           "[::1]",
                           "[::ffff:127.0.0.1]",
                           "[::ffff:7f00:1]",
                           "[::]",
                           "127.0.0.2",
                           "[64:ff9b::127.0.0.1]",
                           "[2002:7f00:1::1]",
                           "user:pass@127.0.0.1",
                           "[fe80::1]",
                           "10.0.0.1",
                           "169.254.169.254",
                           "192.168.1.1"}) {
    TestCall forbidden = call(fmt::format("http://{}:{}/", host, receiver.port()));
    forbidden.settings.clear();
    const TestResult result = run_step(step_, forbidden);
    EXPECT_EQ(result.reason, "forbidden_address") << host << ": " << result.message;
    EXPECT_FALSE(result.transient);
    EXPECT_NE(result.message.find("webhook.allow"), std::string::npos);
  }
  EXPECT_EQ(receiver.connections(), 0);
}

TEST_F(NotifyStep, ANameIsJudgedByTheAddressItLeadsTo) {
  Receiver receiver([](const ReceivedRequest&) { return answer("200 OK"); });
  const std::string url = fmt::format("http://localhost:{}/", receiver.port());
  EXPECT_EQ(send(url).code, MR_OK);
  TestCall only_private = call(url);
  only_private.settings["webhook.allow"] = R"(["10.0.0.0/8"])";
  EXPECT_EQ(run_step(step_, only_private).reason, "forbidden_address");
  EXPECT_EQ(receiver.connections(), 1);
}

// The connection that a laxer policy opened is not used under a stricter one.
TEST_F(NotifyStep, AnOpenConnectionDoesNotOutliveItsPolicy) {
  Receiver receiver([](const ReceivedRequest&) { return answer("200 OK"); });
  EXPECT_EQ(send(receiver.url()).code, MR_OK);
  TestCall strict = call(receiver.url());
  strict.settings["webhook.allow"] = "null";
  EXPECT_EQ(run_step(step_, strict).reason, "forbidden_address");
  EXPECT_EQ(receiver.requests().size(), 1u);
}

TEST_F(NotifyStep, ProxiesOfTheEnvironmentAreNotUsed) {
  Receiver proxy([](const ReceivedRequest&) { return answer("200 OK"); });
  Receiver receiver([](const ReceivedRequest&) { return answer("202 Accepted"); });
  for (const char* name : {"http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}) {
    ::setenv(name, proxy.url("").c_str(), 1);
  }
  EXPECT_EQ(send(receiver.url()).ints["status"], 202);
  for (const char* name : {"http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}) {
    ::unsetenv(name);
  }
  EXPECT_EQ(proxy.connections(), 0);
}

TEST_F(NotifyStep, OnlyHttpUrlsWithAHostCanBeUsed) {
  for (const std::string& url :
       {std::string("ftp://127.0.0.1/"), std::string("file:///etc/passwd"),
        std::string("gopher://127.0.0.1/"), std::string("/just/a/path"), std::string(""),
        std::string("http://"), std::string("127.0.0.1:80"), std::string("http://a b/"),
        std::string("http://127.0.0.1:99999/"), std::string("http://h\0.example/", 18),
        std::string("http://a\r\nX: y/"), "http://h/" + std::string(9000, 'x')}) {
    const TestResult result = send(url);
    EXPECT_EQ(result.reason, "invalid_url") << url;
    EXPECT_FALSE(result.transient);
  }
}

TEST(DescribeUrl, HidesWhatMayBeSecret) {
  std::string problem;
  EXPECT_EQ(describe_url("https://user:pa55@hooks.example:8443/a/b?token=s3cret#f", &problem),
            "https://hooks.example:8443/a/b");
}

TEST_F(NotifyStep, MessagesHideUserPasswordAndQuery) {
  Receiver receiver([](const ReceivedRequest&) { return answer("404 Not Found"); });
  const TestResult result =
      send(fmt::format("http://bob:hunter2@127.0.0.1:{}/path?token=s3cret", receiver.port()));
  EXPECT_EQ(result.reason, "rejected");
  EXPECT_NE(result.message.find("/path"), std::string::npos);
  EXPECT_EQ(result.message.find("hunter2"), std::string::npos);
  EXPECT_EQ(result.message.find("s3cret"), std::string::npos);
  EXPECT_TRUE(receiver.requests()[0].headers.contains("authorization"));
}

TEST_F(NotifyStep, ARefusedConnectionIsTransient) {
  int port;
  {
    Receiver gone([](const ReceivedRequest&) { return answer("200 OK"); });
    port = gone.port();
  }
  const TestResult result = send(fmt::format("http://127.0.0.1:{}/", port));
  EXPECT_EQ(result.reason, "unreachable");
  EXPECT_TRUE(result.transient);
  EXPECT_TRUE(result.note.starts_with("unreachable")) << result.note;
}

TEST_F(NotifyStep, AClosedConnectionAndGibberishAreTransient) {
  const TestResult closed = send_to([](const ReceivedRequest&) { return ""; });
  EXPECT_EQ(closed.reason, "unreachable");
  EXPECT_TRUE(closed.transient);
  const TestResult gibberish = send_to(
      [](const ReceivedRequest&) { return "SSH-2.0-nothing here\r\nConnection: close\r\n"; });
  EXPECT_EQ(gibberish.reason, "unreachable");
  const TestResult endless_header = send_to([](const ReceivedRequest&) {
    std::string bytes = "HTTP/1.1 200 OK\r\n";
    for (int i = 0; i < 3000; ++i) bytes += fmt::format("X-{}: {}\r\n", i, std::string(64, 'h'));
    return bytes + "Connection: close\r\n\r\n";
  });
  EXPECT_EQ(endless_header.reason, "unreachable");
}

TEST_F(NotifyStep, TlsWithWhatSpeaksNoneIsTransient) {
  // The receiver sees no request in a handshake; closing its side is its answer.
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::thread server([listener] {
    const int connection = ::accept(listener, nullptr, nullptr);
    char hello[4096];
    (void)::recv(connection, hello, sizeof hello, 0);
    (void)::send(connection, "HTTP/1.0 400 no\r\n\r\n", 19, MSG_NOSIGNAL);
    ::close(connection);
  });
  const TestResult result = send(fmt::format("https://127.0.0.1:{}/", ntohs(address.sin_port)));
  server.join();
  ::close(listener);
  EXPECT_EQ(result.reason, "tls_failed") << result.message;
  EXPECT_TRUE(result.transient);
}

int64_t elapsed_ms(const std::function<void()>& action) {
  const auto begun = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begun)
      .count();
}

TEST_F(NotifyStep, NoAnswerIsATimeoutBeforeTheHostsOwn) {
  Receiver* self = nullptr;
  Receiver silent([&self](const ReceivedRequest&) {
    self->hang();
    return std::string();
  });
  self = &silent;
  TestCall hasty = call(silent.url());
  hasty.timeout_ms = 1000;
  TestResult result;
  EXPECT_LT(elapsed_ms([&] { result = run_step(step_, hasty); }), 1000);
  EXPECT_EQ(result.reason, "timeout");
  EXPECT_TRUE(result.transient);
}

TEST_F(NotifyStep, AStatusCountsEvenWhenItsBodyNeverEnds) {
  const TestResult stalled = send_to([](const ReceivedRequest&) {
    return std::string("HTTP/1.1 200 OK\r\nX-Test: stall\r\nContent-Length: 1000\r\n\r\nsome");
  });
  EXPECT_EQ(stalled.code, MR_OK) << stalled.message;
  const TestResult endless = send_to([](const ReceivedRequest&) {
    return "HTTP/1.1 503 Busy\r\nContent-Length: 99999999\r\n\r\n" + std::string(4 << 20, 'x');
  });
  EXPECT_EQ(endless.reason, "receiver_error");
  EXPECT_TRUE(endless.note.starts_with("503 Busy"));
}

TEST_F(NotifyStep, CancelStopsAnAttemptThatWaits) {
  Receiver* self = nullptr;
  Receiver silent([&self](const ReceivedRequest&) {
    self->hang();
    return std::string();
  });
  self = &silent;
  TestCall cancelled = call(silent.url());
  cancelled.go_on = [&silent] { return silent.requests().empty(); };
  TestResult result;
  EXPECT_LT(elapsed_ms([&] { result = run_step(step_, cancelled); }), 10'000);
  EXPECT_EQ(result.code, MR_CANCELLED);
}

TEST_F(NotifyStep, WrongSettingsFailBeforeAnythingIsSent) {
  Receiver receiver([](const ReceivedRequest&) { return answer("200 OK"); });
  TestCall wrong = call(receiver.url());
  wrong.settings["webhook.secret"] = R"("whsec_?")";
  EXPECT_EQ(run_step(step_, wrong).reason, "invalid_setting");
  wrong.settings["webhook.secret"] = "null";
  wrong.settings["webhook.allow"] = R"(["everything"])";
  EXPECT_EQ(run_step(step_, wrong).reason, "invalid_setting");
  EXPECT_EQ(receiver.connections(), 0);
}

TEST_F(NotifyStep, AnIdleConnectionThatTheReceiverClosedIsNoFailure) {
  Receiver receiver(
      [](const ReceivedRequest&) { return answer("200 OK", "Connection: close\r\n"); });
  for (int i = 0; i < 5; ++i) EXPECT_EQ(send(receiver.url()).code, MR_OK);
  EXPECT_EQ(receiver.requests().size(), 5u);
}

TEST_F(NotifyStep, ManyThreadsAreServedAtOnce) {
  Receiver receiver([](const ReceivedRequest&) { return answer("200 OK"); });
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  const int64_t ms = elapsed_ms([&] {
    for (int t = 0; t < 16; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          if (send(receiver.url()).code != MR_OK) ++failed;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(receiver.connections(), 16);
  RecordProperty("notifications_per_s", static_cast<int>(800'000 / std::max<int64_t>(1, ms)));
  printf("%d notifications/s\n", static_cast<int>(800'000 / std::max<int64_t>(1, ms)));
}

}  // namespace
}  // namespace millrace
