#include "steps/common/jpeg/jpeg_turn.h"

#include <turbojpeg.h>

#include <algorithm>
#include <memory>

namespace millrace {
namespace {

// Whether the box consists of whole blocks of the turned picture.
bool is_whole_blocks(tjhandle handle, ByteView file, int orientation, const JpegBox& box) {
  int width = 0, height = 0, sampling = 0, space = 0;
  if (tjDecompressHeader3(handle, file.data, static_cast<unsigned long>(file.size), &width, &height,
                          &sampling, &space) != 0 ||
      sampling < 0 || sampling >= TJ_NUMSAMP) {
    return false;
  }
  const bool turned = orientation >= 5;
  if (turned) std::swap(width, height);
  // libjpeg-turbo looks at the blocks before turning, and moves what does not fit those after it:
  // only where both agree is the box the one that was asked for.
  const int long_side = std::max(tjMCUWidth[sampling], tjMCUHeight[sampling]);
  const int across = turned ? long_side : tjMCUWidth[sampling];
  const int down = turned ? long_side : tjMCUHeight[sampling];
  const int right = box.left + box.width, bottom = box.top + box.height;
  return box.left % across == 0 && box.top % down == 0 && right <= width && bottom <= height &&
         (right == width || right % across == 0) && (bottom == height || bottom % down == 0);
}

}  // namespace

std::string turn_jpeg(ByteView file, int orientation, bool progressive, const JpegBox& box) {
  constexpr int kOperation[] = {TJXOP_NONE,   TJXOP_NONE,       TJXOP_HFLIP,
                                TJXOP_ROT180, TJXOP_VFLIP,      TJXOP_TRANSPOSE,
                                TJXOP_ROT90,  TJXOP_TRANSVERSE, TJXOP_ROT270};
  if (orientation < 1 || orientation > 8) return "";
  const std::unique_ptr<void, int (*)(tjhandle)> handle(tjInitTransform(), tjDestroy);
  if (handle == nullptr) return "";
  tjtransform transform = {};
  transform.op = kOperation[orientation];
  transform.options = TJXOPT_PERFECT | TJXOPT_COPYNONE | (progressive ? TJXOPT_PROGRESSIVE : 0);
  if (box.width > 0) {
    if (!is_whole_blocks(handle.get(), file, orientation, box)) return "";
    transform.options |= TJXOPT_CROP;
    transform.r = {box.left, box.top, box.width, box.height};
  }
  unsigned char* data = nullptr;
  unsigned long size = 0;
  // Warnings end it: whoever decodes the file then says what is wrong with it.
  const int failed = tjTransform(handle.get(), file.data, static_cast<unsigned long>(file.size), 1,
                                 &data, &size, &transform, TJFLAG_STOPONWARNING);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(data, tjFree);
  return failed ? "" : std::string(reinterpret_cast<const char*>(data), size);
}

}  // namespace millrace
