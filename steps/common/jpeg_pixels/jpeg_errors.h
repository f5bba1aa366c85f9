// JpegErrors: what libjpeg-turbo complains about, kept as words instead of ending the process.
//
// It knows libjpeg's errors, not what is read or written. Errors leave libjpeg by longjmp: what
// runs between setjmp(errors.jump) and its end must not hold objects with destructors.
#pragma once

#include <csetjmp>
#include <cstdio>
#include <string>

extern "C" {
#include <jpeglib.h>
}

namespace millrace {

struct JpegErrors {
  JpegErrors();
  JpegErrors(const JpegErrors&) = delete;
  JpegErrors& operator=(const JpegErrors&) = delete;

  jpeg_error_mgr manager;  // for jpeg_compress_struct and jpeg_decompress_struct, as their `err`
  std::jmp_buf jump;
  std::string words;  // the first warning and the error, a line each
};

}  // namespace millrace
