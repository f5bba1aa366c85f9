#include <fmt/core.h>
#include <vips/vips.h>

#include <algorithm>

#include "steps/common/picture/operation.h"
#include "steps/common/picture/resolution.h"
#include "steps/common/picture/tiff_join.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

// Looks at the file before anything is decoded. Damage passes when the pipeline said so and enough
// was found to try.
Problem probe(PictureJob* job) {
  ProbeLimits limits;
  limits.pixels_max = job->call->pixels_max;
  const Problem problem = probe_image(job->file, limits, &job->header);
  const bool damaged = problem.fault == Fault::kTruncated || problem.fault == Fault::kCorrupt;
  if (!damaged || job->strict || job->header.width == 0 || job->header.pages == 0) return problem;
  job->note("the file is damaged and was taken as far as it goes");
  return {};
}

Problem check_kind(const ImageHeader& header) {
  if (header.high_range) {
    return {Fault::kUnsupported,
            fmt::format("the {} image has the colours of an HDR screen (PQ or HLG), which would "
                        "come out dull; export it for ordinary screens (SDR)",
                        extension_of(header.format))};
  }
  if (header.format != ImageFormat::kJpeg) return {};
  if (header.jpeg_components == 2) {
    return {Fault::kUnsupported, "the JPEG has 2 components, which has no meaning; save it anew"};
  }
  if (header.bits == 8) return {};
  return {Fault::kUnsupported,
          fmt::format("the JPEG has {} bits a sample, only 8 are taken; save it as 8-bit JPEG, or "
                      "16-bit PNG or TIFF",
                      header.bits)};
}

// One run of a chain: where the pages come from, and where they go.
class ChainRun {
 public:
  ChainRun(PictureJob* job, Chain* chain, ChainResult* result)
      : job_(job), chain_(chain), result_(result) {}

  Problem run() {
    if (Problem problem = probe(job_)) return problem;
    if (Problem problem = check_kind(job_->header)) return problem;
    const ImageHeader& header = job_->header;
    result_->format = output_format(*job_, chain_->output);
    const bool frames = can_animate(header.format) && header.pages > 1;
    const bool tiff_pages = header.format == ImageFormat::kTiff && header.pages > 1;
    const bool to_tiff = result_->format == ImageFormat::kTiff;
    if (to_tiff) return run_tiff(tiff_pages || frames ? static_cast<int>(header.pages) : 1);
    if (frames && can_animate(result_->format)) return run_frames(static_cast<int>(header.pages));
    VipsPicture picture;
    if (Problem problem = page(0, &picture)) return problem;
    if (job_->cancelled) return {};
    return finish(std::move(picture), 1, &result_->file);
  }

 private:
  // A GIF carries none; a WebP is RGB, so a gray profile in it would be a lie.
  bool can_carry_profile(const VipsPicture& picture) const {
    if (result_->format == ImageFormat::kWebp) return bands_of(picture) >= 3;
    return result_->format != ImageFormat::kGif;
  }

  // Opens what page `number` is read from, unless it is open already.
  Problem open(int number) {
    const ImageHeader& header = job_->header;
    const bool frames = can_animate(header.format) && header.pages > 1;
    if (source_.get() != nullptr && frames) return {};
    VipsLoad load;
    load.page = number;
    load.frames = frames;
    load.strict = job_->strict;
    load.shrink = shrink();
    source_ = load_vips(header.format, job_->file, load);
    if (source_.get() == nullptr) return picture_problem(*job_, "decoded");
    facts_.per_mm =
        header.format == ImageFormat::kTiff ? page_per_mm(source_.get()) : stated_per_mm(*job_);
    if (frames) read_timing();
    return {};
  }

  void read_timing() {
    int* delays = nullptr;
    int count = 0;
    facts_.delays.assign(job_->header.pages, 100);
    if (vips_image_get_typeof(source_.get(), "delay") &&
        vips_image_get_array_int(source_.get(), "delay", &delays, &count) == 0) {
      for (int i = 0; i < count && static_cast<size_t>(i) < facts_.delays.size(); ++i) {
        facts_.delays[static_cast<size_t>(i)] = delays[i];
      }
    }
    if (vips_image_get_typeof(source_.get(), "loop")) {
      vips_image_get_int(source_.get(), "loop", &facts_.loop);
    }
    vips_error_clear();
  }

  int shrink() const {
    const ImageHeader& header = job_->header;
    const bool can = header.format == ImageFormat::kJpeg ||
                     (header.format == ImageFormat::kWebp && header.pages == 1);
    if (!can || chain_->operations.empty() || !chain_->operations[0].shrink) return 1;
    const bool turned = header.orientation >= 5;
    const auto width = static_cast<int>(turned ? header.height : header.width);
    const auto height = static_cast<int>(turned ? header.width : header.height);
    return chain_->operations[0].shrink(width, height);
  }

  // Frame `number`, in memory: frames are read in order, each once.
  Problem frame(int number, VipsPicture* picture) {
    const int height = vips_image_get_height(source_.get()) / static_cast<int>(job_->header.pages);
    VipsImage* cut = nullptr;
    if (vips_crop(source_.get(), &cut, 0, number * height, vips_image_get_width(source_.get()),
                  height, nullptr)) {
      return picture_problem(*job_, "decoded");
    }
    *picture = VipsPicture(cut);
    if (Problem problem = to_memory(job_, picture)) return problem;
    vips_image_remove(picture->get(), VIPS_META_PAGE_HEIGHT);
    return {};
  }

