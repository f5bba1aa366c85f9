#include "steps/grayscale/jpeg_segments.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr uint8_t kApp0 = 0xE0, kApp1 = 0xE1, kApp2 = 0xE2, kAdobe = 0xEE;
constexpr std::string_view kIccMark("ICC_PROFILE\0", 12);
constexpr size_t kIccPart = 65519;  // bytes of profile in one segment

bool is_icc(ByteView file, const JpegSegment& segment) {
  return segment.marker == kApp2 && segment.payload.size > 14 &&
         file.is(segment.payload.at, kIccMark);
}

}  // namespace

std::vector<uint8_t> read_jpeg_profile(const Job& job) {
  std::vector<uint8_t> profile;
  for (uint32_t number = 1, count = 1; number <= count; ++number) {
    bool found = false;
    for (const JpegSegment& segment : job.header.jpeg_segments) {
      const Span payload = segment.payload;
      if (!is_icc(job.file, segment) || job.file.u8(payload.at + 12) != number) continue;
      count = job.file.u8(payload.at + 13);
      const uint8_t* data = job.file.data + payload.at;
      profile.insert(profile.end(), data + 14, data + payload.size);
      found = true;
      break;
    }
    if (!found) return {};
  }
  return profile;
}

JpegSegments gray_jpeg_segments(const Job& job, const std::vector<uint8_t>& profile) {
  JpegSegments out;
  if (job.options.metadata == Metadata::kKeep) {
    for (const JpegSegment& segment : job.header.jpeg_segments) {
      const Span payload = segment.payload;
      // What no longer holds: JFIF is written anew, Adobe's names a colour transform, a profile is
      // handled below, and a multi-picture index points behind the end marker.
      const bool stale = (segment.marker == kApp0 && job.file.is(payload.at, "JFIF")) ||
                         segment.marker == kAdobe || is_icc(job.file, segment) ||
                         (segment.marker == kApp2 && job.file.is(payload.at, "MPF"));
      if (stale) continue;
      const ByteView bytes = job.file.sub(payload);
      out.emplace_back(segment.marker,
                       std::string(reinterpret_cast<const char*>(bytes.data), bytes.size));
    }
  } else if (const std::string exif = job.exif(); !exif.empty()) {
    out.emplace_back(kApp1, std::string("Exif\0\0", 6) + exif);
  }
  const size_t parts = (profile.size() + kIccPart - 1) / kIccPart;
  for (size_t i = 0; i < parts && parts <= 255; ++i) {
    std::string payload(kIccMark);
    payload += static_cast<char>(i + 1);
    payload += static_cast<char>(parts);
    const size_t size = std::min(kIccPart, profile.size() - i * kIccPart);
    payload.append(reinterpret_cast<const char*>(profile.data()) + i * kIccPart, size);
    out.emplace_back(kApp2, std::move(payload));
  }
  return out;
}

}  // namespace millrace
