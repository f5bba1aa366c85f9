// GifControl: what a GIF says of a frame in front of it; GifCover: whether its frames leave
// something of the canvas to be seen through.
#pragma once

#include "steps/common/byte_view.h"

namespace millrace {

struct GifControl {
  int transparent = -1;   // an index
  uint32_t disposal = 0;  // 2: cleared; 3: taken back (4 was, once); else it stays
  uint32_t delay = 0;     // hundredths of a second

  bool clears() const { return disposal == 2; }
  bool takes_back() const { return disposal == 3 || disposal == 4; }
};

// The graphic control extension whose label stands at `at`; anything else: all defaults.
inline GifControl read_gif_control(ByteView file, uint64_t at) {
  GifControl control;
  if (file.u8(at) != 0xF9 || file.u8(at + 1) != 4) return control;
  const uint8_t flags = file.u8(at + 2);
  control.disposal = flags >> 2 & 7u;
  control.delay = file.le16(at + 3);
  if (flags & 1) control.transparent = file.u8(at + 5);
  return control;
}

// Fed with frame after frame. It may say that there is something to be seen through where later
// frames hide it, never the opposite.
class GifCover {
 public:
  // `fills`: the frame reaches over the whole canvas.
  void add(bool fills, const GifControl& control) {
    const bool before = covered_;
    const bool shown = covered_ || (fills && control.transparent < 0);
    open_ = open_ || !shown || control.transparent >= 0;
    covered_ = control.clears() ? false : control.takes_back() ? before : shown;
  }
  bool open() const { return open_; }

 private:
  bool covered_ = false, open_ = false;
};

}  // namespace millrace
