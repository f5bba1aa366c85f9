#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "engine/base/errors.h"
#include "server/cli/cli.h"
#include "server/config_parts.h"

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

Result<InputArgument> parse_input(const std::string& argument) {
  const size_t equals = argument.find('=');
  if (equals == std::string::npos || equals == 0) {
    return Status::invalid(errors::kUsageWrong,
                           fmt::format("an input is NAME=VALUE or NAME=@FILE, not '{}'", argument));
  }
  InputArgument out{argument.substr(0, equals), argument.substr(equals + 1), ""};
  if (!out.text.empty() && out.text[0] == '@') out.file = out.text.substr(1);
  return out;
}

Result<std::string> read_pipeline_file(const std::string& path) {
  auto text = read_small_file(path, kPipelineFileBytesMax);
  if (text.ok()) return text;
  return Status::invalid(
      errors::kPipelinesUnreadable,
      text.status().message() + "; name a pipeline's file, such as pipelines/grayscale.yaml");
}

Status prepare_directory(const std::string& what, const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  // What is there already and is no directory is no error to everyone.
  if (!error && !std::filesystem::is_directory(path, error) && !error) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (!error && access(path.c_str(), W_OK | X_OK) != 0) error.assign(errno, std::system_category());
  if (!error) return {};
  return Status::unavailable(
      errors::kOutputUnwritable,
      fmt::format("{}: cannot write into '{}': {}", what, path, error.message()));
}

Status write_output_file(const std::string& path, std::string_view content) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = fd >= 0;
  for (size_t at = 0; good && at < content.size();) {
    const ssize_t size = write(fd, content.data() + at, content.size() - at);
    if (size < 0 && errno == EINTR) continue;
    good = size > 0;
    if (good) at += static_cast<size_t>(size);
  }
  const int error = errno;
  if (fd >= 0) good = close(fd) == 0 && good;
  if (good) return {};
  return Status::unavailable(errors::kOutputUnwritable,
                             fmt::format("cannot write '{}': {}", path, strerror(error)));
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
