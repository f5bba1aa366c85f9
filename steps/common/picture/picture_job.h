// PictureJob: one call of a picture step, as the parts of the core share it.
//
// It knows the host, not libvips. A part returns a Problem; a host that said stop is in
// `cancelled`.
#pragma once

#include <string>
#include <string_view>

#include "engine/abi/step.h"
#include "steps/common/image_header.h"

namespace millrace {

// What of a file's metadata the result carries; steps/README.md has the table.
enum class Metadata { kSafe, kKeep, kStrip };

struct PictureJob {
  const mr_call* call = nullptr;
  ByteView file;
  ImageHeader header;
  bool strict = true;  // damage is a failure, not a note
  bool cancelled = false;
  // That the samples of the page at hand are kept in; empty: sRGB, or gray as sRGB codes it.
  std::string profile;

  // Both answer whether to go on.
  bool write(std::string_view bytes) {
    if (call->host->write(call, 0, bytes.data(), bytes.size()) != MR_OK) cancelled = true;
    return !cancelled;
  }
  bool progress(uint32_t permille) {
    if (call->host->progress(call, permille) != MR_OK) cancelled = true;
    return !cancelled;
  }
  void note(const std::string& text) const { call->host->note(call, text.c_str()); }
};

}  // namespace millrace
