// A fresh directory per test, and the helpers that every blob test needs.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "engine/base/errors.h"
#include "engine/blob/file_blob_store.h"

namespace millrace {

class BlobFixture : public ::testing::Test {
 protected:
  BlobFixture() {
    char name[] = "/dev/shm/millrace-blob-XXXXXX";
    root_ = ::mkdtemp(name);
    directory_ = root_ + "/blobs";
  }
  ~BlobFixture() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<FileBlobStore> open(FileOps* ops = system_file_ops()) {
    auto store = FileBlobStore::open(directory_, ops);
    EXPECT_TRUE(store.ok()) << store.status().message();
    return store.ok() ? *std::move(store) : nullptr;
  }

  // Every file below the directory that is no directory itself.
  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
      if (entry.is_regular_file()) found.push_back(entry.path());
    }
    return found;
  }
  std::vector<std::string> temporary_files() const {
    std::vector<std::string> found;
    for (const std::string& file : files()) {
      if (file.find("/tmp/", directory_.size()) != std::string::npos && !file.ends_with(".alive")) {
        found.push_back(file);
      }
    }
    return found;
  }
  // Whether each file has the bytes that its name promises.
  bool all_true() const {
    for (const std::string& file : files()) {
      if (file.find("/tmp/", directory_.size()) != std::string::npos) continue;
      if (sha256(content(file)).hex() != std::filesystem::path(file).filename()) return false;
    }
    return true;
  }
  static std::string content(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static std::string some_bytes(size_t size, int seed = 0) {
    std::string bytes(size, '\0');
    uint32_t state = 12345u + static_cast<uint32_t>(seed);
    for (char& byte : bytes)
      byte = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
    return bytes;
  }

  // As an upload does it: written in pieces.
  static Result<WrittenBlob> spool(FileBlobStore* store, std::string_view bytes) {
    const auto sink = store->sink();
    for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(bytes.size(), 1000))) {
      RETURN_IF_ERROR(sink->append(bytes.substr(0, 1000)));
    }
    return sink->finish();
  }
  static Result<Digest> spool_and_put(FileBlobStore* store, std::string_view bytes) {
    const auto written = spool(store, bytes);
    if (!written.ok()) return written.status();
    return store->put(written->bytes);
  }

  std::string root_, directory_;
};

inline Result<bool> nobody(const Digest&) {
  return false;
}
inline Result<bool> somebody(const Digest&) {
  return true;
}

}  // namespace millrace
