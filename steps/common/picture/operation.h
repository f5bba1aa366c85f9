// An operation: a function from picture to picture with checked parameters. A step is a chain of
// one operation, `transform` a chain of a list of them.
//
// Pixels flow through a chain once: one decode, one encode, and between them only what an operation
// cannot do without (turning needs the whole picture in memory, blurring a few rows).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "steps/common/picture/encode.h"

namespace millrace {

struct Operation {
  // Applied to page 0 first, then to the others in order, which may be smaller or larger.
  std::function<Problem(PictureJob* job, int page, VipsPicture* picture)> apply;
  // Into what a picture of this size may be shrunk by the decoder, before this operation: 1, 2,
  // 4, 8. Empty: not at all.
  std::function<int(int width, int height)> shrink;
};

// What a step, or an entry of a list of operations, can be.
struct OperationKind {
  const char* name;
  Ports params;
  // Checks the parameters against each other. `output` lives as long as the operation.
  Problem (*make)(const Params& params, PictureJob* job, OutputOptions* output,
                  Operation* operation);
};

struct Chain {
  std::vector<Operation> operations;
  OutputOptions output;
};

// What came out.
struct ChainResult {
  std::string file;
  ImageFormat format = ImageFormat::kUnknown;
  int width = 0, height = 0, pages = 0;
};

// Decodes job->file, runs the chain, encodes. The header is probed here.
Problem run_chain(PictureJob* job, Chain* chain, ChainResult* result);

// Reads the first page (or frame) of job->file, upright, in the invariant of picture.h; for steps
// that look at pictures. Rows are decoded when they are read: afterwards, ask check_decoded().
Problem open_picture(PictureJob* job, VipsPicture* picture);

// What libjpeg only warned of although picture data are missing: known when all rows were read.
// Corrupt, unless damage is accepted.
Problem check_decoded(const PictureJob& job);

// Whether this many pixels are within limits.pixels. TooManyPixels.
Problem check_size(const PictureJob& job, int64_t width, int64_t height);

}  // namespace millrace
