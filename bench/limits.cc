// What this machine can do without millrace, measured in the same run, so that every figure has its
// ratio.
//
// Rows: SQLite rows a second in group commits of 64 (synchronous=FULL), one at a time, and requests
// a second of a bare libuv + llhttp responder. Pictures: the coefficient transform and libvips' own
// gray, one thread.
#include <arpa/inet.h>
#include <fmt/core.h>
#include <llhttp.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "bench/harness/load.h"
#include "bench/harness/process.h"
#include "bench/limits_image.h"
#include "bench/result.h"
#include "bench/scenarios.h"
#include "engine/base/signals.h"

namespace millrace {
namespace {

constexpr size_t kRowBytes = 1500;
constexpr char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

void check(int result, sqlite3* db) {
  if (result == SQLITE_OK || result == SQLITE_DONE || result == SQLITE_ROW) return;
  std::fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
  std::exit(1);
}

// Rows of a record's size in transactions of `batch`, for about a second.
BenchResult sqlite_rows(int batch) {
  const std::string directory = make_directory("limit");
  sqlite3* db = nullptr;
  check(sqlite3_open((directory + "/limit.db").c_str(), &db), db);
  check(sqlite3_exec(db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(id INTEGER, "
                     "body BLOB); CREATE UNIQUE INDEX i ON t(id);",
                     nullptr, nullptr, nullptr),
        db);
  sqlite3_stmt* insert = nullptr;
  check(sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?,?)", -1, &insert, nullptr), db);
  const std::string body(kRowBytes, 'x');
  const double cpu = tree_cpu_seconds(::getpid());
  const uint64_t flushes = device_flushes();
  const double start = now_seconds();
  uint64_t rows = 0;
  while (now_seconds() - start < 1.5) {
    check(sqlite3_exec(db, "BEGIN", nullptr, nullptr, nullptr), db);
    for (int i = 0; i < batch; i++) {
      sqlite3_bind_int64(insert, 1, static_cast<sqlite3_int64>(rows++));
      sqlite3_bind_blob(insert, 2, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
      check(sqlite3_step(insert), db);
      sqlite3_reset(insert);
    }
    check(sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr), db);
  }
  BenchResult result;
  result.bench = fmt::format("limit_sqlite{}", batch);
  result.jobs = rows;
  result.concurrency = batch;
  result.jobs_per_s = static_cast<double>(rows) / (now_seconds() - start);
  result.p50_ms = 1000.0 * batch / result.jobs_per_s;
  result.cpu_s_per_job = (tree_cpu_seconds(::getpid()) - cpu) / static_cast<double>(rows);
  result.flushes_per_job =
      static_cast<double>(device_flushes() - flushes) / static_cast<double>(rows);
  sqlite3_finalize(insert);
  sqlite3_close(db);
  remove_tree(directory);
  return result;
}

// ---- the bare responder, in a process of its own ----

struct BareConnection {
  uv_tcp_t socket;
  llhttp_t parser;
  char buffer[64 * 1024];
};

int on_bare_complete(llhttp_t* parser) {
  auto* connection = static_cast<BareConnection*>(parser->data);
  uv_buf_t answer = uv_buf_init(const_cast<char*>(kAnswer), sizeof kAnswer - 1);
  uv_try_write(reinterpret_cast<uv_stream_t*>(&connection->socket), &answer, 1);
  return 0;
}

llhttp_settings_t* bare_settings() {
  static llhttp_settings_t settings = [] {
    llhttp_settings_t made;
    llhttp_settings_init(&made);
    made.on_message_complete = on_bare_complete;
    return made;
  }();
  return &settings;
}

void on_bare_connection(uv_stream_t* server, int) {
  auto* connection = new BareConnection;
  uv_tcp_init(server->loop, &connection->socket);
  uv_accept(server, reinterpret_cast<uv_stream_t*>(&connection->socket));
  uv_tcp_nodelay(&connection->socket, 1);
  llhttp_init(&connection->parser, HTTP_REQUEST, bare_settings());
  connection->parser.data = connection;
  connection->socket.data = connection;
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&connection->socket),
      [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
        auto* c = static_cast<BareConnection*>(handle->data);
        *buffer = uv_buf_init(c->buffer, sizeof c->buffer);
      },
      [](uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
        auto* c = static_cast<BareConnection*>(stream->data);
        if (size > 0) {
          llhttp_execute(&c->parser, buffer->base, static_cast<size_t>(size));
        } else if (size < 0) {
          uv_close(reinterpret_cast<uv_handle_t*>(stream),
                   [](uv_handle_t* h) { delete static_cast<BareConnection*>(h->data); });
        }
      });
}

[[noreturn]] void serve_bare(int port_pipe) {
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t server;
  uv_tcp_init(loop, &server);
  sockaddr_in address{};
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_bind(&server, reinterpret_cast<sockaddr*>(&address), 0);
  uv_listen(reinterpret_cast<uv_stream_t*>(&server), 512, on_bare_connection);
  int size = sizeof address;
  uv_tcp_getsockname(&server, reinterpret_cast<sockaddr*>(&address), &size);
  const uint16_t port = ntohs(address.sin_port);
  if (::write(port_pipe, &port, sizeof port) != sizeof port) ::_exit(1);
  uv_run(loop, UV_RUN_DEFAULT);
  ::_exit(0);
}

BenchResult bare_http(int connections, uint64_t requests) {
  int pipes[2];
  if (::pipe(pipes) != 0) std::exit(1);
  const pid_t child = ::fork();
  if (child == 0) serve_bare(pipes[1]);
  uint16_t port = 0;
  if (::read(pipes[0], &port, sizeof port) != sizeof port) std::exit(1);
  const std::string request = post_request(
      "/v1/pipelines/noop4/jobs", "Content-Type: application/json\r\n", R"({"inputs":{}})");
  Load load;
  load.port = port;
  load.connections = connections;
  load.requests = requests;
  load.request = [&](uint64_t) -> const std::string& { return request; };
  load.good = [](std::string_view answer) { return answer.starts_with("HTTP/1.1 200"); };
  const LoadResult loaded = run_load(load);
  BenchResult result;
  result.bench = fmt::format("limit_http_c{}", connections);
  result.jobs = requests;
  result.concurrency = connections;
  result.jobs_per_s = static_cast<double>(loaded.answers) / loaded.seconds;
  result.p50_ms = loaded.percentile_ms(0.5);
  result.p99_ms = loaded.percentile_ms(0.99);
  result.cpu_s_per_job = tree_cpu_seconds(child) / static_cast<double>(requests);
  result.failure = loaded.first_failure;
  signal_process(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(pipes[0]);
  ::close(pipes[1]);
  return result;
}

BenchResult picture(const std::string& name, const std::string& photo,
                    void (*transform)(const std::string&)) {
  transform(photo);  // warm
  const double cpu = tree_cpu_seconds(::getpid()), start = now_seconds();
  uint64_t count = 0;
  while (now_seconds() - start < 2) {
    transform(photo);
    count++;
  }
  BenchResult result;
  result.bench = name;
  result.jobs = count;
  result.concurrency = 1;
  result.jobs_per_s = static_cast<double>(count) / (now_seconds() - start);
  result.p50_ms = 1000 / result.jobs_per_s;
  result.cpu_s_per_job = (tree_cpu_seconds(::getpid()) - cpu) / static_cast<double>(count);
  return result;
}

}  // namespace

bool bench_limits(const BenchOptions& options) {
  std::ifstream file(options.photo, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  const std::string photo = bytes.str();
  print_result(sqlite_rows(1));
  print_result(sqlite_rows(64));
  const BenchResult http = bare_http(64, 200'000);
  print_result(http);
  print_result(bare_http(1, 10'000));
  print_result(picture("limit_coefficients", photo, limit_coefficient_transform));
  print_result(picture("limit_vips_gray", photo, limit_vips_gray));
  return http.failure.empty();
}

}  // namespace millrace
