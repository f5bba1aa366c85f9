// GIF to gray by rewriting its colour tables: every frame, delay, disposal and pixel index stays as
// it is, so nothing is lost and nothing is decoded. The compressed frames are passed on unread.
#include "steps/grayscale/job.h"

namespace millrace {
namespace {

class GifRewriter {
 public:
  explicit GifRewriter(Job* job) : job_(job), file_(job->file) { out_.reserve(file_.size); }

  Problem run() {
    copy(13);
    const uint8_t flags = file_.u8(10);
    const bool global_table = flags & 0x80;
    if (global_table) table(flags);
    // parse_gif() has seen the whole chain up to the trailer: this loop ends.
    for (;;) {
      const uint8_t block = file_.u8(at_);
      if (block == 0x3B) break;
      if (block == 0x21) {
        extension();
      } else if (block == 0x2C) {
        const uint8_t frame_flags = file_.u8(at_ + 9);
        copy(10);
        if (frame_flags & 0x80) {
          table(frame_flags);
        } else if (!global_table) {
          return {Fault::kUnsupported, "the GIF has a frame without a colour table; save it anew"};
        }
        copy(1);
        sub_blocks(true);
      } else {
        at_ += 1;  // a stray zero
      }
    }
    out_ += ';';
    job_->write(out_);
    return {};
  }

 private:
  void copy(uint64_t size) {
    if (file_.has(at_, size)) out_.append(reinterpret_cast<const char*>(file_.data + at_), size);
    at_ += size;
  }

  void table(uint8_t flags) {
    const int entries = 2 << (flags & 7);
    for (int i = 0; i < entries; ++i, at_ += 3) {
      const uint8_t gray =
          gray_of(job_->options.method, file_.u8(at_), file_.u8(at_ + 1), file_.u8(at_ + 2));
      out_.append(3, static_cast<char>(gray));
    }
  }

  void sub_blocks(bool keep) {
    for (;;) {
      const uint64_t length = file_.u8(at_);
      if (keep) {
        copy(1 + length);
      } else {
        at_ += 1 + length;
      }
      if (length == 0) return;
    }
  }

  // Timing, transparency and the loop count always stay; comments, XMP and the like only under
  // `keep`; a colour profile never, because it is one for colours.
  void extension() {
    const uint8_t label = file_.u8(at_ + 1);
    const bool graphic = label == 0xF9 || label == 0x01;
    const bool loop =
        label == 0xFF && (file_.is(at_ + 3, "NETSCAPE2.0") || file_.is(at_ + 3, "ANIMEXTS1.0"));
    const bool profile = label == 0xFF && file_.is(at_ + 3, "ICCRGBG1");
    const bool keep = graphic || loop || (job_->options.metadata == Metadata::kKeep && !profile);
    if (keep) {
      copy(2);
    } else {
      at_ += 2;
    }
    sub_blocks(keep);
  }

  Job* job_;
  ByteView file_;
  uint64_t at_ = 0;
  std::string out_;
};

}  // namespace

Problem gray_gif(Job* job) {
  return GifRewriter(job).run();
}

}  // namespace millrace