  // Page `number`, decoded, upright, and through all operations.
  Problem page(int number, VipsPicture* picture) {
    // A small result of a large picture is one tile: libvips would not ask before all is decoded.
    if (!job_->progress(0)) return {};
    if (Problem problem = open(number)) return problem;
    int orientation = job_->header.orientation;
    if (job_->header.format == ImageFormat::kTiff) {
      orientation = vips_image_get_orientation(source_.get());
    }
    const bool frames = can_animate(job_->header.format) && job_->header.pages > 1;
    if (frames) {
      if (Problem problem = frame(number, picture)) return problem;
    } else {
      *picture = std::move(source_);
    }
    const bool keep = chain_->output.keep_profile && can_carry_profile(*picture);
    job_->profile.clear();
    if (Problem problem = import_colours(job_, keep, picture, &job_->profile)) return problem;
    if (Problem problem = apply_orientation(job_, orientation, picture)) return problem;
    for (const Operation& operation : chain_->operations) {
      if (!operation.apply) continue;
      if (Problem problem = operation.apply(job_, number, picture)) return problem;
      if (job_->cancelled) return {};
    }
    return {};
  }

  Problem run_tiff(int pages) {
    TiffJoiner joiner;
    for (int number = 0; number < pages && !job_->cancelled; ++number) {
      VipsPicture picture;
      std::string file;
      if (Problem problem = page(number, &picture)) return problem;
      if (job_->cancelled) return {};
      if (Problem problem = finish(std::move(picture), 1, &file)) return problem;
      if (job_->cancelled) return {};
      const Extras extras = select_extras(*job_, chain_->output.metadata);
      if (Problem problem = joiner.add(file, extras)) return problem;
    }
    result_->pages = pages;
    result_->file = joiner.take();
    return {};
  }

  // All frames below each other in memory, then one encoder for them.
  Problem run_frames(int pages) {
    std::vector<uint8_t> all;
    int width = 0, height = 0, bands = 0;
    for (int number = 0; number < pages; ++number) {
      VipsPicture picture;
      if (Problem problem = page(number, &picture)) return problem;
      if (job_->cancelled) return {};
      if (Problem problem = to_8_bits(job_, &picture)) return problem;
      if (!job_->progress(static_cast<uint32_t>(number * 900 / pages))) return {};
      if (number == 0) {
        width = width_of(picture), height = height_of(picture), bands = bands_of(picture);
        if (Problem problem = check_size(*job_, width, int64_t{height} * pages)) return problem;
        all.reserve(static_cast<size_t>(width) * static_cast<size_t>(height) *
                    static_cast<size_t>(bands) * static_cast<size_t>(pages));
      }
      if (width_of(picture) != width || height_of(picture) != height ||
          bands_of(picture) != bands) {
        return corrupt("animation", "its frames have different kinds");
      }
      std::vector<uint8_t> samples;
      if (Problem problem = read_samples(job_, picture, &samples)) return problem;
      if (job_->cancelled) return {};
      all.insert(all.end(), samples.begin(), samples.end());
    }
    source_ = VipsPicture();
    VipsPicture roll;
    if (Problem problem = picture_of(all, width, height * pages, bands, &roll)) return problem;
    all = {};
    return finish(std::move(roll), pages, &result_->file);
  }

  Problem finish(VipsPicture picture, int pages, std::string* file) {
    if (job_->cancelled) return {};
    facts_.pages = pages;
    if (result_->width == 0) {
      result_->width = width_of(picture);
      result_->height = height_of(picture) / pages;
    }
    result_->pages = pages;
    if (Problem problem = check_size(*job_, width_of(picture), height_of(picture))) return problem;
    return encode_picture(job_, chain_->output, facts_, std::move(picture), file);
  }

  PictureJob* job_;
  Chain* chain_;
  ChainResult* result_;
  VipsPicture source_;
  PictureFacts facts_;
};

}  // namespace

Problem check_size(const PictureJob& job, int64_t width, int64_t height) {
  const auto most = static_cast<int64_t>(std::min<uint64_t>(job.call->pixels_max, INT64_MAX));
  if (height == 0 || width <= most / height) return {};
  return {Fault::kTooManyPixels,
          fmt::format("the result would have {}x{} pixels over all frames, at most {} are allowed "
                      "(limits.pixels); make it smaller",
                      width, height, most)};
}

// Stray bytes, odd version numbers and the like are how cameras write; missing picture data is not.
// libjpeg's words for the latter come through libvips' error buffer, although the load goes on.
Problem check_decoded(const PictureJob& job) {
  if (!job.strict || job.header.format != ImageFormat::kJpeg) return {};
  const std::string_view said = vips_error_buffer();
  for (const std::string_view words :
       {"premature end of", "bad Huffman code", "bad arithmetic code", "Premature end of",
        "instead of RST"}) {
    if (said.find(words) == said.npos) continue;
    return picture_problem(job, "decoded");
  }
  return {};
}

Problem run_chain(PictureJob* job, Chain* chain, ChainResult* result) {
  vips_error_clear();
  Problem problem = ChainRun(job, chain, result).run();
  if (!problem) problem = check_decoded(*job);
  if (job->cancelled) problem = {};
  return problem;
}

Problem open_picture(PictureJob* job, VipsPicture* picture) {
  vips_error_clear();
  if (Problem problem = probe(job)) return problem;
  if (Problem problem = check_kind(job->header)) return problem;
  job->progress(0);  // who asks for the rows will see it
  VipsLoad load;
  load.strict = job->strict;
  *picture = load_vips(job->header.format, job->file, load);
  if (picture->get() == nullptr) return picture_problem(*job, "decoded");
  const int orientation = job->header.format == ImageFormat::kTiff
                              ? vips_image_get_orientation(picture->get())
                              : job->header.orientation;
  std::string unused;
  if (Problem problem = import_colours(job, false, picture, &unused)) return problem;
  return apply_orientation(job, orientation, picture);
}

}  // namespace millrace
