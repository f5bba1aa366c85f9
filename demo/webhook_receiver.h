// WebhookReceiver: what somebody who is notified by millrace would write, in the small: takes a
// POST on loopback, answers 204, and checks the signature as Standard Webhooks says.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace millrace::demo {

struct Webhook {
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool signature_valid = false;
  double at_ms = 0;  // unix time, milliseconds
};

class WebhookReceiver {
 public:
  // `secret`: "whsec_" + base64, the one that the server was given.
  explicit WebhookReceiver(std::string secret) : secret_(std::move(secret)) {}
  ~WebhookReceiver();
  WebhookReceiver(const WebhookReceiver&) = delete;
  WebhookReceiver& operator=(const WebhookReceiver&) = delete;

  // Listens on a free port of 127.0.0.1. False: it cannot.
  bool start();
  std::string url() const;

  // The first webhook, as soon as it is there; empty when none came in time.
  std::optional<Webhook> wait(int timeout_ms);

 private:
  void run();
  void serve(int connection);

  std::string secret_;
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<Webhook> first_;
};

// A new secret of 32 random bytes.
std::string make_webhook_secret();

}  // namespace millrace::demo
