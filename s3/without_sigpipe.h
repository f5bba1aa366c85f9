// WithoutSigpipe: for the length of a scope this thread gets no SIGPIPE.
//
// A write to a connection that the other side closed raises it (OpenSSL writes without
// MSG_NOSIGNAL), and the process's disposition is not a library's to change.
#pragma once

#include <signal.h>
#include <time.h>

namespace millrace::s3 {

class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutSigpipe() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const struct timespec now = {0, 0};
    while (sigtimedwait(&pipe_, nullptr, &now) == SIGPIPE) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

 private:
  sigset_t pipe_, before_;
};

}  // namespace millrace::s3
