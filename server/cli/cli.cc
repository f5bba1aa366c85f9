// The arguments of every verb. The only file that knows CLI11.
#include "server/cli/cli.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/text.h"
#include "server/version.h"

namespace millrace {
namespace {

using Verb = std::function<int()>;

void add_config(CLI::App* app, ConfigArguments* arguments) {
  app->add_option("--config", arguments->file, "configuration file (YAML)")->type_name("FILE");
  app->add_option("--set", arguments->settings, "a configuration key, may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
}

CLI::App* add_verb(CLI::App* app, const char* name, const char* about, Verb* chosen, Verb run) {
  CLI::App* verb = app->add_subcommand(name, about);
  verb->callback([chosen, run = std::move(run)] { *chosen = run; });
  return verb;
}

void add_local_verbs(CLI::App* app, Verb* chosen) {
  static ConfigArguments serve, schema, steps, doctor;
  static RunArguments run;
  static FilesArguments validate, graph;
  static std::string schema_what = "pipeline";
  static std::vector<std::string> step_names;
  static bool steps_json = false, steps_check = false, version_json = false;

  add_config(add_verb(app, "serve", "Run the server", chosen, [] { return run_serve(serve); }),
             &serve);

  CLI::App* run_verb = add_verb(app, "run", "Run one pipeline here and now, without a server",
                                chosen, [] { return run_pipeline(run); });
  add_config(run_verb, &run.config);
  run_verb->add_option("pipeline", run.pipeline, "pipeline file")->required()->type_name("FILE");
  run_verb->add_option("inputs", run.inputs, "inputs: NAME=VALUE, or NAME=@FILE for bytes")
      ->type_name("NAME=VALUE");
  run_verb->add_option("--out", run.out, "write the outputs into this directory")->type_name("DIR");
  run_verb->add_flag("--json", run.json, "print the ended job as JSON");

  CLI::App* validate_verb = add_verb(app, "validate", "Check pipeline files", chosen,
                                     [] { return run_validate(validate); });
  add_config(validate_verb, &validate.config);
  validate.format = "text";
  validate_verb->add_option("paths", validate.paths, "files or directories")->required();
  validate_verb->add_option("--format", validate.format, "text, json or sarif")
      ->check(CLI::IsMember({"text", "json", "sarif"}));

  CLI::App* graph_verb =
      add_verb(app, "graph", "Draw a pipeline", chosen, [] { return run_graph(graph); });
  add_config(graph_verb, &graph.config);
  graph.format = "dot";
  graph_verb->add_option("pipeline", graph.paths, "pipeline file")->required()->expected(1);
  graph_verb->add_option("--format", graph.format, "dot, mermaid or svg")
      ->check(CLI::IsMember({"dot", "mermaid", "svg"}));

  CLI::App* schema_verb = add_verb(app, "schema", "JSON Schema for editors", chosen,
                                   [] { return run_schema(schema, schema_what); });
  add_config(schema_verb, &schema);
  schema_verb->add_option("what", schema_what, "pipeline or config")
      ->check(CLI::IsMember({"pipeline", "config"}));

  CLI::App* steps_verb = add_verb(app, "steps", "The catalogue of steps", chosen, [] {
    const std::string name = step_names.empty() ? "" : step_names[0];
    if (!steps_check) return run_steps(steps, name, steps_json);
    return run_check_steps(steps, name,
                           {step_names.begin() + (name.empty() ? 0 : 1), step_names.end()});
  });
  add_config(steps_verb, &steps);
  steps_verb->add_option("name", step_names, "one step; with --check a plugin's file, and inputs");
  steps_verb->add_flag("--check", steps_check,
                       "run a plugin's steps and see whether they keep what they declare");
  steps_verb->add_flag("--json", steps_json, "as JSON");

  add_config(add_verb(app, "doctor", "Check store, blobs, plugins and limits", chosen,
                      [] { return run_doctor(doctor); }),
             &doctor);
  add_verb(app, "version", "The version", chosen, [] {
    return run_version(version_json);
  })->add_flag("--json", version_json, "as JSON");
}

void add_copy_verbs(CLI::App* app, Verb* chosen) {
  static ConfigArguments exported;
  static std::string export_target;
  static ImportArguments imported;
  CLI::App* export_verb =
      add_verb(app, "export", "Copy the store and its blobs, also while a server uses them", chosen,
               [] { return run_export(exported, export_target); });
  add_config(export_verb, &exported);
  export_verb->add_option("directory", export_target, "a new directory; the copy's `data`")
      ->required()
      ->type_name("DIR");
  CLI::App* import_verb = add_verb(
      app, "import",
      "Bring the jobs and blobs of a data directory, or of an export, into the configured store",
      chosen, [] { return run_import(imported); });
  add_config(import_verb, &imported.config);
  import_verb
      ->add_option("directory", imported.directory,
                   "the data directory of an embedded store that no server uses, or an export")
      ->required()
      ->type_name("DIR");
  import_verb
      ->add_option("--blobs", imported.blobs,
                   "where its blobs are, when not in DIR/blobs: file:PATH or s3://BUCKET/PREFIX?…")
      ->type_name("URL");
  import_verb->footer(
      "Blobs go to `blobs` of the configuration, each compared with its digest, then the jobs to\n"
      "`store`. Both must be empty of other jobs, and no server may use them. It may be repeated\n"
      "when it was broken off; until it has finished no server opens the new store.");
}

// CLI11's own way to read the variable would let it win over the flag: it reads it once for each
// verb, and all verbs share one set of arguments.
void take_server_from_environment(ClientArguments* arguments) {
  const char* server = std::getenv("MILLRACE_SERVER");
  if (server != nullptr && *server != '\0') arguments->server = server;
}

CLI::Validator between(int64_t low, int64_t high) {
  return {[low, high](const std::string& text) {
            int64_t number = 0;
            const bool good =
                CLI::detail::lexical_cast(text, number) && number >= low && number <= high;
            return good
                       ? std::string()
                       : fmt::format("a number from {} to {} is wanted, not '{}'", low, high, text);
          },
          fmt::format("{}..{}", low, high)};
}

void add_wait(CLI::App* verb, ClientArguments* arguments) {
  verb->add_option("--wait", arguments->wait_s, "wait this many seconds for the end")
      ->type_name("SECONDS")
      ->check(between(0, kWaitSecondsMax));
}

void add_client(CLI::App* app, ClientArguments* arguments) {
  app->add_option("--server", arguments->server,
                  "the server's address; else the variable MILLRACE_SERVER, else this machine")
      ->type_name("URL");
  app->add_option("--token", arguments->token, "bearer token: env:NAME or file:PATH");
  app->add_flag("--json", arguments->json, "the answer as JSON");
}

CLI::App* add_client_verb(CLI::App* group, const char* name, const char* about,
                          ClientArguments* arguments, int (*run)(const ClientArguments&),
                          Verb* chosen) {
  const std::string verb_name = name;
  CLI::App* verb = add_verb(group, name, about, chosen, [arguments, run, verb_name] {
    arguments->verb = verb_name;
    return run(*arguments);
  });
  add_client(verb, arguments);
  return verb;
}

void add_job_verbs(CLI::App* app, Verb* chosen) {
  static ClientArguments a;
  take_server_from_environment(&a);
  CLI::App* group = app->add_subcommand("jobs", "Jobs of a server");
  group->require_subcommand(1);
  CLI::App* submit = add_client_verb(group, "submit", "Submit a job", &a, run_jobs, chosen);
  submit->add_option("pipeline", a.target, "the pipeline's name")->required();
  submit->add_option("inputs", a.inputs, "inputs: NAME=VALUE, or NAME=@FILE for bytes");
  submit->add_option("--label", a.labels, "a label, may be repeated")
      ->type_name("KEY:VALUE")
      ->expected(1)
      ->take_all();
  submit->add_option("--key", a.key, "Idempotency-Key");
  add_wait(submit, &a);
  CLI::App* list = add_client_verb(group, "list", "List jobs, newest first", &a, run_jobs, chosen);
  list->add_option("--pipeline", a.pipeline, "only of this pipeline");
  list->add_option("--state", a.state, "only in this state");
  list->add_option("--label", a.labels, "only with this label")->type_name("KEY:VALUE");
  list->add_option("--created-after", a.created_after, "only created after this time (RFC 3339)")
      ->type_name("TIME");
  list->add_option("--limit", a.limit, "at most this many")->check(between(1, kListLimitMax));
  list->add_option("--cursor", a.cursor, "go on where an earlier page ended");
  CLI::App* get = add_client_verb(group, "get", "Show a job", &a, run_jobs, chosen);
  get->add_option("id", a.target, "the job's id")->required();
  add_wait(get, &a);
  CLI::App* watch =
      add_client_verb(group, "watch", "Follow a job to its end", &a, run_jobs, chosen);
  watch->add_option("id", a.target, "the job's id")->required();
  CLI::App* outputs = add_client_verb(group, "outputs", "Fetch outputs", &a, run_jobs, chosen);
  outputs->add_option("id", a.target, "the job's id")->required();
  outputs->add_option("name", a.name, "one output; to stdout unless --out is given");
  outputs->add_option("--out", a.out, "write into this directory")->type_name("DIR");
  CLI::App* cancel = add_client_verb(group, "cancel", "Cancel a job", &a, run_jobs, chosen);
  cancel->add_option("id", a.target, "the job's id")->required();
  CLI::App* remove = add_client_verb(group, "delete", "Delete an ended job", &a, run_jobs, chosen);
  remove->add_option("id", a.target, "the job's id")->required();
}

void add_pipeline_verbs(CLI::App* app, Verb* chosen) {
  static ClientArguments a;
  take_server_from_environment(&a);
  CLI::App* group = app->add_subcommand("pipelines", "Pipelines of a server");
  group->require_subcommand(1);
  add_client_verb(group, "list", "List pipelines", &a, run_pipelines, chosen);
  CLI::App* get =
      add_client_verb(group, "get", "Show a pipeline as YAML", &a, run_pipelines, chosen);
  get->add_option("name", a.target, "the pipeline's name")->required();
}

std::string hint_among(const std::string& word, const std::vector<std::string>& known,
                       const std::string& otherwise) {
  const std::vector<std::string_view> views(known.begin(), known.end());
  const std::string hint = did_you_mean(word, views);
  return hint.empty() ? otherwise : hint;
}

// Says which word is no verb, or no verb of its group; false: all are.
bool refuse_unknown_verb(const CLI::App& app, int argc, char** argv) {
  const CLI::App* at = &app;
  std::string path;
  for (int i = 1; i < argc && argv[i][0] != '-'; i++) {
    const std::string word = argv[i];
    const CLI::App* found = nullptr;
    std::vector<std::string> known;
    for (const CLI::App* verb : at->get_subcommands(nullptr)) {
      known.push_back(verb->get_name());
      if (word == verb->get_name()) found = verb;
    }
    if (known.empty()) return false;
    if (found == nullptr) {
      print_error(fmt::format("error {}: unknown verb '{}{}'; {}", error_code(errors::kUsageWrong),
                              path, word,
                              hint_among(word, known, "`millrace " + path + "--help` lists them")));
      return true;
    }
    at = found;
    path += word + " ";
  }
  return false;
}

// One line, and where the rest stands: the whole help would push it off the screen.
std::string usage_message(const CLI::App* app, const CLI::Error& error) {
  std::string path = "millrace", said = error.what();
  const CLI::App* at = app;
  for (auto verbs = at->get_subcommands(); !verbs.empty(); verbs = at->get_subcommands()) {
    at = verbs[0];
    path += " " + at->get_name();
  }
  if (!at->get_subcommands(nullptr).empty()) {
    return fmt::format("error {}: '{}' needs a verb\n{}", error_code(errors::kUsageWrong), path,
                       app->help());
  }
  std::string hint = fmt::format("`{} --help` shows what it takes", path);
  for (const std::string& extra : app->remaining(true)) {
    std::vector<std::string> known;
    for (const CLI::Option* option : at->get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
    said = fmt::format("'{}' does not take '{}'", path, extra);
    hint = hint_among(extra.substr(0, extra.find('=')), known, hint);
    break;
  }
  return fmt::format("error {}: {}; {}\n", error_code(errors::kUsageWrong), said, hint);
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("millrace: durable image pipelines in one binary", "millrace");
  app.set_version_flag("--version", std::string("millrace ") + kVersion);
  app.require_subcommand(1);
  app.failure_message(usage_message);
  Verb chosen;
  add_local_verbs(&app, &chosen);
  add_copy_verbs(&app, &chosen);
  add_job_verbs(&app, &chosen);
  add_pipeline_verbs(&app, &chosen);
  if (refuse_unknown_verb(app, argc, argv)) return kExitUsage;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kExitDone : kExitUsage;  // --help and --version are no errors
  }
  try {
    return chosen ? chosen() : kExitUsage;
  } catch (const std::exception& exception) {
    print_error(fmt::format("error E190: {}; this is a bug, please report it", exception.what()));
    return kExitBug;
  }
}

}  // namespace millrace
