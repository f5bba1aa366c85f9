// A database of one's own on a server that is there.
#include <fmt/core.h>
#include <mongoc/mongoc.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "demo/cluster/cluster.h"

namespace millrace {

std::string new_database_of(const std::string& server) {
  // scheme://hosts[/database][?options]
  const size_t scheme = server.find("://"), hosts = scheme == std::string::npos ? 0 : scheme + 3;
  const size_t options = std::min(server.find('?'), server.size());
  const size_t slash = std::min(server.find('/', hosts), options);
  return fmt::format("{}/millrace_cluster_{}_{}{}", server.substr(0, slash), ::time(nullptr),
                     ::getpid(), server.substr(options));
}

void drop_database(const std::string& url) {
  bson_error_t error{};
  mongoc_uri_t* uri = mongoc_uri_new_with_error(url.c_str(), &error);
  mongoc_client_t* client = uri == nullptr ? nullptr : mongoc_client_new_from_uri(uri);
  if (client != nullptr) {
    mongoc_database_t* database = mongoc_client_get_database(client, mongoc_uri_get_database(uri));
    if (!mongoc_database_drop(database, &error)) {
      fmt::print(stderr, "the database {} stays: {}\n", mongoc_uri_get_database(uri),
                 error.message);
    }
    mongoc_database_destroy(database);
  }
  mongoc_client_destroy(client);
  mongoc_uri_destroy(uri);
}

}  // namespace millrace
