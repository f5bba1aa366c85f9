// Image headers: what a file truly is, told from its bytes and from nothing else.
//
// probe_image() recognises the format by content, walks the container to its end marker, and checks
// limits. Nothing is decoded: no entropy decoding, no decompression, no library; the work is linear
// in the file, and memory is bounded. It does not know names, media types somebody claimed, or
// whether the compressed data will decode.
//
// Every function is a pure function of its arguments and may run on any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "steps/common/byte_view.h"

namespace millrace {

// kHeic is only ever read: nothing here writes HEVC.
enum class ImageFormat { kUnknown, kJpeg, kPng, kGif, kWebp, kTiff, kAvif, kHeic };

inline bool is_heif(ImageFormat format) {
  return format == ImageFormat::kAvif || format == ImageFormat::kHeic;
}

// What the samples mean. A YCbCr JPEG is kRgb: RGB is what it is a coding of.
enum class ImageColour { kGray, kRgb, kCmyk, kPalette, kLab, kOther };

enum class Fault {
  kNone,
  kNotAnImage,
  kTruncated,
  kCorrupt,
  kTooManyPixels,
  kTooManyFrames,
  kUnsupported,
  kTooLarge,      // memory ran out while decoding; never from probe_image()
  kBadParameter,  // of a step; never from probe_image()
  kDifferent,     // two images that do not belong together; never from probe_image()
};

// A Fault and a sentence for a person: what, the value, the limit, what to do.
struct Problem {
  Fault fault = Fault::kNone;
  std::string message;
  explicit operator bool() const { return fault != Fault::kNone; }
};

// The limits that hold before anything is decoded.
struct ProbeLimits {
  uint64_t pixels_max = 268'000'000;  // over all frames or pages
  uint32_t frames_max = 10'000;       // frames or pages
  uint32_t side_max = 1'000'000;      // pixels of width or height
};

// A marker segment of a JPEG: its code (0xE1 is APP1) and its payload, without marker and length.
struct JpegSegment {
  uint8_t marker = 0;
  Span payload;
};

struct ImageHeader {
  ImageFormat format = ImageFormat::kUnknown;
  ImageColour colour = ImageColour::kOther;
  uint32_t width = 0,
           height = 0;  // as stored: before orientation; of the first page, or of the canvas
  uint32_t pages = 0;   // frames of an animation, pages of a TIFF, else 1
  uint64_t pixels = 0;  // over all pages; an animation's frame counts as its canvas
  int orientation = 1;  // EXIF's 1 to 8; 1 when there is none or it makes no sense. Of AVIF and
                        // HEIC what the container says: EXIF's own is history there
  int bits = 8;         // of one sample as stored (of an index, for a palette)
  bool alpha = false;   // a channel, a colour key, or a transparent palette entry
  bool animated = false;
  Span exif;  // a TIFF structure inside the file; size 0: none

  // JPEG only.
  int jpeg_process = 0;  // n of SOFn: 0, 1 sequential, 2 progressive, 9, 10 arithmetic
  int jpeg_components = 0;
  uint32_t jpeg_scans = 0;
  std::vector<JpegSegment>
      jpeg_segments;  // APPn and COM before the first scan, at most kJpegSegmentsMax

  // AVIF and HEIC only.
  bool high_range = false;  // its colours are for HDR screens (PQ or HLG)

  // WebP only.
  bool webp_lossless = false;  // of the first frame
};

inline constexpr size_t kJpegSegmentsMax = 1024;
inline constexpr uint32_t kJpegScansMax = 200;

// The format by magic bytes alone. AVIF and HEIC may share their brands: probe_image() knows which.
ImageFormat sniff_format(ByteView file);

// Fills `header` from the file. A problem leaves what was found so far in it.
Problem probe_image(ByteView file, const ProbeLimits& limits, ImageHeader* header);

// "image/jpeg", "jpg"; "gray", "rgb", "cmyk", "palette", "lab", "other"; "truncated" and the
// others.
const char* media_type_of(ImageFormat format);
const char* extension_of(ImageFormat format);
const char* colour_name(ImageColour colour);
const char* fault_reason(Fault fault);

// For the parsers of one format each (jpeg_header.cc and its like). The file has their magic bytes.
Problem parse_jpeg(ByteView file, const ProbeLimits& limits, ImageHeader* header);
Problem parse_png(ByteView file, const ProbeLimits& limits, ImageHeader* header);
Problem parse_gif(ByteView file, const ProbeLimits& limits, ImageHeader* header);
Problem parse_webp(ByteView file, const ProbeLimits& limits, ImageHeader* header);
Problem parse_tiff(ByteView file, const ProbeLimits& limits, ImageHeader* header);
Problem parse_heif(ByteView file, const ProbeLimits& limits, ImageHeader* header);  // and AVIF

// Counts one more page of this size into the header. Corrupt: a side is 0. TooManyPixels,
// TooManyFrames: a limit.
Problem count_page(uint64_t width, uint64_t height, const ProbeLimits& limits, ImageHeader* header);

// "the PNG ends inside …": the sentence for a file that is shorter than it says.
Problem truncated(const char* format, const std::string& where, ByteView file);
Problem corrupt(const char* format, const std::string& what);

}  // namespace millrace
