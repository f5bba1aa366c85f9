// The command line: verbs, options, exit codes. Each verb's work is in its own file; only cli.cc
// knows the library that parses arguments.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "server/config.h"

namespace millrace {

// Exit codes of every verb.
constexpr int kExitDone = 0;
constexpr int kExitFailed = 1;  // the job or the validation failed
constexpr int kExitUsage = 2;
constexpr int kExitConfig = 3;  // configuration or pipeline invalid
constexpr int kExitStore = 4;   // the store cannot be opened
constexpr int kExitStoreFailed = 5;
constexpr int kExitWorkers = 6;  // workers stuck
constexpr int kExitBug = 70;

// Parses the arguments and runs the verb. [main]
int run_command_line(int argc, char** argv);

struct ConfigArguments {
  std::string file;
  std::vector<std::string> settings;  // key=value
};

struct RunArguments {
  ConfigArguments config;
  std::string pipeline;
  std::vector<std::string> inputs;  // NAME=VALUE or NAME=@FILE
  std::string out;
  bool json = false;
};

struct ImportArguments {
  ConfigArguments config;  // of where it goes
  std::string directory;   // the data directory that is imported
  std::string blobs;       // where its blobs are; empty: in it
};

struct FilesArguments {  // validate, graph
  ConfigArguments config;
  std::vector<std::string> paths;
  std::string format;
};

struct ClientArguments {  // jobs …, pipelines …
  std::string server = "http://127.0.0.1:8080";
  std::string token;  // env:NAME or file:PATH
  bool json = false;
  std::string verb, target, out, name, key, pipeline, state, cursor, created_after;
  std::vector<std::string> inputs, labels;
  int limit = 0;
  int wait_s = -1;
};

int run_serve(const ConfigArguments& arguments);
int run_pipeline(const RunArguments& arguments);
int run_validate(const FilesArguments& arguments);
int run_graph(const FilesArguments& arguments);
int run_schema(const ConfigArguments& arguments, const std::string& what);
int run_steps(const ConfigArguments& arguments, const std::string& name, bool json);
// `inputs` are NAME=VALUE or NAME=@FILE, for the ports of these names.
int run_check_steps(const ConfigArguments& arguments, const std::string& file,
                    const std::vector<std::string>& inputs);
int run_jobs(const ClientArguments& arguments);
int run_pipelines(const ClientArguments& arguments);
int run_doctor(const ConfigArguments& arguments);
int run_export(const ConfigArguments& arguments, const std::string& target);
int run_import(const ImportArguments& arguments);
int run_version(bool json);

// ---- what verbs share: cli/common.cc
// Loads the configuration; prints errors and warnings to stderr. False: exit with kExitConfig.
bool load_for_verb(const ConfigArguments& arguments, Config* config);
// "error E123: message" to stderr, in red on a terminal.
void print_error(const Status& status);
void print_error(const std::string& text);
void print_warning(const std::string& text);
int exit_code_of(const Status& status);  // of opening the runtime
bool color_wanted(int fd);               // a terminal, and NO_COLOR is not set
std::string red(const std::string& text, int fd);
// Writes to stdout; false when nobody reads it.
bool print(const std::string& text);

struct InputArgument {  // NAME=VALUE or NAME=@FILE
  std::string name, text;
  std::string file;  // set: the file's bytes are meant, not `text`
};
// E108: it has another form.
Result<InputArgument> parse_input(const std::string& argument);
// The text of a pipeline's file. E107 with what to name instead.
Result<std::string> read_pipeline_file(const std::string& path);
// Makes the directory that the argument `what` names; E110 when it cannot be made or written to.
Status prepare_directory(const std::string& what, const std::string& path);
// Writes a whole file. E110.
Status write_output_file(const std::string& path, std::string_view content);

}  // namespace millrace
