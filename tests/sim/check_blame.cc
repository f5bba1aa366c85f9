// Whose fault a death is, judged from outside.
#include "engine/base/limits.h"
#include "tests/sim/checkers.h"

namespace millrace::sim {

void Checkers::died(const std::vector<StartStep>& inside) {
  for (const StartStep& start : inside) {
    StepLife& life = lives_[{start.job, start.step}];
    life.inside++;
    if (life.inside > static_cast<uint32_t>(kStepDeathsMax)) {
      violated("a step may bring the server down more often than it should");
    }
    if (inside.size() == 1) life.blame += life.blame == 0 && life.inside > 1 ? 2 : 1;
  }
}

void Checkers::cleared(const ClearSuspect& clear) {
  if (slot.erase({clear.job, clear.step}) == 0) {
    violated("a step is cleared that nobody suspects");
  }
  lives_[{clear.job, clear.step}].inside = 0;
}

// No step is charged with more than it did: attempts that came to an end, and deaths of the server
// over it alone, the first with the one before it that was over others too.
void Checkers::check_blame(const JobRecord& record) const {
  for (size_t i = 0; i < record.steps.size(); i++) {
    const StepRecord& step = record.steps[i];
    const auto found = lives_.find({record.id(), static_cast<int>(i)});
    const StepLife life = found == lives_.end() ? StepLife{} : found->second;
    if (step.attempts > life.counted) violated("a step is charged with an attempt it never made");
    if (step.deaths > life.blame) violated("a step is blamed for a death it was not alone at");
    const bool server_died = step.error && step.error->reason == "server_died";
    if (server_died && step.deaths < static_cast<uint32_t>(kStepDeathsMax)) {
      violated("a step is parked for too few deaths of the server");
    }
  }
}

void Checkers::check_alone(const StartStep& start) const {
  const auto me = slot.find({start.job, start.step});
  const bool suspect = me != slot.end() && me->second.suspect;
  for (const auto& [key, note] : slot) {
    if (note.running && suspect) violated("a suspect starts beside another step");
    if (note.running && note.suspect) violated("a step starts beside a suspect");
  }
  if (!suspect) return;
  const JobRecord& record = *store.find(start.job.key)->record;
  const uint32_t deaths = record.steps[static_cast<size_t>(start.step)].deaths;
  if (deaths >= static_cast<uint32_t>(kStepDeathsMax)) {
    violated("a step starts that brought the server down too often");
  }
  if (deaths != start.deaths) violated("a blamed step starts before its blame is durable");
}

}  // namespace millrace::sim
