// Goal: blobs in files keep the contract of BlobStore.
// Method: the suite of tests/contract/blob_suite.h in a fresh directory.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "engine/blob/file_blob_store.h"
#include "tests/contract/blob_suite.h"

namespace millrace {
namespace {

class FilesFactory final : public BlobFactory {
 public:
  FilesFactory() {
    char name[] = "/dev/shm/millrace-blob-XXXXXX";
    root_ = ::mkdtemp(name);
    reopen();
  }
  ~FilesFactory() override { std::filesystem::remove_all(root_); }
  BlobStore* store() override { return store_.get(); }
  void reopen() override {
    store_.reset();
    auto opened = FileBlobStore::open(root_ + "/blobs");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    store_ = std::move(*opened);
  }
  void damage(const Digest& digest) override {
    const std::string file = store_->path(digest);
    ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
    std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('?');
  }

 private:
  std::string root_;
  std::unique_ptr<FileBlobStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Files, BlobSuite, ::testing::Values(+[] {
                           return std::unique_ptr<BlobFactory>(new FilesFactory);
                         }));

}  // namespace
}  // namespace millrace
