// AVIF: writing one still picture, by libheif and libaom.
//
// Writing only: reading is steps/common/heif/, without libheif, whose decoders start threads.
// libvips' own module for both is not opened.
#pragma once

#include <string>

#include "steps/common/picture/encode.h"

namespace millrace {

inline constexpr uint32_t kAvifSideMax = 16384;  // what decoders take

// 8 bits a sample; on the calling thread alone. The host is asked before, and not while it works.
Problem encode_avif(PictureJob* job, const OutputOptions& options, const VipsPicture& picture,
                    std::string* file);

}  // namespace millrace
