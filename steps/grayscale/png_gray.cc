// PNG to gray: the pixels through libvips, the ancillary chunks by our own rules.
#include "steps/common/crc32.h"
#include "steps/grayscale/vips_gray.h"

namespace millrace {
namespace {

void append32(std::string* out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

void append_chunk(std::string* out, std::string_view name, std::string_view data) {
  append32(out, static_cast<uint32_t>(data.size()));
  const size_t at = out->size();
  out->append(name);
  out->append(data);
  append32(out, crc32(reinterpret_cast<const uint8_t*>(out->data()) + at, out->size() - at));
}

bool one_of(std::string_view name, std::string_view list) {
  return list.find(name) != list.npos;
}

// Whether a chunk of the original goes into the output.
bool is_kept(const Job& job, ByteView file, std::string_view name, uint64_t data_at,
             bool converted) {
  if ((name[0] & 0x20) == 0) return false;  // critical: the new picture has its own
  // Coded values that were not converted keep the meaning that these give them.
  if (name == "gAMA" || name == "sRGB") return !converted;
  // Tied to the old samples, written by the saver, part of the animation that is dropped, or
  // handled elsewhere.
  if (one_of(name, "tRNS bKGD hIST sBIT sPLT cHRM iCCP cICP mDCv cLLi pHYs acTL fcTL fdAT eXIf"))
    return false;
  if (job.options.metadata == Metadata::kKeep) return true;
  const bool text = one_of(name, "tEXt zTXt iTXt");
  const bool copyright = file.is(data_at, std::string_view("Copyright\0", 10)) ||
                         file.is(data_at, std::string_view("Author\0", 7));
  return job.options.metadata == Metadata::kSafe && text && copyright;
}

std::string extra_chunks(const Job& job, bool converted) {
  std::string extra;
  const ByteView file = job.file;
  // parse_png() has seen the chain up to IEND: this loop ends.
  for (uint64_t at = 8; !file.is(at + 4, "IEND");) {
    const uint64_t length = file.be32(at);
    const std::string_view name(reinterpret_cast<const char*>(file.data + at + 4), 4);
    if (is_kept(job, file, name, at + 8, converted)) {
      append_chunk(&extra, name, {reinterpret_cast<const char*>(file.data + at + 8), length});
    }
    at += 12 + length;
  }
  const std::string exif = job.exif();
  if (!exif.empty()) append_chunk(&extra, "eXIf", exif);
  return extra;
}

}  // namespace

Problem gray_png(Job* job) {
  constexpr size_t kHeaderEnd = 8 + 12 + 13;  // signature and IHDR
  GrayPicture gray;
  if (Problem problem = vips_gray(job, ImageFormat::kPng, job->file, 0, {}, &gray)) return problem;
  const ImageHeader& header = job->header;
  const bool small = header.colour == ImageColour::kGray && header.bits < 8 && !header.alpha;
  const int bits = small ? header.bits : header.bits == 16 ? 16 : 8;
  const bool interlaced = job->file.u8(28) != 0;
  std::string png;
  if (Problem problem = save_png(job, gray, bits, interlaced, &png)) return problem;
  if (png.size() < kHeaderEnd) return corrupt("PNG", "nothing was written");
  const std::string_view bytes = png;
  if (job->write(bytes.substr(0, kHeaderEnd)) && job->write(extra_chunks(*job, gray.converted))) {
    job->write(bytes.substr(kHeaderEnd));
  }
  return {};
}

}  // namespace millrace
