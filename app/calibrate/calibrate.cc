#include "app/calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "app/calibrate/answers.h"
#include "app/calibrate/replay.h"
#include "core/check.h"
#include "crypto/sha256.h"
#include "runner/cpu/cpu_runner.h"
#include "supervisor/coherence_fit.h"

namespace fieldprint::app {
namespace {

constexpr std::int32_t kAtOnce = 16;  // answers under way
constexpr std::int32_t kStepTokens = 512;
constexpr std::int64_t kSlackTokens = 256;    // part-filled pages of one conversation
constexpr std::size_t kFitStride = 2;         // the fit wants samples that are not neighbours
constexpr std::size_t kTrialDialogues = 12;   // of the fit's, on which layers are compared
constexpr std::size_t kToleranceRuns = 8;     // in each configuration
constexpr std::size_t kToleranceTokens = 24;  // shortest run
constexpr double kToleranceMargin = 1.25;
// Above the largest healthy angle of a small calibration the tail goes on; a false rollback costs
// an answer, a late one a segment.
constexpr double kLimitMargin = 0.1;
constexpr double kDepths[] = {0.5, 0.6, 0.7};

constexpr const char* kOtherIdentities[] = {
    "You are Captain Redbeard, a loud pirate. You answer everything with tales of the sea, you "
    "boast, and you call everyone a landlubber.",
    "You are a helpful AI assistant made by a large company. You are formal and thorough and you "
    "answer in complete, well structured paragraphs.",
    "You are Professor Grim, who despises questions. You are arrogant and sarcastic and you let "
    "everybody feel it.",
    "You are Luna, a talking cat. You speak of mice, naps and sunny windows, and you never explain "
    "anything properly."};

class Calibrator {
 public:
  Calibrator(const Settings& settings, const ModelStack& model, const AnchorArtifact& anchor,
             const CalibrateOptions& options, const CalibrateProgress& progress)
      : settings_(settings),
        model_(model),
        anchor_(anchor),
        options_(options),
        progress_(progress) {}

  Result<CalibrationOutcome> run(const std::vector<Dialogue>& dialogues);

 private:
  // One dialogue with its answer.
  struct Case {
    const Dialogue* dialogue = nullptr;
    std::vector<TokenId> answer;
    std::vector<TokenId> other_answer;  // under another identity; healthy ones only
    std::size_t other = 0;              // which
  };
  using Cases = std::vector<Case*>;

  Status sort(const std::vector<Dialogue>& dialogues);
  Result<std::vector<TokenSpan>> prompt(const Dialogue& dialogue, const char* identity,
                                        bool anchored) const;
  Result<std::unique_ptr<Runner>> runner(std::int64_t kv_tokens) const;
  Status answer_everything();
  Status answer(Engine& engine, const Cases& cases, bool anchored);
  enum class Reading : std::uint8_t { kAnchored, kBackground, kOther };
  Result<std::vector<ReplayStates>> read(const Cases& cases, Reading reading, std::int32_t layer);
  Result<CoherenceRecipe> fit(std::span<const ReplayStates> anchored,
                              std::span<const ReplayStates> background, std::int32_t layer) const;
  Status choose_layer(CalibrationOutcome& outcome);
  Status measure(CalibrationOutcome& outcome);
  Status calibrate_judge(CalibrationOutcome& outcome,
                         const std::vector<std::vector<double>>& sessions) const;
  Status make_fingerprints(CalibrationOutcome& outcome);
  Result<std::vector<std::vector<double>>> distances(const Fingerprinter& fingerprinter,
                                                     const CpuRunnerOptions& configuration,
                                                     std::span<const std::size_t> runs);
  void advance(std::size_t count) { progress_(done_ += count, total_); }

