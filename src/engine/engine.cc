#include "engine/engine.h"

#include <random>
#include <utility>

#include "anchor/pinned.h"
#include "engine/threaded_engine.h"

namespace fieldprint {
namespace {

class TokenizerDecoder final : public TokenDecoder {
 public:
  explicit TokenizerDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string text(TokenId token) const override { return tokenizer_.decode(token, false); }
  std::string label(TokenId token) const override { return tokenizer_.decode(token, true); }
  bool is_end_of_generation(TokenId token) const override {
    return tokenizer_.is_end_of_generation(token);
  }

 private:
  const Tokenizer& tokenizer_;
};

}  // namespace

AnchorFactory anchor_factory(const AnchorBinding& binding) {
  if (!binding.artifact) return {};
  return [binding](BlockPool& pool, Runner& runner) -> Result<AnchorInFront> {
    const AnchorPolicy policy{binding.mode, binding.gamma, binding.psi, binding.beta_policy};
    auto loaded =
        binding.model_digest.empty()
            ? PinnedAnchor::load(*binding.artifact, policy, runner, pool)
            : PinnedAnchor::load(*binding.artifact, policy, binding.model_digest, runner, pool);
    FP_ASSIGN(std::shared_ptr<PinnedAnchor> pinned, std::move(loaded));
    AnchorInFront anchor;
    anchor.length = pinned->length();
    anchor.sink = pinned->sink();
    anchor.view = pinned->view();
    anchor.digest = binding.artifact->digest;
    anchor.seed = pinned->cache_seed();
    anchor.owner = std::move(pinned);
    anchor.supervision = binding.supervision;
    anchor.model_digest = parse_digest(binding.artifact->model_digest).value_or(Digest256{});
    return anchor;
  };
}

Result<std::unique_ptr<Engine>> Engine::create(std::unique_ptr<Runner> runner,
                                               const Tokenizer& tokenizer,
                                               const EngineOptions& options,
                                               const AnchorBinding& anchor, SegmentSink* sink) {
  EngineCoreSetup setup;
  setup.runner = std::move(runner);
  setup.decoder = std::make_shared<TokenizerDecoder>(tokenizer);
  setup.options = options;
  setup.anchor = anchor_factory(anchor);
  if (tokenizer.adds_bos() && tokenizer.bos() >= 0) setup.bare_opening = {tokenizer.bos()};
  std::random_device entropy;
  setup.seed_base = (std::uint64_t{entropy()} << 32) | entropy();
  return start_engine(std::move(setup), sink);
}

}  // namespace fieldprint
