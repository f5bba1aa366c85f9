// MongoAddress: what the URL of a store on MongoDB says, and what of it may be shown.
//
// It connects to nobody. The URL is a secret: nothing here repeats a part of it but the hosts and
// the name of the database.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/time.h"
#include "engine/store/mongo_driver.h"

namespace millrace {

class MongoAddress {
 public:
  ~MongoAddress();
  MongoAddress(const MongoAddress&) = delete;
  MongoAddress& operator=(const MongoAddress&) = delete;

  // Has the driver read the URL, and makes those choices that no URL may make. E120: it cannot be
  // read, it names no database, or the driver is not installed. [any]
  static Result<std::unique_ptr<MongoAddress>> read(const std::string& url);

  // Hosts and database, without what is secret.
  const std::string& name() const { return name_; }
  const std::string& database() const { return database_; }

  // A time that the URL may have set itself, by the option's name in URLs.
  void set_unless_given(const char* option, DurationMs value);

  // For the driver; with all that was set here.
  const mongoc_uri_t* uri() const { return uri_; }

  // The text of a driver or server, with the password replaced.
  std::string without_secrets(std::string text) const;

 private:
  MongoAddress(const MongoDriver* driver, mongoc_uri_t* uri) : driver_(driver), uri_(uri) {}
  bool take_parts(const std::string& url);

  const MongoDriver* driver_;
  mongoc_uri_t* uri_;
  std::string name_, database_;
  std::vector<std::string> secrets_;
};

}  // namespace millrace
