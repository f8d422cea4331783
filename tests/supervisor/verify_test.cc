#include "supervisor/verify.h"

#include <cmath>

#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

constexpr std::size_t kHidden = 96;
constexpr std::size_t kTokens = 80;

// A response of 80 tokens, and what a verifier with slightly other arithmetic computes.
struct Response {
  explicit Response(std::uint64_t seed, double noise = 0)
      : states(gaussian_states(seed, kTokens * kHidden, 3.0)), tokens(kTokens) {
    const auto error = gaussian_states(seed + 1000, states.size(), noise);
    theirs = states;
    for (std::size_t i = 0; i < states.size(); ++i) theirs[i] += error[i];
    for (std::size_t t = 0; t < kTokens; ++t) tokens[t] = static_cast<std::int32_t>(seed * 97 + t);
  }
  std::span<const float> state(std::size_t t) const {
    return std::span(states).subspan(t * kHidden, kHidden);
  }
  Reexecution own() const { return {tokens, theirs, "invariant/test"}; }

  std::vector<float> states;  // the prover's
  std::vector<float> theirs;  // the verifier's
  std::vector<std::int32_t> tokens;
};

class VerifyTest : public ::testing::Test {
 protected:
  std::vector<Segment> chain_of(const Response& response) {
    auto chain = must(FingerprintChain::create(vector_binding()));
    for (std::size_t t = 0; t < kTokens; ++t) {
      chain.add(response.tokens[t], must(fingerprinter_.fingerprint(response.state(t))));
    }
    chain.flush();
    return chain.take_complete();
  }
  FingerprintReport exact(const Response& r, std::span<const Segment> segments) {
    return must(verify_fingerprints_exact(fingerprinter_, vector_binding(), segments, r.own()));
  }
  FingerprintReport tolerant(const Response& r, std::span<const Segment> segments) {
    return must(verify_fingerprints_tolerant(fingerprinter_, vector_binding(), segments, r.own(),
                                             tolerance_));
  }
  // Honest runs with noise of 1 % of the states' size.
  FingerprintTolerance calibrated(double margin) {
    std::vector<std::vector<double>> runs;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const Response r(seed, 0.03);
      runs.emplace_back();
      for (std::size_t t = 0; t < kTokens; ++t) {
        const auto mine =
            must(fingerprinter_.project(std::span(r.theirs).subspan(t * kHidden, kHidden)));
        runs.back().push_back(
            fingerprinter_.distance(mine, must(fingerprinter_.fingerprint(r.state(t)))));
      }
    }
    return must(calibrate_fingerprints(runs, margin));
  }

  const Fingerprinter fingerprinter_ = vector_fingerprinter();
  const FingerprintTolerance tolerance_ = calibrated(1.2);
};

TEST_F(VerifyTest, ExactAcceptsTheSameBytesAndNothingElse) {
  const Response honest(50);
  const auto segments = chain_of(honest);
  const auto report = exact(honest, segments);
  EXPECT_EQ(report.verdict, FingerprintVerdict::kAccepted);
  EXPECT_EQ(report.tokens, kTokens);

  Response other = honest;
  for (std::size_t i = 0; i < kHidden; ++i) other.theirs[70 * kHidden + i] += 0.06F;
  const auto differs = exact(other, segments);
  EXPECT_EQ(differs.verdict, FingerprintVerdict::kBytesDiffer);
  EXPECT_EQ(differs.first_token, 70);

  Response retold = honest;
  retold.tokens[40] += 1;
  const auto tokens = exact(retold, segments);
  EXPECT_EQ(tokens.verdict, FingerprintVerdict::kTokensDiffer);
  EXPECT_EQ(tokens.first_token, 32);
}

TEST_F(VerifyTest, ExactIsRefusedOutsideOneInvariantProfile) {
  const Response honest(50);
  const auto segments = chain_of(honest);
  Reexecution own = honest.own();
  own.numeric_profile = "invariant/other";
  auto report = verify_fingerprints_exact(fingerprinter_, vector_binding(), segments, own);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, "fingerprint_profile_mismatch");
  ChainBinding fast = vector_binding();
  fast.numeric_profile = "fast/test";
  own.numeric_profile = "fast/test";
  report = verify_fingerprints_exact(fingerprinter_, fast, segments, own);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, "fingerprint_profile_mismatch");
}

