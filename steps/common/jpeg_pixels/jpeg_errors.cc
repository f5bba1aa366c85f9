#include "steps/common/jpeg_pixels/jpeg_errors.h"

#include <cstddef>

namespace millrace {
namespace {

// Damage may warn at every block; libvips gives up here too.
constexpr long kWarningsMax = 100;

JpegErrors* errors_of(j_common_ptr info) {
  return static_cast<JpegErrors*>(info->client_data);
}

void keep_words(j_common_ptr info) {
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  std::string& words = errors_of(info)->words;
  const std::string_view line = text;
  if (words.size() + line.size() + 1 > words.capacity()) return;  // nothing may be thrown here
  if (!words.empty()) words += '\n';
  words += line;
}

[[noreturn]] void on_error(j_common_ptr info) {
  keep_words(info);
  std::longjmp(errors_of(info)->jump, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  const long warnings = ++info->err->num_warnings;
  if (warnings == 1) keep_words(info);
  if (warnings >= kWarningsMax) on_error(info);
}

}  // namespace

JpegErrors::JpegErrors() : manager(), jump() {
  jpeg_std_error(&manager);
  manager.error_exit = on_error;
  manager.emit_message = on_message;
  manager.output_message = keep_words;
  words.reserve(size_t{2} * (JMSG_LENGTH_MAX + 1));
}

}  // namespace millrace
