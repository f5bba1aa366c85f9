#include "engine/store/mongo_address.h"

#include <algorithm>

#include "engine/base/errors.h"

namespace millrace {
namespace {

Status unreadable() {
  return Status::unavailable(
      errors::kStoreOpen,
      "the URL of the store cannot be read; it should be mongodb://USER:PASSWORD@HOST:PORT/"
      "DATABASE?OPTIONS, with %XX for special characters in user, password and options");
}

// The password as it stands in the URL, where some characters are written as %XX.
std::string written_password(const std::string& url) {
  const size_t begin = url.find("://");
  const size_t end = url.find('@');
  if (begin == std::string::npos || end == std::string::npos) return "";
  const size_t colon = url.find(':', begin + 3);
  return colon < end ? url.substr(colon + 1, end - colon - 1) : "";
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

}  // namespace

MongoAddress::~MongoAddress() {
  driver_->uri_destroy(uri_);
}

Result<std::unique_ptr<MongoAddress>> MongoAddress::read(const std::string& url) {
  const auto driver = load_mongo_driver();
  if (!driver.ok()) return driver.status();
  mongoc_uri_t* uri = nullptr;
  if (url.find('\0') == std::string::npos) {
    const QuietMongoDriver quiet;  // what it says may hold the password
    bson_error_t error;
    uri = (*driver)->uri_new_with_error(url.c_str(), &error);
  }
  if (uri == nullptr) return unreadable();
  std::unique_ptr<MongoAddress> address(new MongoAddress(*driver, uri));
  if (!address->take_parts(url)) return unreadable();
  if (address->database_.empty()) {
    return Status::unavailable(errors::kStoreOpen,
                               "the URL of the store names no database: mongodb://HOST/DATABASE");
  }
  CHECK((*driver)->uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false));
  CHECK((*driver)->uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, true));
  if ((*driver)->uri_get_appname(uri) == nullptr) {
    CHECK((*driver)->uri_set_appname(uri, "millrace"));
  }
  return address;
}

// False: a part of the password would be taken for something that is shown. The driver lets a
// password end at its first '@' and takes the rest for a host; and one with a '/' in it for a host,
// a port and a database.
bool MongoAddress::take_parts(const std::string& url) {
  if (const char* database = driver_->uri_get_database(uri_)) database_ = database;
  if (const char* password = driver_->uri_get_password(uri_)) {
    secrets_ = {written_password(url), password};
  }
  std::string hosts;
  for (auto* host = driver_->uri_get_hosts(uri_); host != nullptr; host = host->next) {
    if (!hosts.empty()) hosts += ',';
    hosts += host->host_and_port;
  }
  if (const char* service = driver_->uri_get_srv_hostname(uri_)) hosts += service;
  name_ = "mongodb://" + hosts + '/' + database_;
  const bool user_expected = url.find('@') != std::string::npos;
  if (user_expected && driver_->uri_get_username(uri_) == nullptr) return false;
  return name_.find('@') == std::string::npos &&
         std::none_of(name_.begin(), name_.end(), is_control);
}

void MongoAddress::set_unless_given(const char* option, DurationMs value) {
  if (driver_->uri_has_option(uri_, option)) return;
  CHECK(driver_->uri_set_option_as_int32(uri_, option, static_cast<int32_t>(value)));
}

std::string MongoAddress::without_secrets(std::string text) const {
  for (const std::string& secret : secrets_) {
    if (secret.empty()) continue;
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += 3) {
      text.replace(at, secret.size(), "***");
    }
  }
  return text;
}

}  // namespace millrace
