#include "steps/common/vips/vips_start.h"

#include <fmt/core.h>
#include <pthread.h>
#include <vips/vips.h>
// vector.h needs vips.h before it.
#include <vips/vector.h>

#include <algorithm>
#include <cstdlib>

namespace millrace {
namespace {

// Readers and writers of memory only: none of them can open a file by name.
constexpr const char* kAllowed[] = {
    "VipsForeignLoadJpegBuffer", "VipsForeignLoadPngBuffer",  "VipsForeignLoadTiffBuffer",
    "VipsForeignLoadWebpBuffer", "VipsForeignSaveCgifBuffer", "VipsForeignSavePngBuffer",
    "VipsForeignSaveTiffBuffer", "VipsForeignSaveWebpBuffer",
};

void* collect_open(GType type, void* open) {
  if (G_TYPE_IS_ABSTRACT(type)) return nullptr;
  auto* operation = VIPS_OPERATION_CLASS(g_type_class_ref(type));
  if ((operation->flags & VIPS_OPERATION_BLOCKED) == 0) {
    static_cast<std::vector<std::string>*>(open)->push_back(g_type_name(type));
  }
  return nullptr;
}

void* each_type(GType type, VipsTypeMapFn visit, void* context) {
  if (void* stop = visit(type, context)) return stop;
  guint count = 0;
  GType* children = g_type_children(type, &count);
  void* stop = nullptr;
  for (guint i = 0; i < count && stop == nullptr; ++i)
    stop = each_type(children[i], visit, context);
  g_free(children);
  return stop;
}

// Arithmetic has liborc write code when it is first built, whatever was switched off. In the
// sandbox that is death; here nobody minds. Building evaluates nothing, so no thread is started.
void build_arithmetic() {
  VipsImage* black = nullptr;
  VipsImage* wide = nullptr;
  VipsImage* out = nullptr;
  if (vips_black(&black, 1, 1, nullptr) == 0 &&
      vips_cast(black, &wide, VIPS_FORMAT_SHORT, nullptr) == 0) {
    if (vips_abs(wide, &out, nullptr) == 0) g_object_unref(out);
  }
  if (wide != nullptr) g_object_unref(wide);
  if (black != nullptr) g_object_unref(black);
}

// Tables of colours, a megabyte, that libvips makes when it first needs them: made before the first
// fork, all workers share them. They take 7 ms, for which a server that starts does not wait. Pure
// arithmetic; no operation runs.
void make_tables() {
  static bool made = false;
  if (made) return;
  made = true;
  float x = 0, y = 0, z = 0;
  int red = 0, green = 0, blue = 0, clipped = 0;
  vips_col_XYZ2Lab(50, 50, 50, &x, &y, &z);
  vips_col_sRGB2scRGB_8(0, 0, 0, &x, &y, &z);
  vips_col_sRGB2scRGB_16(0, 0, 0, &x, &y, &z);
  vips_col_scRGB2sRGB_8(x, y, z, &red, &green, &blue, &clipped);
  vips_col_scRGB2sRGB_16(x, y, z, &red, &green, &blue, &clipped);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

void silence(const char*, GLogLevelFlags, const char*, void*) {}

// The environment is read once, by vips_init and at its first large image; nobody else runs yet.
bool init() {
  // Decoded pixels never go to a temporary file: out of memory is an error, a full disk is
  // everybody's.
  setenv("VIPS_DISC_THRESHOLD", "1000g", 0);
  // The loadable modules (ImageMagick, PDF, OpenSlide, JPEG XL, HEIF) are not even opened; that is
  // 14 ms and 6 MB as well.
  const char* home = std::getenv("VIPSHOME");
  const std::string before = home == nullptr ? "" : home;
  setenv("VIPSHOME", "/nonexistent", 1);
  const bool ok = vips_init("millrace") == 0;
  if (before.empty()) {
    unsetenv("VIPSHOME");
  } else {
    setenv("VIPSHOME", before.c_str(), 1);
  }
  return ok;
}

// Another plugin of this process may have done it all: each has its own copy of this code, and
// libvips is one.
bool is_started() {
  return open_vips_codecs() == allowed_vips_codecs() && vips_vector_isenabled() == FALSE &&
         vips_cache_get_max() == 0 && vips_cache_get_max_mem() == 0 &&
         vips_cache_get_max_files() == 0 && vips_concurrency_get() == 1;
}

}  // namespace

std::vector<std::string> allowed_vips_codecs() {
  return {std::begin(kAllowed), std::end(kAllowed)};
}

std::vector<std::string> open_vips_codecs() {
  std::vector<std::string> open;
  for (const char* base : {"VipsForeignLoad", "VipsForeignSave"}) {
    if (const GType type = g_type_from_name(base)) each_type(type, collect_open, &open);
  }
  std::sort(open.begin(), open.end());
  return open;
}

int start_vips(char* error, size_t error_size) {
  const auto fail = [&](const std::string& text) {
    fmt::format_to_n(error, error_size, "{}", text).out[0] = '\0';
    return -1;
  };
  if (error_size < 2) return -1;
  error_size -= 1;  // for the NUL
  if (is_started()) return 0;
  if (!init()) return fail("libvips does not start: " + take_vips_error());
  vips_vector_set_enabled(FALSE);  // liborc writes code at run time, which the sandbox forbids
  build_arithmetic();
  if (pthread_atfork(make_tables, nullptr, nullptr) != 0) return fail("out of memory");
  vips_cache_set_max(0);
  vips_cache_set_max_mem(0);
  vips_cache_set_max_files(0);
  vips_concurrency_set(1);
  vips_leak_set(FALSE);
  g_log_set_handler("VIPS", static_cast<GLogLevelFlags>(G_LOG_LEVEL_WARNING | G_LOG_LEVEL_INFO),
                    silence, nullptr);
  vips_operation_block_set("VipsForeignLoad", TRUE);
  vips_operation_block_set("VipsForeignSave", TRUE);
  for (const char* name : kAllowed) vips_operation_block_set(name, FALSE);
  if (open_vips_codecs() != allowed_vips_codecs()) {
    return fail("libvips has other codecs open than the allowed ones: " +
                joined(open_vips_codecs()));
  }
  return 0;
}

std::string take_vips_error() {
  std::string text = vips_error_buffer();
  vips_error_clear();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ';');
  if (text.size() > 300) text.resize(300);
  return text.empty() ? "no reason given" : text;
}

}  // namespace millrace
