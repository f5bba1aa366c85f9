// optimize: the smallest file that still looks as it should, and never a larger one than came.
//
// Candidates are made one after the other and the smallest is kept: the file itself without what
// nobody sees, losslessly written anew, and lossy ones at the lowest quality whose SSIM is enough.
// Of a large picture, a sample tells which are worth making.
#include <fmt/core.h>

#include "steps/common/jpeg/jpeg_turn.h"
#include "steps/common/picture/container.h"
#include "steps/common/picture/encode.h"
#include "steps/common/picture/operation.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/picture/resolution.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"
#include "steps/optimize/quality_search.h"

namespace millrace {
namespace {

constexpr int kWebpSideMax = 16383;

struct Wish {
  double ssim = 0.98;
  bool lossless = false, web = false;
  OutputOptions output;
};

class Optimizer {
 public:
  Optimizer(PictureJob* job, const Wish& wish) : job_(job), wish_(wish) {}

  Problem run() {
    job_->header = {};
    ProbeLimits limits = limits_of(job_->call);
    if (Problem problem = probe_image(job_->file, limits, &job_->header)) return problem;
    begin();
    if (job_->header.pages > 1) return {};  // frames and pages: only what nobody sees goes
    if (Problem problem = open_picture(job_, &picture_)) return problem;
    if (Problem problem = to_memory(job_, &picture_)) return problem;
    if (Problem problem = check_decoded(*job_)) return problem;
    if (job_->cancelled) return {};
    return try_all();
  }

  const ChainResult& best() const { return best_; }
  double ssim() const { return ssim_; }

 private:
  std::string_view input() const {
    return {reinterpret_cast<const char*>(job_->file.data), job_->file.size};
  }

  // The file itself: as it is, or without metadata that the policy does not keep.
  void begin() {
    const ImageHeader& header = job_->header;
    best_.format = header.format;
    best_.width = static_cast<int>(header.width);
    best_.height = static_cast<int>(header.height);
    best_.pages = static_cast<int>(header.pages);
    best_.file = input();
    if (wish_.output.metadata == Metadata::kKeep) return;
    // The EXIF of AVIF and HEIC turns nothing: upright by its word is never wrong.
    const int orientation = is_heif(header.format) ? 1 : header.orientation;
    const Extras extras = select_extras(*job_, wish_.output.metadata, orientation);
    best_.file = replace_metadata(header.format, input(), extras);
    if (best_.file.size() > job_->file.size) best_.file = input();
  }

  Problem try_all() {
    const ImageFormat format = job_->header.format;
    QualitySearch search(job_, wish_.output, wish_.ssim, picture_);
    if (!wish_.lossless) {
      if (Problem problem = search.prepare()) return problem;
    }
    if (format == ImageFormat::kJpeg) try_lossless_jpeg();
    std::vector<Candidate> candidates = list_candidates();
    if (search.sampled()) {
      if (Problem problem = choose(&search, &candidates)) return problem;
    }
    for (const Candidate& candidate : candidates) {
      if (job_->cancelled) return {};
      Problem problem = candidate.lossless ? try_once(candidate) : try_lossy(&search, candidate);
      if (problem) return problem;
    }
    return {};
  }

  struct Candidate {
    ImageFormat format;
    bool lossless;
    int effort = -1;   // without loss
    size_t bytes = 0;  // of the sample
  };

  // What may be tried, the file's own format first.
  std::vector<Candidate> list_candidates() const {
    const ImageFormat format = job_->header.format;
    std::vector<Candidate> list;
    const bool webp_lossless = format == ImageFormat::kWebp && job_->header.webp_lossless;
    if (format == ImageFormat::kPng) list.push_back({format, true, 9});
    if (webp_lossless) list.push_back({format, true, 6});
    const bool lossy = format == ImageFormat::kJpeg || format == ImageFormat::kWebp;
    if (lossy && !webp_lossless && !wish_.lossless) list.push_back({format, false});
    if (!wish_.web || format == ImageFormat::kWebp || is_wide(picture_)) return list;
    if (width_of(picture_) > kWebpSideMax || height_of(picture_) > kWebpSideMax) return list;
    if (format != ImageFormat::kJpeg) list.push_back({ImageFormat::kWebp, true, 6});
    if (!wish_.lossless) list.push_back({ImageFormat::kWebp, false});
    return list;
  }

  // Of a large picture only what promises most is made whole: by the sample, the smallest, and a
  // candidate without loss that comes near (a sample knows nothing of a picture's flat parts).
  Problem choose(QualitySearch* search, std::vector<Candidate>* candidates) {
    if (candidates->size() < 2) return {};
    size_t least = SIZE_MAX;
    for (Candidate& one : *candidates) {
      if (Problem problem = search->sample_size(one.format, one.lossless, &one.bytes)) {
        return problem;
      }
      if (job_->cancelled) return {};
      if (one.bytes > 0) least = std::min(least, one.bytes);
    }
    std::erase_if(*candidates, [&](const Candidate& one) {
      return one.bytes == 0 || one.bytes > (one.lossless ? 2 * least : least);
    });
    return {};
  }

