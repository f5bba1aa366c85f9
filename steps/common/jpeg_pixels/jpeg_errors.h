// JpegErrors: what libjpeg-turbo complains about, kept as words instead of ending the process.
//
// It knows libjpeg's errors, not what is read or written. Errors leave libjpeg by longjmp: a body
// given to guarded() must not hold objects with destructors while it calls libjpeg.
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

  // Runs body(); false when libjpeg gave up in it.
  template <typename Body>
  [[nodiscard]] bool guarded(const Body& body) {
    if (setjmp(jump) != 0) return false;
    body();
    return true;
  }

  jpeg_error_mgr manager;  // for jpeg_compress_struct and jpeg_decompress_struct, as their `err`
  std::jmp_buf jump;
  std::string words;  // the first warning and the error, a line each
};

}  // namespace millrace
