// Place: a named store of the configuration (`stores`), and the URL of an object in it.
//
// Knows nothing of files and buckets: `url` says which kind of store it is, file_store.h and
// s3_store.h put objects.
#pragma once

#include <string>
#include <string_view>

#include "s3/location.h"
#include "steps/store/failure.h"

namespace millrace::store_step {

struct Place {
  std::string name;
  std::string directory;   // of a file: store; empty: `s3`
  s3::Location s3;         // of an s3: store
  std::string public_url;  // empty: none
};

// Finds `name` in the JSON text of the setting `stores` ({"default": {"url": "file:/srv/objects",
// "public_url": "https://cdn.example" or null}}). [any]
// store_unknown: no such name, or the setting is no such JSON. store_unsupported: the url's scheme
// is neither file: nor s3:, or it cannot be used.
[[nodiscard]] Failure find_place(std::string_view stores_json, std::string_view name, Place* place);

// Where the object can be fetched: the place's public_url + key, else `server_url` + the files
// route, else that route alone. Everything is percent-encoded. [any]
[[nodiscard]] std::string object_url(const Place& place, std::string_view server_url,
                                     std::string_view key);

// The text of the setting `server.public_url` (a JSON string); empty when it is null. [any]
[[nodiscard]] std::string server_url_of(std::string_view setting_json);

}  // namespace millrace::store_step
