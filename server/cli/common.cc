#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "engine/base/errors.h"
#include "server/cli/cli.h"

namespace millrace {

bool color_wanted(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(fd) == 1 && (no_color == nullptr || *no_color == '\0');
}

std::string red(const std::string& text, int fd) {
  return color_wanted(fd) ? "\x1b[31m" + text + "\x1b[0m" : text;
}

bool print(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

void print_error(const std::string& text) {
  fmt::print(stderr, "{}\n", red(text, STDERR_FILENO));
}

void print_warning(const std::string& text) {
  fmt::print(stderr, "{}\n", text);
}

void print_error(const Status& status) {
  print_error(fmt::format("error {}: {}", error_code(status.number()), status.message()));
}

int exit_code_of(const Status& status) {
  const int number = status.number();
  if (number >= 120 && number <= 139) return kExitStore;
  if (number == errors::kWorkersUnavailable) return kExitWorkers;
  return kExitConfig;
}

bool load_for_verb(const ConfigArguments& arguments, Config* config) {
  ConfigSources sources;
  sources.file = arguments.file;
  sources.environment = config_environment();
  bool good = true;
  for (const std::string& setting : arguments.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      print_error(fmt::format("error {}: --set takes KEY=VALUE, not '{}'",
                              error_code(errors::kUsageWrong), setting));
      good = false;
      continue;
    }
    sources.flags.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  LoadedConfig loaded = load_config(sources);
  for (const std::string& warning : loaded.warnings) print_warning("warning: " + warning);
  for (const std::string& error : loaded.errors) print_error(error);
  if (!good || !loaded.errors.empty()) return false;
  *config = std::move(loaded.config);
  return true;
}

}  // namespace millrace
