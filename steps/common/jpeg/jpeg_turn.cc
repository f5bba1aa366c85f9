#include "steps/common/jpeg/jpeg_turn.h"

#include <turbojpeg.h>

#include <memory>

namespace millrace {

std::string turn_jpeg(ByteView file, int orientation, bool progressive) {
  constexpr int kOperation[] = {TJXOP_NONE,   TJXOP_NONE,       TJXOP_HFLIP,
                                TJXOP_ROT180, TJXOP_VFLIP,      TJXOP_TRANSPOSE,
                                TJXOP_ROT90,  TJXOP_TRANSVERSE, TJXOP_ROT270};
  if (orientation < 1 || orientation > 8) return "";
  const std::unique_ptr<void, int (*)(tjhandle)> handle(tjInitTransform(), tjDestroy);
  if (handle == nullptr) return "";
  tjtransform transform = {};
  transform.op = kOperation[orientation];
  transform.options = TJXOPT_PERFECT | TJXOPT_COPYNONE | (progressive ? TJXOPT_PROGRESSIVE : 0);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  // Warnings end it: whoever decodes the file then says what is wrong with it.
  const int failed = tjTransform(handle.get(), file.data, static_cast<unsigned long>(file.size), 1,
                                 &data, &size, &transform, TJFLAG_STOPONWARNING);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(data, tjFree);
  return failed ? "" : std::string(reinterpret_cast<const char*>(data), size);
}

}  // namespace millrace