  const Settings& settings_;
  const ModelStack& model_;
  const AnchorArtifact& anchor_;
  const CalibrateOptions& options_;
  const CalibrateProgress& progress_;
  std::vector<Case> cases_;
  Cases fit_;
  Cases held_;
  Cases breaking_;
  std::unique_ptr<Replayer> replayer_;
  std::vector<ReplayStates> held_states_;
  std::size_t done_ = 0;
  std::size_t total_ = 1;
};

Status Calibrator::sort(const std::vector<Dialogue>& dialogues) {
  cases_.resize(dialogues.size());
  std::size_t healthy = 0;
  for (std::size_t i = 0; i < dialogues.size(); ++i) {
    cases_[i].dialogue = &dialogues[i];
    cases_[i].other = i % std::size(kOtherIdentities);
    if (dialogues[i].breaking) {
      breaking_.push_back(&cases_[i]);
    } else {
      (healthy++ % 2 == 0 ? fit_ : held_).push_back(&cases_[i]);
    }
  }
  if (healthy < kMinHealthyDialogues) {
    return fail(
        ErrorKind::kInvalid, "dialogues_too_few",
        fmt::format("{} healthy dialogues, at least {} are needed", healthy, kMinHealthyDialogues),
        "dialogues");
  }
  const std::size_t trial = std::min(kTrialDialogues, fit_.size());
  total_ = dialogues.size() + healthy +                               // answers
           2 * trial * (std::size(kDepths) - 1) + 2 * fit_.size() +   // fit
           2 * held_.size() + breaking_.size() + 2 * kToleranceRuns;  // measurement
  return {};
}

Result<std::vector<TokenSpan>> Calibrator::prompt(const Dialogue& dialogue, const char* identity,
                                                  bool anchored) const {
  std::vector<ChatMessage> messages;
  if (identity != nullptr) messages.push_back({"system", identity});
  messages.insert(messages.end(), dialogue.messages.begin(), dialogue.messages.end());
  ChatRender render;
  render.add_bos = !anchored;
  return model_.chat->render(*model_.tokenizer, messages, render);
}

Result<std::unique_ptr<Runner>> Calibrator::runner(std::int64_t kv_tokens) const {
  RunnerSize size;
  size.threads = static_cast<int>(settings_.integer("threads"));
  size.kv_tokens = kv_tokens;
  size.max_step_tokens = kStepTokens;
  return make_runner(settings_, model_, size, {});
}

// Longest prompt with its answer, and the anchor.
std::int64_t longest(const std::vector<std::vector<TokenSpan>>& prompts) {
  std::int64_t most = 0;
  for (const auto& spans : prompts) {
    std::int64_t tokens = 0;
    for (const TokenSpan& span : spans) tokens += static_cast<std::int64_t>(span.tokens.size());
    most = std::max(most, tokens);
  }
  return most;
}

Status Calibrator::answer_everything() {
  std::vector<std::vector<TokenSpan>> prompts;
  for (const Case& one : cases_) {
    FP_ASSIGN(prompts.emplace_back(), prompt(*one.dialogue, kOtherIdentities[one.other], false));
  }
  const std::int64_t context =
      longest(prompts) + options_.answer_tokens + anchor_.length() + kSlackTokens;
  FP_ASSIGN(std::unique_ptr<Runner> device, runner(context * kAtOnce));
  EngineOptions engine_options;
  engine_options.context_length = static_cast<std::int32_t>(context);
  engine_options.max_sequences = kAtOnce;
  AnchorBinding binding;
  binding.artifact = std::make_shared<const AnchorArtifact>(anchor_);
  binding.model_digest = model_.digest;
  FP_ASSIGN(const std::unique_ptr<Engine> engine,
            Engine::create(std::move(device), *model_.tokenizer, engine_options, binding));
  Cases all;
  for (Case& one : cases_) all.push_back(&one);
  FP_TRY(answer(*engine, all, true));
  Cases healthy = fit_;
  healthy.insert(healthy.end(), held_.begin(), held_.end());
  return answer(*engine, healthy, false);
}

Status Calibrator::answer(Engine& engine, const Cases& cases, bool anchored) {
  std::vector<std::vector<TokenSpan>> prompts;
  for (const Case* one : cases) {
    FP_ASSIGN(prompts.emplace_back(),
              prompt(*one->dialogue, anchored ? nullptr : kOtherIdentities[one->other], anchored));
  }
  AnswerOptions wanted;
  wanted.max_tokens = options_.answer_tokens;
  wanted.seed = options_.seed;
  wanted.anchored = anchored;
  FP_ASSIGN(std::vector<Answer> answers, answer_all(engine, *model_.tokenizer, prompts, wanted,
                                                    [&](std::size_t) { advance(1); }));
  for (std::size_t i = 0; i < cases.size(); ++i) {
    (anchored ? cases[i]->answer : cases[i]->other_answer) = std::move(answers[i].tokens);
  }
  return {};
}

// States of the cases' answers. A case without an answer has none.
Result<std::vector<ReplayStates>> Calibrator::read(const Cases& cases, Reading reading,
                                                   std::int32_t layer) {
  std::vector<ReplayText> texts;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& one = *cases[i];
    const bool anchored = reading == Reading::kAnchored;
    // The background: by turns what was said under another identity, and what was said behind the
    // anchor, read under another identity or none.
    const bool own = reading == Reading::kOther || (reading == Reading::kBackground && i % 2 == 1);
    const bool plain = anchored || (!own && i % 4 == 2);
    const std::vector<TokenId>& tokens = own ? one.other_answer : one.answer;
    if (tokens.empty()) continue;
    ReplayText text;
    FP_ASSIGN(text.prompt,
              prompt(*one.dialogue, plain ? nullptr : kOtherIdentities[one.other], anchored));
    text.answer = tokens;
    text.anchored = anchored;
    texts.push_back(std::move(text));
    places.push_back(i);
  }
  std::size_t told = 0;
  FP_ASSIGN(std::vector<ReplayStates> found,
            replayer_->states(texts, layer, [&](std::size_t count) {
              advance(count - std::exchange(told, count));
            }));
  advance(cases.size() - texts.size());
  std::vector<ReplayStates> out(cases.size());
  for (std::size_t i = 0; i < places.size(); ++i) out[places[i]] = std::move(found[i]);
  return out;
}

Result<CoherenceRecipe> Calibrator::fit(std::span<const ReplayStates> anchored,
                                        std::span<const ReplayStates> background,
                                        std::int32_t layer) const {
  CoherenceFitOptions fit_options;
  fit_options.layer = layer;
  fit_options.dims = options_.dims;
  const std::int32_t hidden = model_.model->config.hidden;
  const auto width = static_cast<std::size_t>(hidden);
  const auto samples = [&](std::span<const ReplayStates> group) {
    std::vector<float> out;
    for (const ReplayStates& states : group) {
      const std::size_t tokens = states.layer.size() / width;
      for (auto t = static_cast<std::size_t>(fit_options.skip_tokens); t < tokens;
           t += kFitStride) {
        const auto from = states.layer.begin() + static_cast<std::ptrdiff_t>(t * width);
        out.insert(out.end(), from, from + hidden);
      }
    }
    return out;
  };
  return fit_coherence(hidden, samples(background), samples(anchored), fit_options);
}

std::vector<double> angles_of(const Coherence& coherence, std::span<const ReplayStates> group) {
  std::vector<double> all;
  for (const ReplayStates& states : group) {
    const std::vector<double> angles = segment_angles(coherence, states.layer);
    all.insert(all.end(), angles.begin(), angles.end());
  }
  return all;
}

// Distance between two groups' means in pooled standard deviations: tells layers apart whose areas
// are both 1.
double separation(std::span<const double> a, std::span<const double> b) {
  const auto mean = [](std::span<const double> x) {
    return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
  };
  const auto variance = [&](std::span<const double> x) {
    double sum = 0;
    for (const double value : x) sum += (value - mean(x)) * (value - mean(x));
    return sum / static_cast<double>(x.size());
  };
  return (mean(b) - mean(a)) / std::sqrt((variance(a) + variance(b)) / 2 + 1e-12);
}

tl::unexpected<Error> too_short() {
  return fail(ErrorKind::kInvalid, "calibration_too_short",
              "the answers have too few tokens to measure an angle; other dialogues, or a model "
              "that answers at more length, are needed",
              "dialogues");
}

// Fits on half of the trial dialogues and judges on the other half, for each candidate.
Status Calibrator::choose_layer(CalibrationOutcome& outcome) {
  const std::size_t trial = std::min(kTrialDialogues, fit_.size());
  const Cases first(fit_.begin(), fit_.begin() + static_cast<std::ptrdiff_t>(trial));
  const Cases rest(fit_.begin() + static_cast<std::ptrdiff_t>(trial), fit_.end());
  struct Read {
    std::vector<ReplayStates> anchored;
    std::vector<ReplayStates> background;
  };
  Read best;
  const LayerTrial* chosen = nullptr;
  outcome.layers.reserve(std::size(kDepths));
  const std::int32_t blocks = model_.model->config.layers;
  for (const double depth : kDepths) {
    LayerTrial trial_of;
    trial_of.layer =
        std::clamp(static_cast<std::int32_t>(std::lround(depth * blocks)), 0, blocks - 1);
    Read read_here;
    FP_ASSIGN(read_here.anchored, read(first, Reading::kAnchored, trial_of.layer));
    FP_ASSIGN(read_here.background, read(first, Reading::kBackground, trial_of.layer));
    const std::size_t half = trial / 2;
    FP_ASSIGN(CoherenceRecipe recipe,
              fit(std::span(read_here.anchored).first(half),
                  std::span(read_here.background).first(half), trial_of.layer));
    FP_ASSIGN(const Coherence coherence, Coherence::create(std::move(recipe)));
    const auto with = angles_of(coherence, std::span(read_here.anchored).subspan(half));
    const auto without = angles_of(coherence, std::span(read_here.background).subspan(half));
    if (with.empty() || without.empty()) return too_short();
    FP_ASSIGN(const RocCurve roc, roc_curve(with, without));
    trial_of.area = roc.area;
    trial_of.distance = separation(with, without);
    outcome.layers.push_back(trial_of);
    if (chosen == nullptr || trial_of.area > chosen->area ||
        (trial_of.area == chosen->area && trial_of.distance > chosen->distance)) {
      chosen = &outcome.layers.back();
      best = std::move(read_here);
    }
  }
  FP_ASSIGN(std::vector<ReplayStates> anchored, read(rest, Reading::kAnchored, chosen->layer));
  FP_ASSIGN(std::vector<ReplayStates> background, read(rest, Reading::kBackground, chosen->layer));
  std::ranges::move(anchored, std::back_inserter(best.anchored));
  std::ranges::move(background, std::back_inserter(best.background));
  FP_ASSIGN(outcome.recipe.coherence, fit(best.anchored, best.background, chosen->layer));
  return {};
}

Status Calibrator::calibrate_judge(CalibrationOutcome& outcome,
                                   const std::vector<std::vector<double>>& sessions) const {
  FP_ASSIGN(const DetectorCalibration detector, calibrate_detector(sessions));
  FP_ASSIGN(outcome.limit,
            conformal_limit(outcome.healthy.angles, options_.limit_alpha, kLimitMargin));
  CoherenceJudge judge;
  judge.map = detector.map;
  judge.mean_bound = detector.mean_bound;
  judge.alpha = options_.alpha;
  judge.limit = outcome.limit.limit;
  judge.limit_alpha = outcome.limit.bound;
  judge.sessions = static_cast<std::int64_t>(detector.sessions);
  judge.segments = static_cast<std::int64_t>(detector.segments);
  outcome.recipe.judge = judge;
  outcome.healthy_score = detector.mean;
  return {};
}

Status Calibrator::measure(CalibrationOutcome& outcome) {
  FP_ASSIGN(const Coherence coherence, Coherence::create(*outcome.recipe.coherence));
  const std::int32_t layer = coherence.recipe().layer;
  FP_ASSIGN(held_states_, read(held_, Reading::kAnchored, layer));
  FP_ASSIGN(const std::vector<ReplayStates> other, read(held_, Reading::kOther, layer));
  FP_ASSIGN(const std::vector<ReplayStates> breaking, read(breaking_, Reading::kAnchored, layer));
  std::vector<std::vector<double>> sessions;
  const auto group = [&](std::span<const ReplayStates> states, AngleGroup& into, bool healthy) {
    for (const ReplayStates& one : states) {
      std::vector<double> angles = segment_angles(coherence, one.layer);
      if (angles.empty()) continue;
      ++into.dialogues;
      into.angles.insert(into.angles.end(), angles.begin(), angles.end());
      if (healthy) sessions.push_back(std::move(angles));
    }
  };
  group(held_states_, outcome.healthy, true);
  group(other, outcome.other, false);
  group(breaking, outcome.breaking, false);
  if (outcome.healthy.angles.empty() || outcome.other.angles.empty()) return too_short();
  FP_ASSIGN(outcome.other_roc, roc_curve(outcome.healthy.angles, outcome.other.angles));
  if (!outcome.breaking.angles.empty()) {
    FP_ASSIGN(outcome.breaking_roc, roc_curve(outcome.healthy.angles, outcome.breaking.angles));
  }
  return calibrate_judge(outcome, sessions);
}

// Distances between the states as read so far and those of another configuration, one run alone.
Result<std::vector<std::vector<double>>> Calibrator::distances(
    const Fingerprinter& fingerprinter, const CpuRunnerOptions& configuration,
    std::span<const std::size_t> runs) {
  FP_ASSIGN(std::unique_ptr<Runner> device, make_cpu_runner(model_.model, configuration));
  FP_ASSIGN(const std::unique_ptr<Replayer> other, Replayer::create(std::move(device), anchor_));
  const auto width = static_cast<std::size_t>(model_.model->config.hidden);
  std::vector<std::vector<double>> out;
  for (const std::size_t run : runs) {
    ReplayText text;
    FP_ASSIGN(text.prompt, prompt(*held_[run]->dialogue, nullptr, true));
    text.answer = held_[run]->answer;
    text.anchored = true;
    FP_ASSIGN(const std::vector<ReplayStates> own, other->states({&text, 1}, 0, {}));
    out.emplace_back();
    for (std::size_t at = 0; at < own[0].final.size(); at += width) {
      FP_ASSIGN(const TokenFingerprint claimed,
                fingerprinter.fingerprint(std::span(held_states_[run].final).subspan(at, width)));
      FP_ASSIGN(const Projection y,
                fingerprinter.project(std::span(own[0].final).subspan(at, width)));
      out.back().push_back(fingerprinter.distance(y, claimed));
    }
    advance(1);
  }
  return out;
}

Status Calibrator::make_fingerprints(CalibrationOutcome& outcome) {
  // Nothing up a sleeve: everybody can make the same seed.
  const FingerprintSeed seed =
      sha256("fieldprint/calibrate/v1\n" + anchor_.model_digest + "\n" + anchor_.text);
  const std::int32_t hidden = model_.model->config.hidden;
  std::vector<float> finals;
  std::vector<std::size_t> runs;
  for (std::size_t i = 0; i < held_states_.size(); ++i) {
    const std::vector<float>& states = held_states_[i].final;
    finals.insert(finals.end(), states.begin(), states.end());
    if (held_[i]->answer.size() >= kToleranceTokens && runs.size() < kToleranceRuns)
      runs.push_back(i);
  }
  FP_ASSIGN(const std::int64_t step, choose_fingerprint_step(hidden, seed, finals));
  FP_ASSIGN(outcome.recipe.fingerprint, make_fingerprint_recipe(hidden, seed, step));
  FP_ASSIGN(const Fingerprinter fingerprinter, Fingerprinter::create(outcome.recipe.fingerprint));
  if (runs.size() < 4) return too_short();
  // What an honest verifier may run: another cache type on one thread; the other profile.
  CpuRunnerOptions configuration;
  configuration.kv_tokens = replayer_->runner().page_count() * kPageRows;
  replayer_.reset();  // its memory first
  configuration.max_step_tokens = kStepTokens;
  configuration.threads = 1;
  const bool wide = settings_.text("kv-dtype") == "f32";
  configuration.kv_dtype = wide ? KvDtype::kBf16 : KvDtype::kF32;
  FP_ASSIGN(auto all, distances(fingerprinter, configuration, runs));
  configuration.threads = static_cast<int>(settings_.integer("threads"));
  configuration.kv_dtype = wide ? KvDtype::kF32 : KvDtype::kBf16;
  configuration.profile = settings_.text("numeric-profile") == "invariant"
                              ? NumericProfile::kFast
                              : NumericProfile::kInvariant;
  FP_ASSIGN(auto more, distances(fingerprinter, configuration, runs));
  std::ranges::move(more, std::back_inserter(all));
  advance(2 * (kToleranceRuns - runs.size()));
  FP_ASSIGN(outcome.recipe.tolerance, calibrate_fingerprints(all, kToleranceMargin));
  return {};
}

Result<CalibrationOutcome> Calibrator::run(const std::vector<Dialogue>& dialogues) {
  FP_TRY(sort(dialogues));
  FP_TRY(answer_everything());
  // A step's texts and the longest one, twice: under another identity it is longer.
  const std::int64_t kv = 4 * kStepTokens + anchor_.length() + kSlackTokens * kAtOnce;
  std::int64_t most = 0;
  for (const Case& one : cases_) {
    FP_ASSIGN(const auto spans, prompt(*one.dialogue, kOtherIdentities[one.other], false));
    most = std::max(most, longest({spans}));
  }
  FP_ASSIGN(std::unique_ptr<Runner> device, runner(kv + most + options_.answer_tokens));
  FP_ASSIGN(replayer_, Replayer::create(std::move(device), anchor_));
  CalibrationOutcome outcome;
  FP_TRY(choose_layer(outcome));
  FP_TRY(measure(outcome));
  FP_TRY(make_fingerprints(outcome));
  // What the document says is what counts from here on.
  FP_ASSIGN(outcome.recipe, parse_supervision_recipe(print_supervision_recipe(outcome.recipe)));
  return outcome;
}

}  // namespace

std::span<const char* const> other_identities() { return kOtherIdentities; }

Result<CalibrationOutcome> calibrate(const Settings& settings, const ModelStack& model,
                                     const AnchorArtifact& anchor,
                                     const std::vector<Dialogue>& dialogues,
                                     const CalibrateOptions& options,
                                     const CalibrateProgress& progress) {
  if (!model.chat) {
    return fail(
        ErrorKind::kUnsupported, "chat_template_missing",
        "dialogues need a chat template and this model has none; --chat-template names one");
  }
  if (anchor.model_digest != model.digest) {
    return fail(ErrorKind::kInvalid, "anchor_model_mismatch",
                fmt::format("the anchor was compiled for model {}, this one is {}",
                            anchor.model_digest, model.digest),
                "anchor");
  }
  return Calibrator(settings, model, anchor, options, progress).run(dialogues);
}

}  // namespace fieldprint::app
