// Goal: the store of the simulator keeps the contract of Store, so that the fake cannot drift from
// what the simulator's proofs are used for.
#include "tests/contract/store_suite.h"
#include "tests/sim/sim_store.h"

namespace millrace {
namespace {

class SimFactory final : public StoreFactory {
 public:
  Store* store() override { return &store_; }
  void reopen() override { store_.rivals_end(); }

 private:
  sim::SimStore store_;
};

INSTANTIATE_TEST_SUITE_P(Simulator, StoreSuite, ::testing::Values(+[] {
                           return std::unique_ptr<StoreFactory>(new SimFactory);
                         }));

}  // namespace
}  // namespace millrace