  // The same coefficients with Huffman tables of their own, in the progressive order.
  void try_lossless_jpeg() {
    const ImageHeader& header = job_->header;
    const Extras extras = select_extras(*job_, wish_.output.metadata, header.orientation);
    const std::string jpeg = turn_jpeg(job_->file, 1, true);
    if (jpeg.empty()) return;
    // The profile, which a transform without metadata leaves behind, is in the file that we began
    // with.
    if (best_.file.find("ICC_PROFILE") != best_.file.npos) return;
    offer(replace_metadata(ImageFormat::kJpeg, jpeg, extras), ImageFormat::kJpeg,
          static_cast<int>(header.width), static_cast<int>(header.height), 1);
  }

  void offer(std::string file, ImageFormat format, int width, int height, double ssim) {
    if (file.empty() || file.size() >= best_.file.size()) return;
    best_ = {std::move(file), format, width, height, 1};
    ssim_ = ssim;
  }

  Problem try_once(const Candidate& candidate) {
    OutputOptions options = wish_.output;
    options.format = candidate.format;
    options.lossless = 1;
    options.effort = candidate.effort;
    options.exact_palette = true;
    std::string file;
    PictureFacts facts;
    facts.per_mm = stated_per_mm(*job_);
    if (Problem problem = encode_picture(job_, options, facts, picture_.share(), &file)) {
      return problem;
    }
    offer(std::move(file), candidate.format, width_of(picture_), height_of(picture_), 1);
    return {};
  }

  Problem try_lossy(QualitySearch* search, const Candidate& candidate) {
    std::string file;
    double likeness = 0;
    if (Problem problem = search->run(candidate.format, &file, &likeness)) return problem;
    offer(std::move(file), candidate.format, width_of(picture_), height_of(picture_), likeness);
    return {};
  }

  PictureJob* job_;
  const Wish& wish_;
  VipsPicture picture_;
  ChainResult best_;
  double ssim_ = 1;
};

enum Param : uint32_t { kQuality, kSsim, kFormats, kMetadata };

Problem read_wish(const mr_call* call, Wish* wish) {
  const std::string quality = text_of(call->params[kQuality], "high");
  wish->lossless = quality == "lossless";
  wish->ssim = quality == "low" ? 0.95 : quality == "medium" ? 0.97 : 0.985;
  if (call->params[kSsim].kind != MR_VALUE_ABSENT) {
    const mr_value& value = call->params[kSsim];
    wish->ssim = value.kind == MR_VALUE_INT ? static_cast<double>(value.i) : value.d;
    if (!(wish->ssim >= 0.5 && wish->ssim <= 1)) {
      return bad_parameter(
          fmt::format("optimize: ssim is {}, it must be from 0.5 to 1", wish->ssim));
    }
  }
  wish->web = text_of(call->params[kFormats], "same") == "web";
  const std::string metadata = text_of(call->params[kMetadata], "safe");
  wish->output.metadata = metadata == "keep"    ? Metadata::kKeep
                          : metadata == "strip" ? Metadata::kStrip
                                                : Metadata::kSafe;
  return {};
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [call] {
    PictureJob job;
    Wish wish;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    Problem problem = read_wish(call, &wish);
    Optimizer optimizer(&job, wish);
    if (!problem) problem = optimizer.run();
    if (problem || job.cancelled) return fail_picture(job, problem);
    int32_t answer = finish_picture(&job, optimizer.best());
    if (answer == MR_OK) answer = call->host->result_float(call, 5, optimizer.ssim());
    const auto saved = static_cast<int64_t>(job.file.size - optimizer.best().file.size());
    if (answer == MR_OK) answer = call->host->result_int(call, 6, saved);
    return answer;
  });
}

constexpr mr_port kParams[] = {
    make_port(
        "quality", "enum<low,medium,high,lossless>",
        "How like the original it must look: SSIM 0.95, 0.97, 0.985, or not a sample changed.",
        "high"),
    make_port("ssim", "float?", "Instead of a word: 0.5 to 1."),
    make_port("formats", "enum<same,web>", "web: also tries WebP.", "same"),
    make_port("metadata", "enum<safe,keep,strip>", "As of the other picture steps.", "safe"),
};
constexpr mr_port kOwnResults[] = {
    make_port("ssim", "float", "What the result has; 1 when it is lossless."),
    make_port("saved", "int", "Bytes fewer than the input."),
};
constexpr mr_port kOutputs[] = {
    make_port("image", "image", "The smallest file found; at most as large as the input."),
};
constexpr auto kResults = join_ports(kPictureResults, kOwnResults);
constexpr mr_step kStep = declare_step({
    .name = "optimize",
    .doc = "Makes the file small: without what nobody sees, written anew without loss, and at the "
           "lowest quality whose SSIM with the original is enough. Never larger than the input.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kOutputs,
    .results = kResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = look_memory(100),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("optimize", millrace::kSteps, millrace::start_vips);
