// What the picture steps have in common to declare: how the result is written, and what comes out.
#pragma once

#include "steps/common/image_step.h"

namespace millrace {

// How the result is written; the last parameters of every step whose result is a picture.
inline constexpr mr_port kOutputPorts[] = {
    make_port("format", "enum<same,jpeg,png,webp,gif,tiff,avif>",
              "Of the result; same: as the input (HEIC: jpeg, or png with alpha). What a format "
              "cannot hold is changed as steps/README.md says.",
              "same"),
    make_port("quality", "int?", "Of JPEG (82 when absent), lossy WebP (80) and AVIF (50).",
              nullptr, 1, 100),
    make_port("lossless", "bool?", "Of WebP; absent: lossless when the input is a lossless WebP."),
    make_port("progressive", "bool", "Progressive JPEG, interlaced PNG.", "false"),
    make_port("effort", "int?", "How hard WebP, PNG, GIF and AVIF are squeezed; more is slower.",
              nullptr, 0, 9),
    make_port("background", "string?",
              "#rgb or #rrggbb: what shows through where the result cannot be transparent; absent: "
              "white."),
    make_port(
        "metadata", "enum<safe,keep,strip>",
        "safe keeps artist and copyright; keep keeps EXIF, XMP and IPTC; strip keeps nothing. "
        "The orientation is applied and gone.",
        "safe"),
    make_port("colours", "enum<srgb,keep>",
              "srgb converts to sRGB, which needs no profile; keep leaves RGB and gray in their "
              "profile and writes it. CMYK is always converted.",
              "srgb"),
    make_port("damaged", "enum<refuse,accept>",
              "Of files that are cut off or damaged; accept takes what can be decoded, and the "
              "attempt's note says so.",
              "refuse"),
};

inline constexpr mr_port kImageInputs[] = {
    make_port("image", "image", "JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIC."),
};

inline constexpr mr_port kImageOutputs[] = {
    make_port("image", "image", "The result, upright."),
};

inline constexpr mr_port kPictureResults[] = {
    make_port("extension", "string", "jpg, png, gif, webp, tiff or avif."),
    make_port("media_type", "string", "Such as image/jpeg."),
    make_port("width", "int", "Pixels of a row of the result."),
    make_port("height", "int", "Rows of the result (of one frame)."),
    make_port("pages", "int", "Frames or pages of the result."),
};

// The memory of a chain (tests/steps_memory): a pixel of 16 bits and four bands is 8 bytes where a
// photograph's is 3, and encoders differ more than operations. What is written in the input's
// format is reckoned by the input's media type. AVIF takes a quarter of this for a photograph:
// in what libaom takes for a screen it looks for repetitions by a table of all blocks.
inline constexpr uint64_t kChainMemoryBase = 16 << 20;
inline constexpr uint64_t kDeepPixelMemory = 24, kWebpResultMemory = 96, kGifResultMemory = 72,
                          kAvifResultMemory = 144;
// Of AVIF and HEIC: the planes of a decoder that frees its own late, ours, and the picture.
inline constexpr uint64_t kCodedPixelMemory = 24;
inline constexpr mr_memory kChainMemory[] = {
    {sizeof(mr_memory), "image", "image/png", kDeepPixelMemory, 24},
    {sizeof(mr_memory), "image", "image/tiff", kDeepPixelMemory, 24},
    {sizeof(mr_memory), "image", "image/webp", 40, kWebpResultMemory},
    {sizeof(mr_memory), "image", "image/gif", 16, kGifResultMemory},
    {sizeof(mr_memory), "image", "image/avif", kCodedPixelMemory, kAvifResultMemory},
    {sizeof(mr_memory), "image", "image/heic", kCodedPixelMemory, 24},
    {sizeof(mr_memory), "image", "image/heif", kCodedPixelMemory, kAvifResultMemory},
    {sizeof(mr_memory), "format", "webp", 0, kWebpResultMemory},
    {sizeof(mr_memory), "format", "gif", 0, kGifResultMemory},
    {sizeof(mr_memory), "format", "avif", 0, kAvifResultMemory},
};
// `sides`: the step has parameters `width` and `height` for its result.
constexpr Memory chain_memory(uint64_t per_pixel, bool sides = false) {
  return {.base = kChainMemoryBase,
          .per_pixel = per_pixel,
          .per_result_pixel = 8,
          .result_width = sides ? "width" : nullptr,
          .result_height = sides ? "height" : nullptr,
          .more = kChainMemory,
          .more_count = sizeof kChainMemory / sizeof *kChainMemory};
}

// Of a step that only looks.
inline constexpr mr_memory kLookMemory[] = {
    {sizeof(mr_memory), "image", "image/png", kDeepPixelMemory, 0},
    {sizeof(mr_memory), "image", "image/tiff", kDeepPixelMemory, 0},
    {sizeof(mr_memory), "image", "image/avif", kCodedPixelMemory, 0},
    {sizeof(mr_memory), "image", "image/heic", kCodedPixelMemory, 0},
    {sizeof(mr_memory), "image", "image/heif", kCodedPixelMemory, 0},
};
constexpr Memory look_memory(uint64_t per_pixel) {
  return {.base = kChainMemoryBase,
          .per_pixel = per_pixel,
          .more = kLookMemory,
          .more_count = sizeof kLookMemory / sizeof *kLookMemory};
}

}  // namespace millrace