TEST_F(VerifyTest, TolerantAcceptsHonestNoise) {
  int refused = 0;
  for (std::uint64_t seed = 100; seed < 140; ++seed) {
    const Response honest(seed, 0.03);
    const auto report = tolerant(honest, chain_of(honest));
    if (report.verdict != FingerprintVerdict::kAccepted) ++refused;
    EXPECT_LT(report.capped_mean, 0.3);
  }
  EXPECT_LE(refused, 8);  // 2/21 per run is the bound: 3.8 of 40, and 2 standard deviations
}

TEST_F(VerifyTest, TolerantRefusesAnotherModelMoreNoiseAndAFewForeignTokens) {
  const Response honest(200, 0.03);
  const auto segments = chain_of(honest);
  const auto refuse = [&](const std::vector<float>& states, const char* what) {
    Response other = honest;
    other.theirs = states;
    const auto report = tolerant(other, segments);
    EXPECT_EQ(report.verdict, FingerprintVerdict::kTooFar) << what;
    return report;
  };
  const auto unrelated = refuse(Response(201).states, "unrelated states");
  EXPECT_EQ(unrelated.first_token, 0);
  EXPECT_EQ(unrelated.outlier_share, 1.0);
  EXPECT_EQ(unrelated.recovered_share, 0.0);
  refuse(Response(200, 0.06).theirs, "twice the noise");
  auto spliced = honest.theirs;
  const Response foreign(202);
  std::copy_n(foreign.states.begin() + 20 * kHidden, 8 * kHidden, spliced.begin() + 20 * kHidden);
  EXPECT_EQ(refuse(spliced, "8 tokens of 80").first_token, 20);
}

// Six tokens a little beyond what honest ones reach hardly move the mean; their share tells.
TEST_F(VerifyTest, AFewSlightlyForeignTokensAreSeenByTheirShare) {
  Response response(210, 0.03);
  const Response noisier(210, 0.045);
  for (std::size_t t = 0; t < kTokens; t += 14) {
    std::copy_n(noisier.theirs.begin() + static_cast<std::ptrdiff_t>(t * kHidden), kHidden,
                response.theirs.begin() + static_cast<std::ptrdiff_t>(t * kHidden));
  }
  const auto report = tolerant(response, chain_of(response));
  EXPECT_EQ(report.verdict, FingerprintVerdict::kTooFar);
  EXPECT_LT(report.capped_mean, tolerance_.mean_limit);
  EXPECT_GT(report.outlier_share, tolerance_.outlier_share_limit);
}

TEST_F(VerifyTest, TolerantRefusesDegenerateEvidence) {
  // States that never change: nothing ties a record to its token.
  Response constant(300);
  for (std::size_t i = kHidden; i < constant.states.size(); ++i) {
    constant.states[i] = constant.states[i - kHidden];
  }
  constant.theirs = constant.states;
  EXPECT_EQ(tolerant(constant, chain_of(constant)).verdict, FingerprintVerdict::kIndistinct);
  // States off the scale of the recipe.
  Response huge(301);
  for (float& x : huge.states) x *= 100.0F;
  huge.theirs = huge.states;
  EXPECT_EQ(tolerant(huge, chain_of(huge)).verdict, FingerprintVerdict::kSaturated);
  // Fewer records than any calibration run had.
  const Response honest(302, 0.03);
  const auto segments = chain_of(honest);
  EXPECT_EQ(tolerant(honest, std::span(segments).first(2)).verdict,
            FingerprintVerdict::kNothingToJudge);
  EXPECT_EQ(tolerant(honest, {}).verdict, FingerprintVerdict::kNothingToJudge);
  EXPECT_EQ(exact(honest, {}).verdict, FingerprintVerdict::kNothingToJudge);
  // A state of the verifier's that is none.
  Response broken = honest;
  broken.theirs[5] = std::nanf("");
  const auto report = verify_fingerprints_tolerant(fingerprinter_, vector_binding(), segments,
                                                   broken.own(), tolerance_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, "fingerprint_state_invalid");
}

