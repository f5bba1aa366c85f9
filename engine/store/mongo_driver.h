// MongoDriver: the functions of libmongoc that the client calls, looked up when a store on MongoDB
// is opened for the first time.
//
// The library is loaded then and not with the program: with what it needs itself it would cost each
// start of a server 8 ms, and as much again in each template process of the workers, which has no
// use for it at all.
#pragma once

#include <mongoc/mongoc.h>

#include "engine/base/status.h"

// Names without `mongoc_`.
#define MILLRACE_MONGO_DRIVER_FUNCTIONS(each) \
  each(client_command_simple);                \
  each(client_command_with_opts);             \
  each(client_get_collection);                \
  each(client_pool_destroy);                  \
  each(client_pool_new_with_error);           \
  each(client_pool_pop);                      \
  each(client_pool_push);                     \
  each(client_pool_set_error_api);            \
  each(client_read_command_with_opts);        \
  each(client_select_server);                 \
  each(client_session_append);                \
  each(client_session_destroy);               \
  each(client_start_session);                 \
  each(collection_destroy);                   \
  each(collection_find_with_opts);            \
  each(cursor_destroy);                       \
  each(cursor_error);                         \
  each(cursor_next);                          \
  each(init);                                 \
  each(log_set_handler);                      \
  each(read_prefs_destroy);                   \
  each(read_prefs_new);                       \
  each(server_description_destroy);           \
  each(server_description_id);                \
  each(uri_destroy);                          \
  each(uri_get_appname);                      \
  each(uri_get_database);                     \
  each(uri_get_hosts);                        \
  each(uri_get_option_as_int32);              \
  each(uri_get_password);                     \
  each(uri_get_srv_hostname);                 \
  each(uri_get_username);                     \
  each(uri_has_option);                       \
  each(uri_new_with_error);                   \
  each(uri_set_appname);                      \
  each(uri_set_option_as_bool);               \
  each(uri_set_option_as_int32)

namespace millrace {

struct MongoDriver {
#define MILLRACE_POINTER(name) decltype(&::mongoc_##name) name = nullptr
  MILLRACE_MONGO_DRIVER_FUNCTIONS(MILLRACE_POINTER);
#undef MILLRACE_POINTER
};

// Loaded and started once, for the life of the process; what it logs goes to our log. Unavailable
// E120: the library is not installed, or lacks a function; the message says what to install. [any]
Result<const MongoDriver*> load_mongo_driver();

// While one lives, nothing is logged that the driver says on this thread. [any]
class QuietMongoDriver {
 public:
  QuietMongoDriver();
  ~QuietMongoDriver();
  QuietMongoDriver(const QuietMongoDriver&) = delete;
  QuietMongoDriver& operator=(const QuietMongoDriver&) = delete;
};

}  // namespace millrace
