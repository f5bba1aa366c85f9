// JpegCodec: libjpeg-turbo's two structs with our error handling, our output, and nothing else.
//
// It knows how to run libjpeg safely, not what for. Errors leave libjpeg by longjmp: a body given
// to guarded() must not hold objects with destructors while it calls libjpeg. Warnings that mean
// lost picture data are errors here.
#pragma once

#include <csetjmp>
#include <cstdio>
#include <string>
#include <vector>

extern "C" {
#include <jpeglib.h>
}

#include "steps/grayscale/job.h"
#include "steps/grayscale/jpeg_segments.h"

namespace millrace {

struct JpegCodec {
  explicit JpegCodec(Job* job);
  ~JpegCodec();
  JpegCodec(const JpegCodec&) = delete;
  JpegCodec& operator=(const JpegCodec&) = delete;

  // Runs body(this); what libjpeg complained about, or nothing. After a problem only the destructor
  // may follow.
  Problem guarded(void (*body)(JpegCodec*));

  // For bodies: the host said stop.
  [[noreturn]] void leave() { std::longjmp(jump, 1); }

  Job* job;
  jpeg_error_mgr errors;
  jpeg_progress_mgr monitor;
  jpeg_destination_mgr destination;
  jpeg_decompress_struct source;
  jpeg_compress_struct target;
  std::jmp_buf jump;
  Problem problem;

  std::vector<uint8_t> rows;  // scratch of a body, sized before it calls libjpeg
  std::vector<uint8_t> gray;  // a whole picture, one byte a pixel, for encode_pixels
  JpegSegments segments;      // to write behind JFIF
  uint8_t buffer[65536];      // between libjpeg and the host
};

}  // namespace millrace