TEST_F(VerifyTest, DroppedTokensAreCountedAndNotCompared) {
  const Response first(400);
  const Response second(401);
  auto chain = must(FingerprintChain::create(vector_binding()));
  for (std::size_t t = 0; t < 48; ++t) {
    chain.add(first.tokens[t], must(fingerprinter_.fingerprint(first.state(t))));
  }
  chain.rollback(16);
  Response kept = second;  // 16 tokens of the first generation, then the second's
  std::copy_n(first.states.begin(), 16 * kHidden, kept.states.begin());
  std::copy_n(first.tokens.begin(), 16, kept.tokens.begin());
  kept.theirs = kept.states;
  for (std::size_t t = 16; t < kTokens; ++t) {
    chain.add(kept.tokens[t], must(fingerprinter_.fingerprint(kept.state(t))));
  }
  chain.flush();
  const auto segments = chain.take_complete();
  const auto report = exact(kept, segments);
  EXPECT_EQ(report.verdict, FingerprintVerdict::kAccepted);
  EXPECT_EQ(report.tokens, kTokens);
  EXPECT_EQ(report.dropped, 32U);
  EXPECT_EQ(report.uncommitted, 16U);
  kept.theirs[10 * kHidden] += 50.0F;  // what survives of a cut segment is compared
  EXPECT_EQ(exact(kept, segments).first_token, 10);
}

TEST_F(VerifyTest, NamesWhatDoesNotFit) {
  const Response honest(500);
  const auto segments = chain_of(honest);
  const auto short_of = Reexecution{std::span(honest.tokens).first(60),
                                    std::span(honest.states).first(60 * kHidden), "x"};
  EXPECT_EQ(
      verify_fingerprints_tolerant(fingerprinter_, vector_binding(), segments, short_of, tolerance_)
          .error()
          .code,
      "fingerprint_reexecution_short");
  const auto recipe = must(make_fingerprint_recipe(96, vector_seed(), 15001));
  EXPECT_EQ(verify_fingerprints_tolerant(must(Fingerprinter::create(recipe)), vector_binding(),
                                         segments, honest.own(), tolerance_)
                .error()
                .code,
            "fingerprint_recipe_mismatch");
}

TEST_F(VerifyTest, CalibrationRefusesWhatCannotSeparate) {
  const std::vector<double> run(16, 0.1);
  const auto code = [](const std::vector<std::vector<double>>& runs, double margin) {
    const auto result = calibrate_fingerprints(runs, margin);
    return result ? std::string("accepted") : result.error().code;
  };
  const std::string invalid = "fingerprint_calibration_invalid";
  EXPECT_EQ(code({run, run, run, run}, 1.0), "accepted");
  EXPECT_EQ(code({run, run, run}, 1.0), invalid);
  EXPECT_EQ(code({run, run, run, {0.1}}, 1.0), invalid);
  EXPECT_EQ(code({run, run, run, std::vector<double>(16, NAN)}, 1.0), invalid);
  EXPECT_EQ(code({run, run, run, std::vector<double>(16, -1.0)}, 1.0), invalid);
  EXPECT_EQ(code(std::vector(4, std::vector<double>(16, 0.0)), 1.0), invalid);
  EXPECT_EQ(code({run, run, run, run}, 0.9), invalid);
  EXPECT_EQ(code({run, run, run, run}, NAN), invalid);
  EXPECT_EQ(code({run, run, run, run}, 4.0), invalid);  // the mean's limit would be the cap
  FingerprintTolerance open = tolerance_;
  open.mean_limit = open.cap;
  const Response honest(600);
  EXPECT_EQ(verify_fingerprints_tolerant(fingerprinter_, vector_binding(), chain_of(honest),
                                         honest.own(), open)
                .error()
                .code,
            invalid);
}

}  // namespace
}  // namespace fieldprint::test
