#include "engine/runtime/suspects.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

// "JOB PLACE DEATHS alone|beside|alone,beside"
std::optional<Suspect> parse_line(const std::string& line) {
  std::istringstream words(line);
  std::string job, company;
  Suspect suspect;
  if (!(words >> job >> suspect.step >> suspect.deaths >> company)) return std::nullopt;
  const auto id = JobId::parse(job);
  if (!id || suspect.step < 0 || suspect.step >= kStepsMax) return std::nullopt;
  suspect.job = *id;
  suspect.alone = company.starts_with("alone");
  suspect.beside = company.ends_with("beside");
  return suspect;
}

}  // namespace

Status Suspects::open(const std::string& path, const LastRun& last) {
  path_ = path;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (const auto suspect = parse_line(line)) add(*suspect);
  }
  // An end from outside, or by the server's own decision, says nothing about any step.
  if (last.end != LastRun::End::kFault) return save();
  for (const LastRun::Step& step : last.running) {
    const auto job = JobId::parse(step.job);
    if (!job || step.place >= kStepsMax) continue;
    const bool alone = last.running.size() == 1;
    add({*job, static_cast<int>(step.place), step.deaths, alone, !alone});
    log_event(LogLevel::kWarning, "step.suspect",
              {{"job", step.job},
               {"step", step.step},
               {"attempt", step.attempt},
               {"deaths", step.deaths},
               {"signal", last.signal},
               {"exit_status", last.exit_status},
               {"its_thread_died", step.dying}});
  }
  return save();
}

void Suspects::add(Suspect suspect) {
  std::erase_if(all_, [&suspect](const Suspect& before) {
    if (before.job != suspect.job || before.step != suspect.step) return false;
    suspect.beside = suspect.beside || before.beside;
    return true;
  });
  all_.push_back(suspect);
  // The oldest may be of a job that never became durable, which nobody will ever clear.
  if (all_.size() > RunningSlots::kSlots) all_.erase(all_.begin());
}

void Suspects::clear(const JobId& job, int step) {
  std::erase_if(all_, [&](const Suspect& other) { return other.job == job && other.step == step; });
  if (const Status status = save(); !status.ok()) {
    log_event(LogLevel::kWarning, "step.suspect_kept", {{"error", status.message()}});
  }
}

Status Suspects::save() const {
  if (all_.empty()) {
    if (::unlink(path_.c_str()) == 0 || errno == ENOENT) return {};
  } else {
    const std::string temporary = path_ + ".new";
    std::ofstream file(temporary, std::ios::trunc);
    for (const Suspect& suspect : all_) {
      file << fmt::format("{} {} {} {}\n", suspect.job.text(), suspect.step, suspect.deaths,
                          !suspect.alone   ? "beside"
                          : suspect.beside ? "alone,beside"
                                           : "alone");
    }
    file.close();
    if (file.good() && std::rename(temporary.c_str(), path_.c_str()) == 0) return {};
  }
  return Status::unavailable(
      errors::kStoreOpen,
      fmt::format("cannot note suspected steps in {}: {}", path_, std::strerror(errno)));
}

}  // namespace millrace
