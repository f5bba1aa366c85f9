#include "steps/store/place.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "steps/store/key.h"

namespace millrace::store_step {
namespace {

// "file:/a", "file:///a" and "file:a" (relative to where the server was started) name a directory.
bool directory_of(std::string_view url, std::string* directory) {
  if (!url.starts_with("file:")) return false;
  url.remove_prefix(5);
  if (url.starts_with("///")) url.remove_prefix(2);
  if (url.starts_with("//") || url.empty()) return false;  // another host's file, or none
  *directory = url;
  return true;
}

std::string without_trailing_slashes(std::string_view url) {
  while (url.ends_with('/')) url.remove_suffix(1);
  return std::string(url);
}

std::string names_of(const simdjson::dom::object& stores) {
  std::string names;
  for (const auto& field : stores) {
    if (!names.empty()) names += ", ";
    names += field.key;
  }
  return names.empty() ? "none" : names;
}

}  // namespace

Failure find_place(std::string_view stores_json, std::string_view name, Place* place) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::object stores;
  if (parser.parse(stores_json.data(), stores_json.size()).get(root) != simdjson::SUCCESS ||
      root.get_object().get(stores) != simdjson::SUCCESS) {
    return {"store_unknown",
            fmt::format("store '{}' is not configured: the setting 'stores' is not a map; set "
                        "stores: {{ {}: {{ url: \"file:DIR\" }} }}",
                        printable(name), printable(name))};
  }
  simdjson::dom::object entry;
  std::string_view url;
  if (stores[name].get_object().get(entry) != simdjson::SUCCESS) {
    return {"store_unknown", fmt::format("no store is named '{}'; the setting 'stores' names: {}",
                                         printable(name), names_of(stores))};
  }
  if (entry["url"].get_string().get(url) != simdjson::SUCCESS) {
    return {"store_unknown", fmt::format("store '{}' has no url; set stores.{}.url to \"file:DIR\"",
                                         printable(name), printable(name))};
  }
  place->name = name;
  if (url.starts_with("s3:")) {
    if (std::string problem = s3::parse_location(url, &place->s3); !problem.empty()) {
      return {"store_unsupported",
              fmt::format("the S3 URL of store '{}' cannot be used: {}", printable(name), problem)};
    }
  } else if (!directory_of(url, &place->directory)) {
    const std::string_view scheme = url.substr(0, url.find(':'));
    return {"store_unsupported",
            fmt::format("store '{}' is of the kind '{}:', which this version cannot write; it "
                        "writes \"file:DIR\" and \"s3://BUCKET/PREFIX\"",
                        printable(name), printable(scheme))};
  }
  std::string_view public_url;
  if (entry["public_url"].get_string().get(public_url) == simdjson::SUCCESS) {
    place->public_url = without_trailing_slashes(public_url);
  }
  return {};
}

std::string object_url(const Place& place, std::string_view server_url, std::string_view key) {
  if (!place.public_url.empty()) return place.public_url + "/" + percent_encode(key);
  return without_trailing_slashes(server_url) + "/v1/files/" + percent_encode(place.name) + "/" +
         percent_encode(key);
}

std::string server_url_of(std::string_view setting_json) {
  simdjson::dom::parser parser;
  std::string_view url;
  if (parser.parse(setting_json.data(), setting_json.size()).get_string().get(url) !=
      simdjson::SUCCESS) {
    return {};
  }
  return std::string(url);
}

}  // namespace millrace::store_step
