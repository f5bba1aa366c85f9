// GifFrames: the frames of a GIF as browsers show them: each on the canvas, over what the frames
// before it left there.
//
// What nothing was painted on is transparent, and so is what disposal 2 clears: the background
// colour of the file, which other readers paint there, is not asked. Frames are cut by the canvas.
// It knows no library of images; the file has passed parse_gif(), or is taken as far as it goes.
#pragma once

#include <string>
#include <vector>

#include "steps/common/gif_cover.h"

namespace millrace {

class GifFrames {
 public:
  // `strict`: picture data that end early, or that do not decode, are an error.
  GifFrames(ByteView file, bool strict);

  uint32_t width() const { return width_; }
  uint32_t height() const { return height_; }
  size_t count() const { return frames_.size(); }
  // Whether something of the canvas can be seen through.
  bool alpha() const { return alpha_; }
  // How often all of it is played; 0: for ever.
  int loop() const { return loop_; }
  // Milliseconds, of each frame.
  std::vector<int> delays() const;

  // Makes row() those of this frame. Asked for in order, each frame is decoded once. "", or what is
  // wrong.
  [[nodiscard]] std::string show(size_t frame);
  // Of the frame that is shown, `width` times four bytes: red, green, blue, alpha.
  const uint8_t* row(uint32_t y) const { return canvas_.data() + size_t{y} * width_ * 4; }

 private:
  struct Frame {
    uint64_t at = 0;  // of its descriptor, behind the mark of the block
    GifControl control;
  };
  struct Area {
    uint32_t left = 0, top = 0, width = 0, height = 0;
  };

  void scan();
  Area area_of(const Frame& frame) const;
  std::string paint(size_t number);
  void dispose();
  void copy_area(const Area& area, bool keep);

  ByteView file_;
  bool strict_;
  uint32_t width_ = 0, height_ = 0;
  uint64_t table_at_ = 0;  // the file's table
  uint32_t table_size_ = 0;
  bool alpha_ = false;
  int loop_ = 1;
  std::vector<Frame> frames_;
  size_t shown_ = 0;             // frames painted; the last one is on the canvas
  std::vector<uint8_t> canvas_;  // RGBA
  std::vector<uint8_t> kept_;    // what a frame that will be taken back was painted over
};

}  // namespace millrace
