// Every operation, with what it declares. One source file each.
#pragma once

#include "steps/common/picture/operation.h"

namespace millrace {

// clang-format off
#define MILLRACE_PLACES "centre,north,northeast,east,southeast,south,southwest,west,northwest"
// clang-format on

inline constexpr mr_port kResizePorts[] = {
    make_port("width", "int?", "Of the result, in pixels; absent: follows from the height.",
              nullptr, 1, 65535),
    make_port("height", "int?", "Of the result, in pixels; absent: follows from the width.",
              nullptr, 1, 65535),
    make_port(
        "fit", "enum<cover,contain,fill,inside,outside>",
        "With both sides given. cover: fills the box, what is too much is cut off; contain: all "
        "of it in the box, the rest filled; fill: stretched; inside: at most the box; outside: "
        "at least the box.",
        "cover"),
    make_port(
        "gravity", "enum<" MILLRACE_PLACES ",attention,entropy>",
        "What cover keeps and where contain puts it; attention and entropy look at the picture "
        "(cover only).",
        "centre"),
    make_port("enlarge", "bool", "Whether the picture may grow beyond its own pixels.", "false"),
    make_port("linear", "bool",
              "Averages light instead of coded values: finer lines and small lights keep their "
              "brightness; slower, and a JPEG is not shrunk by its decoder.",
              "false"),
    make_port("kernel", "enum<lanczos3,mitchell,cubic,linear,nearest>", "Of the filter.",
              "lanczos3"),
};

inline constexpr mr_port kCropPorts[] = {
    make_port("left", "int?", "First column of a box.", nullptr, 0, 1000000),
    make_port("top", "int?", "First row of a box.", nullptr, 0, 1000000),
    make_port("width", "int?", "Of the box; cut to the picture.", nullptr, 1, 1000000),
    make_port("height", "int?", "Of the box; cut to the picture.", nullptr, 1, 1000000),
    make_port("aspect", "string?",
              "WIDTH:HEIGHT, such as 1:1 or 16:9: the largest box of this shape; not with a box."),
    make_port("gravity", "enum<" MILLRACE_PLACES ",attention,entropy>",
              "Where a box without left and top, or of an aspect, is taken from.", "centre"),
};

inline constexpr mr_port kRotatePorts[] = {
    make_port("angle", "int", "Clockwise, after EXIF's orientation: a multiple of 90.", "0", -270,
              270),
    make_port("mirror", "enum<none,horizontal,vertical>", "After turning.", "none"),
};

inline constexpr mr_port kBlurPorts[] = {
    make_port("sigma", "float", "Of the Gaussian, in pixels: 0.3 to 200.", "2"),
};

inline constexpr mr_port kSharpenPorts[] = {
    make_port("sigma", "float", "Of the Gaussian of the mask, in pixels: 0.3 to 50.", "1"),
    make_port("amount", "float", "How much of the difference is added: 0 to 10.", "1"),
    make_port("threshold", "int", "Differences below it stay, in levels of 255.", "2", 0, 255),
};

inline constexpr mr_port kWatermarkPorts[] = {
    make_port("gravity", "enum<" MILLRACE_PLACES ">", "Where the mark stands.", "southeast"),
    make_port("margin", "int", "Pixels between the mark and the edge.", "16", 0, 10000),
    make_port("opacity", "float", "Of the mark: 0 to 1.", "1"),
    make_port(
        "scale", "float?",
        "The mark's width as a part of the picture's: above 0, at most 1; absent: the mark as "
        "it is, made smaller when it does not fit."),
    make_port("tile", "bool", "Repeats the mark over the whole picture, margin apart.", "false"),
};

inline constexpr mr_port kDitherPorts[] = {
    make_port("channels", "int?", "Levels of each channel; absent: 2.", nullptr, 2, 256),
    make_port("method", "enum<floyd_steinberg,atkinson,bayer2,bayer4,bayer8,blue_noise,none>",
              "How the error is spread.", "floyd_steinberg"),
    make_port("serpentine", "bool", "Every other row from right to left (error diffusion).",
              "false"),
    make_port("linear", "bool",
              "Mixes light instead of coded values: the mean brightness stays as it is seen.",
              "false"),
    make_port("palette", "string?",
              "Instead of channels: gameboy, cga, ega, c64, pico8, bw, or 2 to 256 colours such as "
              "\"#000 #fff #f00\"."),
};

inline constexpr mr_port kGrayscalePorts[] = {
    make_port("method", "enum<luma,luminance>", "As in the step grayscale.", "luma"),
};

extern const OperationKind kResize, kCrop, kRotate, kBlur, kSharpen, kWatermark, kDither, kConvert,
    kGrayscale;

// A box in a picture.
struct Box {
  int left = 0, top = 0, width = 0, height = 0;
};

// Where a box of this size stands in a picture: of a place such as "northeast". Boxes that are
// larger than the picture give negative sides.
Box place_box(const std::string& gravity, int width, int height, int box_width, int box_height);

// Cuts the box out.
Problem cut_box(PictureJob* job, const Box& box, VipsPicture* picture);
// The box of this size that gravity (a place, attention or entropy) chooses: once for all frames of
// an animation, anew for each page of another size.
struct ChosenBox {
  int width = 0, height = 0;  // of the picture that it was chosen in
  Box box;
};
Problem choose_box(PictureJob* job, const std::string& gravity, int width, int height,
                   VipsPicture* picture, ChosenBox* memory);

// Resizes to exactly this size. `kernel` is a word of kResizePorts.
Problem scale_to(PictureJob* job, int width, int height, const std::string& kernel, bool linear,
                 VipsPicture* picture);

}  // namespace millrace
