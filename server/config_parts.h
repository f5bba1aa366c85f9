// The parts of config.cc: typing of single values, and what is derived. Internal to server/.
#pragma once

#include <string>
#include <vector>

#include "engine/base/value.h"
#include "server/config.h"

namespace millrace {

// Reads a whole file of at most `bytes_max`. Invalid E101 with path and reason. [any]
Result<std::string> read_small_file(const std::string& path, size_t bytes_max);
std::string absolute_path(const std::string& path);

class ConfigBuilder {
 public:
  explicit ConfigBuilder(Config* config) : config_(config) {}
  // Reads `value` as the key's kind into its field. E102 or E103 with what would be right.
  Status set(const ConfigKey& key, const Value& value, bool is_given);
  // Fills what was left to the machine and checks keys against each other.
  std::vector<Status> finish();

 private:
  Status set_text(std::string_view key, const std::string& text);
  Status set_word(std::string_view key, const ConfigKey& row, const std::string& text);
  Status set_int(std::string_view key, const std::string& text);
  Status set_size(std::string_view key, const std::string& text);
  Status set_duration(std::string_view key, const std::string& text);
  Status set_list(std::string_view key, const Value& value, KeyKind kind);
  Status set_stores(const Value& value);

  Config* config_;
  bool auth_mode_given_ = false;
  bool workers_cpu_given_ = false;
};

}  // namespace millrace
