// Job: one call of the step grayscale, as its parts share it: the input and what is known of it,
// the options, the output.
//
// It knows the host, not the codecs. A part returns a Problem; a host that said stop is in
// `cancelled`.
#pragma once

#include <string>
#include <string_view>

#include "engine/abi/step.h"
#include "steps/common/exif.h"
#include "steps/common/gray.h"
#include "steps/common/image_header.h"
#include "steps/common/picture/picture_job.h"

namespace millrace {

struct GrayOptions {
  GrayMethod method = GrayMethod::kLuma;
  int quality = 0;  // 0: as good as the original
  uint8_t background[3] = {255, 255, 255};
  Metadata metadata = Metadata::kSafe;
};

struct Job {
  const mr_call* call = nullptr;
  ByteView file;
  ImageHeader header;
  GrayOptions options;
  bool cancelled = false;

  // Both answer whether to go on.
  bool write(const void* data, size_t size) {
    if (size > 0 && call->host->write(call, 0, data, size) != MR_OK) cancelled = true;
    return !cancelled;
  }
  bool write(std::string_view bytes) { return write(bytes.data(), bytes.size()); }
  bool progress(uint32_t permille) {
    if (call->host->progress(call, permille) != MR_OK) cancelled = true;
    return !cancelled;
  }
  void note(const std::string& text) const { call->host->note(call, text.c_str()); }

  // The EXIF block that the output carries under `safe` and `strip`, empty for none; under `keep`
  // the original one.
  std::string exif() const {
    const ByteView block = file.sub(header.exif);
    if (options.metadata == Metadata::kKeep) {
      return {reinterpret_cast<const char*>(block.data), block.size};
    }
    ExifFacts facts;
    if (header.exif.size > 0) facts = read_exif(block);
    if (options.metadata == Metadata::kStrip) facts.artist.clear(), facts.copyright.clear();
    return build_exif(facts);
  }
};

// One for each format.
Problem gray_jpeg(Job* job);
Problem gray_png(Job* job);
Problem gray_gif(Job* job);
Problem gray_webp(Job* job);
Problem gray_tiff(Job* job);
// AVIF stays so; of a HEIC comes JPEG, or PNG with alpha. The header becomes the result's.
Problem gray_heif(Job* job);

}  // namespace millrace
