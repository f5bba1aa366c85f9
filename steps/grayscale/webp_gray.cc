// WebP to gray. An animation is taken frame by frame: each frame's own rectangle is decoded, made
// gray and put back where it was, so that number, places, durations, blending and loop stay exactly
// as they are.
#include "steps/common/webp_file.h"
#include "steps/grayscale/vips_gray.h"

namespace millrace {
namespace {

constexpr uint8_t kAlpha = 0x10, kExif = 0x08, kXmp = 0x04, kAnimation = 0x02;

std::string_view bytes_of(ByteView file, Span span) {
  const ByteView part = file.sub(span);
  return {reinterpret_cast<const char*>(part.data), part.size};
}

// The picture's chunks out of a whole file that libvips wrote, and whether they carry alpha.
std::string picture_chunks(const std::string& webp, bool* alpha) {
  std::string chunks;
  const ByteView view{reinterpret_cast<const uint8_t*>(webp.data()), webp.size()};
  for (uint64_t at = 12; at + 8 <= view.size;) {
    WebpChunk chunk;
    if (!read_webp_chunk(view, &at, &chunk)) break;
    if (!chunk.is("ALPH") && !chunk.is("VP8 ") && !chunk.is("VP8L")) continue;
    if (chunk.is("ALPH") || (chunk.is("VP8L") && (view.u8(chunk.data.at + 4) & 0x10)))
      *alpha = true;
    append_webp_chunk(&chunks, std::string_view(chunk.name, 4), bytes_of(view, chunk.data));
  }
  return chunks;
}

class WebpRewriter {
 public:
  explicit WebpRewriter(Job* job)
      : job_(job), file_(job->file.sub({0, 8 + uint64_t{job->file.le32(4)}})) {}

  Problem run() {
    if (Problem problem = collect()) return problem;
    if (job_->cancelled) return {};
    const std::string exif = job_->exif();
    uint8_t flags = job_->header.animated ? kAnimation : 0;
    if (alpha_) flags |= kAlpha;
    if (!exif.empty()) flags |= kExif;
    if (!xmp_.empty()) flags |= kXmp;
    std::string chunks;
    // A still without extras needs no extended header, unless its alpha stands in a chunk of its
    // own.
    const bool plain = (flags & ~kAlpha) == 0 && pictures_.compare(0, 4, "ALPH") != 0;
    if (!plain) {
      append_webp_chunk(&chunks, "VP8X",
                        webp_canvas(flags, job_->header.width, job_->header.height));
    }
    chunks += pictures_;
    if (!exif.empty()) append_webp_chunk(&chunks, "EXIF", exif);
    if (!xmp_.empty()) append_webp_chunk(&chunks, "XMP ", xmp_);
    job_->write(webp_riff(chunks));
    return {};
  }

 private:
  Problem collect() {
    for (uint64_t at = 12; at + 8 <= file_.size && !job_->cancelled;) {
      WebpChunk chunk;
      if (!read_webp_chunk(file_, &at, &chunk)) break;
      Problem problem;
      if (chunk.is("ICCP")) {
        profile_ = file_.sub(chunk.data);
      } else if (chunk.is("ANIM") && job_->header.animated) {
        append_webp_chunk(&pictures_, "ANIM", gray_background(chunk.data));
      } else if (chunk.is("ANMF") && job_->header.animated) {
        problem = frame(chunk);
      } else if (chunk.is("XMP ") && job_->options.metadata == Metadata::kKeep) {
        xmp_ = bytes_of(file_, chunk.data);
      }
      if (problem) return problem;
    }
    if (job_->header.animated) return {};
    return encode(file_, {}, job_->header.webp_lossless, &pictures_);
  }

  std::string gray_background(Span data) const {
    std::string bytes(bytes_of(file_, data));
    if (bytes.size() < 3) return bytes;  // blue, green, red, alpha, loop count
    const auto part = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
    const uint8_t gray = gray_of(job_->options.method, part(2), part(1), part(0));
    bytes.replace(0, 3, 3, static_cast<char>(gray));
    return bytes;
  }

  Problem encode(ByteView webp, ByteView profile, bool lossless, std::string* chunks) {
    GrayPicture gray;
    std::string out;
    if (Problem problem = vips_gray(job_, ImageFormat::kWebp, webp, 0, profile, &gray))
      return problem;
    if (Problem problem = save_webp(job_, gray, lossless, &out)) return problem;
    *chunks += picture_chunks(out, &alpha_);
    return {};
  }

  // A frame's chunks make a file of their own.
  Problem frame(const WebpChunk& anmf) {
    WebpFrame frame;
    if (!read_webp_frame(file_, anmf, &frame)) return corrupt("WebP", "a frame holds no picture");
    std::string chunks;
    if (frame.alpha.data.size > 0) {
      append_webp_chunk(&chunks, "VP8X", webp_canvas(kAlpha, frame.width, frame.height));
      append_webp_chunk(&chunks, "ALPH", bytes_of(file_, frame.alpha.data));
    }
    append_webp_chunk(&chunks, std::string_view(frame.picture.name, 4),
                      bytes_of(file_, frame.picture.data));
    const std::string still = webp_riff(chunks);
    std::string gray;
    const ByteView view{reinterpret_cast<const uint8_t*>(still.data()), still.size()};
    if (Problem problem = encode(view, profile_, frame.picture.is("VP8L"), &gray)) return problem;
    append_webp_chunk(&pictures_, "ANMF", webp_frame(frame, gray));
    return {};
  }

  Job* job_;
  ByteView file_;
  ByteView profile_;
  std::string pictures_;
  std::string xmp_;
  bool alpha_ = false;
};

}  // namespace

Problem gray_webp(Job* job) {
  return WebpRewriter(job).run();
}

}  // namespace millrace
