// Goal: libvips can read and write the named formats in memory, and nothing else, whatever the
// build of libvips can do. Method: after start_vips() every loader and saver is tried by class and
// by nickname, in a child of its own.
#include "steps/common/vips/vips_start.h"

#include <sys/wait.h>
#include <unistd.h>
#include <vips/vips.h>

#include <algorithm>
#include <filesystem>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

// Runs `body` in a child; what it returned as text.
std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    const std::string text = body();
    if (write(ends[1], text.data(), text.size()) < 0) _exit(1);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char chunk[4096];
  for (ssize_t count; (count = read(ends[0], chunk, sizeof chunk)) > 0;)
    text.append(chunk, static_cast<size_t>(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : text + " died";
}

void* collect(GType type, void* list) {
  if (!G_TYPE_IS_ABSTRACT(type))
    static_cast<std::vector<std::string>*>(list)->push_back(
        VIPS_OBJECT_CLASS(g_type_class_ref(type))->nickname);
  return nullptr;
}

// Whether the loader of this name takes these bytes, given in the way that it wants them.
bool loads(const std::string& name, const std::string& file) {
  VipsImage* image = nullptr;
  int failed = -1;
  if (name.ends_with("_buffer")) {
    VipsBlob* blob = vips_blob_new(nullptr, file.data(), file.size());
    failed = vips_call(name.c_str(), blob, &image, nullptr);
    vips_area_unref(VIPS_AREA(blob));
  } else if (name.ends_with("_source")) {
    VipsSource* source = vips_source_new_from_memory(file.data(), file.size());
    failed = vips_call(name.c_str(), source, &image, nullptr);
    g_object_unref(source);
  } else if (name != "rawload") {  // wants further arguments
    failed = vips_call(name.c_str(), "/etc/hostname", &image, nullptr);
  }
  vips_error_clear();
  if (failed == 0) g_object_unref(image);
  return failed == 0;
}

// Every loader by name on every kind of bytes: which of them ran?
std::string try_every_loader(const std::vector<std::string>& files) {
  char error[256];
  if (start_vips(error, sizeof error) != 0) return error;
  std::vector<std::string> names;
  vips_type_map_all(g_type_from_name("VipsForeignLoad"), collect, &names);
  std::sort(names.begin(), names.end());
  std::string ran;
  for (const std::string& name : names) {
    bool any = false;
    for (const std::string& file : files) any = loads(name, file) || any;
    if (any) ran += name + " ";
  }
  return ran + std::to_string(names.size() > 20);
}

TEST(VipsStart, OpensExactlyTheAllowedList) {
  const std::string open = in_child([] {
    char error[256] = "";
    if (start_vips(error, sizeof error) != 0) return std::string(error);
    return open_vips_codecs() == allowed_vips_codecs() ? std::string("same") : std::string("other");
  });
  EXPECT_EQ(open, "same");
}

TEST(VipsStart, EveryOtherLoaderFailsByName) {
  const std::vector<std::string> files = {
      encode_jpeg(gradient(8, 8)),
      encode_png(gradient(8, 8)),
      encode_webp(gradient(8, 8), true),
      encode_tiff({gradient(8, 8)}),
      encode_gif(GifStyle{{{1, 2, 3}}}),
      "<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'/>",
      "%PDF-1.4\n",
      "P5 1 1 255 x"};
  EXPECT_EQ(in_child([&] { return try_every_loader(files); }),
            "jpegload_buffer pngload_buffer tiffload_buffer webpload_buffer 1");
}

TEST(VipsStart, SaversThatCouldWriteFilesFail) {
  EXPECT_EQ(in_child([] {
              char error[256];
              start_vips(error, sizeof error);
              VipsImage* black = nullptr;
              vips_black(&black, 4, 4, nullptr);
              std::string wrote;
              for (const char* path :
                   {"/tmp/x.png", "/tmp/x.jpg", "/tmp/x.v", "/tmp/x.csv", "/tmp/x.tiff"}) {
                if (vips_image_write_to_file(black, path, nullptr) == 0) wrote += path;
              }
              return wrote;
            }),
            "");
}

TEST(VipsStart, RunsNoThreadSoThatAForkIsSafe) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a thread of its own";
#endif
  EXPECT_EQ(in_child([] {
              char error[256];
              start_vips(error, sizeof error);
              start_vips(error, sizeof error);  // a second plugin does the same
              return std::to_string(
                  std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
            }),
            "1");
}

}  // namespace
}  // namespace millrace::testing
