#include "demo/jpeg_header.h"

#include <jpeglib.h>
#include <setjmp.h>
#include <stdio.h>

namespace millrace::demo {
namespace {

struct ErrorManager {
  jpeg_error_mgr manager;  // first: libjpeg hands back a pointer to it
  jmp_buf escape;
};

void on_error(j_common_ptr info) {
  ::longjmp(reinterpret_cast<ErrorManager*>(info->err)->escape, 1);
}
void on_message(j_common_ptr) {}

}  // namespace

std::optional<JpegHeader> read_jpeg_header(const std::string& bytes) {
  jpeg_decompress_struct info = {};
  ErrorManager errors;
  info.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = &on_error;
  errors.manager.output_message = &on_message;
  if (::setjmp(errors.escape) != 0) {
    jpeg_destroy_decompress(&info);
    return std::nullopt;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&info, TRUE);
  const JpegHeader header = {info.image_width, info.image_height, info.num_components};
  jpeg_destroy_decompress(&info);
  return header;
}

}  // namespace millrace::demo
