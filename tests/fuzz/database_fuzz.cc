// Fuzzes the URL of a database: any text is refused with a sentence that repeats nothing of it, or
// read; then what is shown of it holds no password, and every option that a store sets can be set.
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/errors.h"
#include "engine/store/mongo_address.h"

namespace millrace {
namespace {

std::string problem_of(const std::string& url) {
  const auto address = MongoAddress::read(url);
  CHECK(!address.ok() && address.status().number() == errors::kStoreOpen);
  return address.status().message();
}

// A URL may hold a password: all that may be said of one is said of these as well.
bool is_known(const std::string& problem) {
  static const auto* const unreadable = new std::string(problem_of(""));
  static const auto* const nameless = new std::string(problem_of("mongodb://host"));
  return problem == *unreadable || problem == *nameless;
}

bool is_plain(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

void check_shown(const MongoAddress& address) {
  const std::string& name = address.name();
  CHECK(!address.database().empty());
  CHECK_MSG(name.starts_with("mongodb://") && name.ends_with("/" + address.database()),
            name.c_str());
  CHECK_MSG(name.find('@') == std::string::npos && is_plain(name), name.c_str());
}

// The driver repeats the URL, or the password that it read from it.
void check_hidden(const MongoAddress& address, const std::string& url) {
  const auto driver = load_mongo_driver();
  const char* read = (*driver)->uri_get_password(address.uri());
  const std::string password = read != nullptr ? read : "";
  if (password.empty() || password.find('*') != std::string::npos) return;  // *** may hold it
  for (const std::string& text : {url, "greeting " + password + ": refused", password + password}) {
    const std::string shown = address.without_secrets(text);
    CHECK_MSG(shown.find(password) == std::string::npos, shown.c_str());
  }
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  const std::string url(reinterpret_cast<const char*>(data), size);
  const auto address = MongoAddress::read(url);
  if (!address.ok()) {
    CHECK_MSG(is_known(address.status().message()), address.status().message().c_str());
    return 0;
  }
  check_shown(**address);
  check_hidden(**address, url);
  for (const char* option : {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGOC_URI_CONNECTTIMEOUTMS,
                             MONGOC_URI_SOCKETTIMEOUTMS, MONGOC_URI_HEARTBEATFREQUENCYMS}) {
    (*address)->set_unless_given(option, 2'000);
  }
  return 0;
}
