#include "app/config/option.h"

namespace fieldprint::app {
namespace {

constexpr CommandSet kEngineUsers = bit(Command::kServe) | bit(Command::kRun) |
                                    bit(Command::kComplete) | bit(Command::kBench) |
                                    bit(Command::kAnchorCompile) | bit(Command::kAnchorCalibrate);
constexpr CommandSet kThreaded = kEngineUsers & ~bit(Command::kBench);
constexpr CommandSet kServing = bit(Command::kServe) | bit(Command::kRun) | bit(Command::kComplete);
constexpr CommandSet kWriters = bit(Command::kRun) | bit(Command::kComplete);
constexpr CommandSet kServe = bit(Command::kServe);
constexpr CommandSet kRun = bit(Command::kRun);
constexpr CommandSet kComplete = bit(Command::kComplete);
constexpr CommandSet kTokenize = bit(Command::kTokenize);
constexpr CommandSet kBench = bit(Command::kBench);
constexpr CommandSet kCompile = bit(Command::kAnchorCompile);
constexpr CommandSet kCalibrate = bit(Command::kAnchorCalibrate);
constexpr CommandSet kKeygen = bit(Command::kKeygen);
constexpr CommandSet kModelUsers = kEngineUsers | kTokenize;
constexpr CommandSet kVerify = bit(Command::kVerify);
constexpr CommandSet kPromote = bit(Command::kAnchorPromote);
constexpr CommandSet kRevoke = bit(Command::kAnchorRevoke);
constexpr CommandSet kOverride = bit(Command::kAnchorOverride);
constexpr CommandSet kRotate = bit(Command::kAnchorRotate);
constexpr CommandSet kSigners = kPromote | kRevoke | kOverride | kRotate;
constexpr CommandSet kReaders =
    bit(Command::kAnchorStatus) | bit(Command::kAnchorInspect) | bit(Command::kAnchorDiff);
constexpr CommandSet kTrustUsers =
    kSigners | kReaders | bit(Command::kAnchorInit) | bit(Command::kAnchorSign);
constexpr CommandSet kLedgerReaders = bit(Command::kLedgerShow) | bit(Command::kLedgerProve) |
                                      bit(Command::kLedgerVerify) | bit(Command::kLedgerFsck) |
                                      bit(Command::kLedgerExport);
constexpr CommandSet kLedgerInit = bit(Command::kLedgerInit);
constexpr CommandSet kLedgerShow = bit(Command::kLedgerShow);
constexpr CommandSet kWitness = bit(Command::kWitness);
constexpr CommandSet kJson = kVerify | kLedgerReaders | kComplete | kKeygen | kTokenize | kCompile |
                             kCalibrate | kReaders | bit(Command::kAnchorShow) |
                             bit(Command::kAnchorList) | bit(Command::kModels) |
                             bit(Command::kVersion);
constexpr CommandSet kConfigured = kVerify | kModelUsers | kTrustUsers | kLedgerReaders | kWitness |
                                   bit(Command::kAnchorShow) | bit(Command::kAnchorList) |
                                   bit(Command::kModels);
constexpr OptionSources kAll = OptionSources::kAll;
constexpr OptionSources kFlagOnly = OptionSources::kFlagOnly;
constexpr OptionSources kEnvOnly = OptionSources::kEnvOnly;
constexpr OptionType kBool = OptionType::kBool;
constexpr OptionType kInt = OptionType::kInt;
constexpr OptionType kFloat = OptionType::kFloat;
constexpr OptionType kString = OptionType::kString;
constexpr OptionType kChoice = OptionType::kChoice;
constexpr OptionType kIntList = OptionType::kIntList;
constexpr OptionType kTextList = OptionType::kTextList;
constexpr double kTokens = 16777216;  // 2^24: more rows than any model here is trained for
constexpr double kPortMax = 65535;
constexpr double kDay = 86400;

constexpr OptionSpec kOptions[] = {
    // name, short, TOML key, type, default, value, help, commands, sources, min, max
    {"model", 'm', "model.path", kString, "", "FILE",
     "GGUF file; without it the default model is looked for in the models folders",
     kModelUsers | kVerify, kAll, 0, 0},
    {"models-dir", 0, "model.dirs", kTextList, "", "DIR",
     "folder with GGUF files (repeatable); without it ./models, then the cache folders",
     kModelUsers | kVerify | bit(Command::kModels), kAll, 0, 0},
    {"model-alias", 0, "model.alias", kTextList, "", "NAME",
     "name under which the API serves the model (repeatable, the first is the default); "
     "without it the file's name",
     kServe, kAll, 0, 0},
    {"chat-template", 0, "model.chat_template", kString, "", "NAME",
     "built-in chat template, such as chatml, llama3, mistral-v7, gemma; without it the model's "
     "own",
     kEngineUsers | kVerify, kAll, 0, 0},
    {"verify-model", 0, "model.verify", kBool, "false", "",
     "hash the model file again instead of trusting the cached digest", kEngineUsers | kVerify,
     kAll, 0, 0},
    {"device", 0, "engine.device", kChoice, "cpu", "cpu|cuda",
     "where the model runs; cuda: the first NVIDIA GPU that CUDA_VISIBLE_DEVICES leaves",
     kEngineUsers, kAll, 0, 0},
    {"threads", 't', "engine.threads", kInt, "0", "N",
     "worker threads; 0: all cores this process may use", kThreaded | kVerify, kAll, 0, 1024},
    {"context-length", 'c', "engine.context_length", kInt, "0", "TOKENS",
     "tokens of one conversation, anchor included; 0: what the model was trained for", kServing,
     kAll, 0, kTokens},
    {"kv-tokens", 0, "engine.kv_tokens", kInt, "0", "TOKENS",
     "tokens the KV pool holds for all conversations; 0: chosen from the free memory", kServing,
     kAll, 0, kTokens},
    {"kv-dtype", 0, "engine.kv_dtype", kChoice, "bf16", "bf16|f32", "number format of the KV cache",
     kEngineUsers, kAll, 0, 0},
    {"numeric-profile", 0, "engine.numeric_profile", kChoice, "fast", "fast|invariant",
     "invariant: the same bits whatever else runs in the batch, slower", kEngineUsers, kAll, 0, 0},
    {"max-sequences", 0, "engine.max_sequences", kInt, "16", "N", "conversations that run at once",
     kServe, kAll, 1, 1024},
    {"max-queue", 0, "engine.max_queue", kInt, "256", "N",
     "requests that wait; beyond it the answer is 503", kServe, kAll, 0, 65536},
    {"prefill-chunk", 0, "engine.prefill_chunk", kInt, "512", "TOKENS",
     "prompt tokens per step when nothing decodes; on a GPU 2048 unless given", kServing | kCompile,
     kAll, 1, 8192},
    {"mixed-prefill-chunk", 0, "engine.mixed_prefill_chunk", kInt, "64", "TOKENS",
     "prompt tokens per step while others decode; on a GPU 512 unless given", kServe, kAll, 1,
     8192},
    {"prefix-cache", 0, "engine.prefix_cache", kBool, "true", "",
     "reuse KV pages of equal prompt beginnings", kServing, kAll, 0, 0},
    {"anchor", 0, "anchor.path", kString, "", "NAME|DIR",
     "anchor to serve: a name in the trust folder, or a folder", kServing | kVerify, kAll, 0, 0},
    {"anchor-text", 0, "anchor.text", kString, "", "FILE",
     "identity text: compiled on first use, then taken from the state folder", kServing, kAll, 0,
     0},
    {"no-anchor", 0, "anchor.off", kBool, "false", "",
     "serve without an anchor, whatever the configuration names", kServing, kAll, 0, 0},
    {"anchor-mode", 0, "anchor.mode", kChoice, "joint", "joint|gated|floored",
     "how the anchor's attention is weighed against the conversation's", kServing, kAll, 0, 0},
    {"gamma", 0, "anchor.gamma", kFloat, "0.2", "SHARE",
     "gated mode: the anchor's share of each head's output", kServing, kAll, 0, 1},
    {"psi", 0, "anchor.psi", kFloat, "0.1", "SHARE",
     "floored mode: heads whose anchor mass falls below this are lifted", kServing, kAll, 0, 0.999},
    {"beta", 0, "anchor.beta", kFloat, "0", "LOGITS",
     "strength added to the anchor rows' logits; 0: an ordinary prefix", kServing, kAll, -20, 20},
    {"insecure-anchors", 0, "anchor.insecure", kBool, "false", "",
     "accept anchors without a signature (development)", kServing, kAll, 0, 0},
    {"tenant", 0, "anchor.tenant", kString, "default", "NAME",
     "for whom: promotions and revocations of other tenants do not count here",
     kServing | kPromote | kRevoke | kOverride | kReaders, kAll, 0, 0},
    {"max-checkpoint-age", 0, "anchor.max_checkpoint_age", kInt, "0", "SECONDS",
     "oldest ledger checkpoint to believe; 0: what the trust root says",
     kServing | kSigners | kReaders, kAll, 0, 31622400},
    {"revocation-policy", 0, "anchor.revocation_policy", kChoice, "end", "end|reanchor",
     "conversations whose anchor is revoked: end them, or go on behind --fallback-anchor or none",
     kServe, kAll, 0, 0},
    {"fallback-anchor", 0, "anchor.fallback", kString, "", "NAME|DIR",
     "promoted anchor that takes over when the one in front is revoked", kServe, kAll, 0, 0},
    {"system", 0, "chat.system", kString, "", "TEXT", "system message before the conversation",
     kWriters, kAll, 0, 0},
    {"temperature", 0, "sampling.temperature", kFloat, "0.7", "T", "0: always the likeliest token",
     kWriters, kAll, 0, 2},
    {"top-k", 0, "sampling.top_k", kInt, "40", "K", "keep the K likeliest tokens; 0: all", kWriters,
     kAll, 0, 1000000},
    {"top-p", 0, "sampling.top_p", kFloat, "0.95", "P", "keep the likeliest tokens that sum to P",
     kWriters, kAll, 0.000001, 1},
    {"min-p", 0, "sampling.min_p", kFloat, "0.05", "P",
     "drop tokens less likely than P times the likeliest", kWriters, kAll, 0, 1},
    {"repetition-penalty", 0, "sampling.repetition_penalty", kFloat, "1.1", "X",
     "above 1: tokens already in the text become less likely", kWriters, kAll, 0.01, 10},
    {"seed", 0, "sampling.seed", kInt, "-1", "N", "random seed; -1: a new one each time", kWriters,
     kAll, -1, 9007199254740991},
    {"max-tokens", 'n', "sampling.max_tokens", kInt, "512", "N",
     "longest answer; -1: up to the end of the context", kWriters, kAll, -1, kTokens},
    {"stop", 0, "sampling.stop", kTextList, "", "TEXT",
     "end the answer before this text (repeatable)", kComplete, kAll, 0, 0},
    {"host", 0, "server.host", kString, "127.0.0.1", "ADDRESS",
     "address of the API; another than loopback needs an API key", kServe, kAll, 0, 0},
    {"port", 0, "server.port", kInt, "8080", "PORT", "port of the API; 0: any free one", kServe,
     kAll, 0, kPortMax},
    {"ops-host", 0, "server.ops_host", kString, "127.0.0.1", "ADDRESS",
     "address of /livez, /readyz and /metrics", kServe, kAll, 0, 0},
    {"ops-port", 0, "server.ops_port", kInt, "8081", "PORT",
     "port of /livez, /readyz and /metrics; 0: any free one", kServe, kAll, 0, kPortMax},
    {"api-key-file", 0, "server.api_key_file", kString, "", "FILE", "file with one API key a line",
     kServe, kAll, 0, 0},
    {"api-key", 0, "", kString, "", "KEY", "one API key", kServe, kEnvOnly, 0, 0},
    {"cors-origin", 0, "server.cors_origins", kTextList, "", "ORIGIN",
     "browser origin that may call the API (repeatable); without it localhost only", kServe, kAll,
     0, 0},
    {"max-streams", 0, "server.max_streams", kInt, "64", "N",
     "answers in flight; beyond it the answer is 503", kServe, kAll, 1, 65536},
    {"max-connections", 0, "server.max_connections", kInt, "256", "N",
     "open connections; beyond it the answer is 503", kServe, kAll, 1, 65536},
    {"max-body", 0, "server.max_body_bytes", kInt, "8388608", "BYTES", "longest request body",
     kServe, kAll, 1024, 1073741824},
    {"vllm-metrics", 0, "server.vllm_metrics", kBool, "false", "",
     "export the main figures under vLLM's metric names too", kServe, kAll, 0, 0},
    {"request-timeout", 0, "server.request_timeout", kFloat, "600", "SECONDS",
     "longest generation; then it is cancelled", kServe, kAll, 0.1, kDay},
    {"drain-timeout", 0, "server.drain_timeout", kFloat, "30", "SECONDS",
     "on SIGTERM: how long running answers may go on", kServe, kAll, 0, kDay},
    {"receipts", 0, "server.receipts", kChoice, "auto", "auto|on|off",
     "sign a receipt for every answer; auto: when the trust folder has the log's keys", kServe,
     kAll, 0, 0},
    {"sessions", 0, "server.sessions", kInt, "256", "N",
     "conversations kept in memory, shared evenly among API keys; 0: none", kServe, kAll, 0, 65536},
    {"session-bytes", 0, "server.session_bytes", kInt, "8388608", "BYTES",
     "size at which a conversation takes no more turns", kServe, kAll, 4096, 1073741824},
    {"session-ttl", 0, "server.session_ttl", kInt, "86400", "SECONDS",
     "unused for longer, a conversation is forgotten", kServe, kAll, 1, 31536000},
    {"release", 0, "supervisor.release", kChoice, "auto", "auto|strict|optimistic|off|none",
     "when text leaves: when its segment has passed, or at once and taken back on a breach where "
     "that is possible; off: only recorded; auto: strict, in a terminal optimistic",
     kServing, kAll, 0, 0},
    {"min-release", 0, "supervisor.min_release", kChoice, "off", "none|off|optimistic|strict",
     "weakest supervision that a request may ask for", kServe, kAll, 0, 0},
    {"supervisor-workers", 0, "supervisor.workers", kInt, "1", "N",
     "threads that fingerprint and judge hidden states", kServing, kAll, 1, 16},
    {"supervisor-ring", 0, "supervisor.ring_slots", kInt, "1024", "STATES",
     "hidden states each of them may be behind", kServing, kAll, 64, 65536},
    {"rollback-attempts", 0, "supervisor.rollback_attempts", kInt, "3", "N",
     "how often an answer is generated again before it is ended", kServing, kAll, 0, 8},
    {"raw", 0, "", kBool, "false", "",
     "continue the text as it is, without the model's chat template", kComplete, kFlagOnly, 0, 0},
    {"count", 0, "", kBool, "false", "", "print only the number of tokens", kTokenize, kFlagOnly, 0,
     0},
    {"special", 0, "", kBool, "false", "",
     "read control tokens such as <|im_end|> in the text as such", kTokenize, kFlagOnly, 0, 0},
    {"prompt-tokens", 'p', "", kIntList, "512", "N,..", "prompt lengths to measure", kBench,
     kFlagOnly, 0, kTokens},
    {"gen-tokens", 'n', "", kIntList, "128", "N,..", "generation lengths to measure", kBench,
     kFlagOnly, 0, kTokens},
    {"depth", 'd', "", kIntList, "0", "N,..",
     "tokens already in the context before the measurement", kBench, kFlagOnly, 0, kTokens},
    {"batch", 'b', "", kIntList, "512", "N,..", "prompt tokens per step", kBench, kFlagOnly, 1,
     8192},
    {"parallel", 0, "", kIntList, "1", "N,..", "sequences that decode at once (also -np)", kBench,
     kFlagOnly, 1, 1024},
    {"greedy", 0, "", kBool, "false", "",
     "generation: only the likeliest token leaves the device, not its row of logits", kBench,
     kFlagOnly, 0, 0},
    {"thread-counts", 't', "", kIntList, "0", "N,..",
     "worker threads; 0: all cores this process may use", kBench, kFlagOnly, 0, 1024},
    {"repetitions", 'r', "", kInt, "5", "N", "runs of each measurement", kBench, kFlagOnly, 1,
     1000},
    {"output", 'o', "", kChoice, "md", "md|json|jsonl", "form of the result", kBench, kFlagOnly, 0,
     0},
    {"text", 0, "", kString, "", "FILE", "identity text to compile", kCompile, kFlagOnly, 0, 0},
    {"stdin", 0, "", kBool, "false", "", "read the identity text from standard input", kCompile,
     kFlagOnly, 0, 0},
    {"out", 'o', "", kString, "", "PATH",
     "anchor compile: new folder, by default in the trust folder; keygen: file of the secret key",
     kCompile | kKeygen, kFlagOnly, 0, 0},
    {"name", 0, "", kString, "", "NAME",
     "name of the anchor (by default that of the folder or text file), or of the key",
     kCompile | kKeygen, kFlagOnly, 0, 0},
    {"wrap", 0, "", kChoice, "system", "system|raw",
     "system: as the chat template's system turn; raw: the text alone", kCompile, kFlagOnly, 0, 0},
    {"dialogues", 0, "", kString, "", "FILE",
     "JSON lines of healthy and breaking dialogues instead of the ones that come with the program",
     kCalibrate, kFlagOnly, 0, 0},
    {"alpha", 0, "", kFloat, "0.0001", "RATE",
     "at least 1/RATE segments between false alarms of the drift detector", kCalibrate, kFlagOnly,
     1e-9, 0.5},
    {"limit-alpha", 0, "", kFloat, "0.01", "RATE",
     "false alarms per segment that the limit for one segment is meant to keep to", kCalibrate,
     kFlagOnly, 1e-6, 0.5},
    {"plot", 0, "", kString, "", "FILE", "draw ROC curves and angles into this SVG file",
     kCalibrate, kFlagOnly, 0, 0},
    {"force", 0, "", kBool, "false", "",
     "calibrate a signed anchor: its signature is dropped, sign and promote it again", kCalibrate,
     kFlagOnly, 0, 0},
    {"key", 0, "", kTextList, "", "FILE",
     "secret key to sign with (repeatable); without it those of the trust folder",
     kSigners | bit(Command::kAnchorSign), kFlagOnly, 0, 0},
    {"envelope", 0, "", kString, "", "FILE",
     "collect signatures here: made by the first signer, passed on until there are enough",
     kSigners, kFlagOnly, 0, 0},
    {"reason", 0, "", kString, "", "TEXT", "why; goes into the ledger: no personal data",
     kPromote | kRevoke | kOverride, kFlagOnly, 0, 0},
    {"evidence", 0, "", kTextList, "", "DIGEST",
     "sha256:<hex> of what the decision rests on (repeatable)", kPromote | kRevoke | kOverride,
     kFlagOnly, 0, 0},
    {"days", 0, "", kInt, "365", "N", "how long the promotion holds", kPromote, kFlagOnly, 1,
     36500},
    {"promotion-only", 0, "", kBool, "false", "",
     "withdraw the promotion; the anchor may be promoted again later", kRevoke, kFlagOnly, 0, 0},
    {"minutes", 0, "", kInt, "15", "N", "how long the override may be used", kOverride, kFlagOnly,
     1, 10080},
    {"session", 0, "", kString, "", "ID", "only for requests of this session", kOverride, kFlagOnly,
     0, 0},
    {"request-digest", 0, "", kString, "", "DIGEST", "only for the request with this digest",
     kOverride, kFlagOnly, 0, 0},
    {"new-authority", 0, "", kString, "", "NAME",
     "make a key of that name in the trust folder and let it sign in every role", kRotate,
     kFlagOnly, 0, 0},
    {"add-authority", 0, "", kTextList, "", "FILE",
     "let the public key in FILE (a vkey) sign in every role (repeatable)", kRotate, kFlagOnly, 0,
     0},
    {"remove-authority", 0, "", kTextList, "", "NAME", "take a key out of every role (repeatable)",
     kRotate, kFlagOnly, 0, 0},
    {"threshold", 0, "", kTextList, "", "ROLE=N",
     "signatures that root, promotion, revocation or override need (repeatable)", kRotate,
     kFlagOnly, 0, 0},
    {"new-anchor-key", 0, "", kBool, "false", "",
     "replace the anchor signing key; anchors must be signed again", kRotate, kFlagOnly, 0, 0},
    {"policy", 0, "", kString, "", "FILE", "witness policy (C2SP tlog-policy) to use from now on",
     kRotate, kFlagOnly, 0, 0},
    {"log-key", 0, "", kString, "", "FILE", "secret key that signs the log's checkpoints",
     kLedgerInit, kFlagOnly, 0, 0},
    {"cosigner-key", 0, "", kString, "", "FILE",
     "secret cosignature key that signs them with the time", kLedgerInit, kFlagOnly, 0, 0},
    {"log-policy", 0, "", kString, "", "FILE",
     "public keys to believe (C2SP tlog-policy); a ledger's own log.policy without it",
     kLedgerReaders | kWitness, kFlagOnly, 0, 0},
    {"index", 0, "", kInt, "-1", "N", "show this entry in full; -1: a list", kLedgerShow, kFlagOnly,
     -1, 9007199254740991},
    {"kind", 0, "", kString, "", "KIND", "list entries of this kind only", kLedgerShow, kFlagOnly,
     0, 0},
    {"limit", 0, "", kInt, "20", "N", "list at most so many entries, the newest", kLedgerShow,
     kFlagOnly, 1, 1000000},
    {"checkpoint", 0, "", kTextList, "", "FILE",
     "a checkpoint kept from earlier, which must be a prefix of the log (repeatable)",
     bit(Command::kLedgerVerify), kFlagOnly, 0, 0},
    {"witness-key", 0, "", kString, "", "FILE", "secret key of the witness ('keygen witness')",
     kWitness, kFlagOnly, 0, 0},
    {"listen", 0, "", kString, "127.0.0.1:8090", "ADDRESS:PORT",
     "where the witness answers; port 0: any free one", kWitness, kFlagOnly, 0, 0},
    {"trust-root", 0, "", kString, "", "FILE",
     "trust root (root.json) to believe; without it the trust folder's", kVerify, kFlagOnly, 0, 0},
    {"trust-policy", 0, "", kString, "", "FILE",
     "log and witnesses to believe (C2SP tlog-policy) instead of a trust root", kVerify, kFlagOnly,
     0, 0},
    {"request", 0, "", kString, "", "FILE", "request body the receipt should be for", kVerify,
     kFlagOnly, 0, 0},
    {"response", 0, "", kString, "", "FILE",
     "response body, JSON or stream, the receipt should be for", kVerify, kFlagOnly, 0, 0},
    {"reexecute", 0, "", kBool, "false", "",
     "run the request again and compare the tokens (invariant profile)", kVerify, kFlagOnly, 0, 0},
    {"json", 0, "", kBool, "false", "", "print JSON", kJson, kFlagOnly, 0, 0},
    {"trust-dir", 0, "paths.trust", kString, "", "DIR",
     "trust folder: root, keys, ledger, anchors; without it <state-dir>/trust",
     kServing | kVerify | kCompile | kCalibrate | kTrustUsers | kLedgerReaders, kAll, 0, 0},
    {"state-dir", 0, "paths.state", kString, "", "DIR", "where compiled anchors live", kConfigured,
     kAll, 0, 0},
    {"cache-dir", 0, "paths.cache", kString, "", "DIR", "where models and cached digests live",
     kConfigured, kAll, 0, 0},
    {"log-level", 0, "log.level", kChoice, "auto", "auto|debug|info|warn|error",
     "least severity that is written; auto: info for serve, else warn", kEngineUsers, kAll, 0, 0},
    {"log-format", 0, "log.format", kChoice, "auto", "auto|text|json",
     "auto: text on a terminal, JSON lines otherwise", kEngineUsers, kAll, 0, 0},
    {"config", 0, "", kString, "", "FILE",
     "TOML file to read instead of the system's and the user's (also FIELDPRINT_CONFIG)",
     kConfigured, kFlagOnly, 0, 0},
    {"print-config", 0, "", kBool, "false", "",
     "print every value with where it came from, and stop", kConfigured, kFlagOnly, 0, 0},
};

constexpr CommandSpec kCommands[] = {
    {Command::kServe, "serve", "OpenAI-compatible HTTP server", "", 0,
     "fieldprint serve -m model.gguf\n"
     "fieldprint serve -m model.gguf --anchor keeper\n"
     "fieldprint serve -m model.gguf --anchor keeper/ --insecure-anchors --port 9000\n"
     "fieldprint serve --config fieldprint.toml --print-config"},
    {Command::kRun, "run", "chat in the terminal", "", 0,
     "fieldprint run -m model.gguf\n"
     "fieldprint run -m model.gguf --anchor-text keeper.txt --insecure-anchors\n"
     "echo 'What is a page table?' | fieldprint run -m model.gguf --temperature 0"},
    {Command::kComplete, "complete", "answer one prompt and stop", "[PROMPT]", 1,
     "fieldprint complete -m model.gguf --raw -n 32 'The capital of France is'\n"
     "fieldprint complete -m model.gguf --json < question.txt"},
    {Command::kTokenize, "tokenize", "show the tokens of a text", "[TEXT]", 1,
     "fieldprint tokenize -m model.gguf 'Hello there'\n"
     "fieldprint tokenize -m model.gguf --count < book.txt"},
    {Command::kBench, "bench", "measure tokens per second", "", 0,
     "fieldprint bench -m model.gguf\n"
     "fieldprint bench -m model.gguf -p 512 -n 128 -d 0,2048,7168 -t 2 -r 3\n"
     "fieldprint bench -m model.gguf -p 0 -n 64 -np 1,8 -o jsonl"},
    {Command::kAnchorCompile, "anchor compile", "compile an identity text for a model", "", 0,
     "fieldprint anchor compile --text keeper.txt\n"
     "fieldprint anchor compile -m model.gguf --text keeper.txt -o keeper/\n"
     "fieldprint anchor compile -m model.gguf --stdin -o scholar/ --name scholar --wrap raw"},
    {Command::kAnchorCalibrate, "anchor calibrate",
     "measure what supervision needs to know about an anchor, before it is signed", "[NAME|DIR]", 1,
     "fieldprint anchor calibrate keeper\n"
     "fieldprint anchor calibrate keeper --plot keeper.svg\n"
     "fieldprint anchor calibrate keeper/ -m model.gguf --dialogues ours.jsonl --json"},
    {Command::kAnchorShow, "anchor show", "describe a compiled anchor", "DIR", 1,
     "fieldprint anchor show keeper/\n"
     "fieldprint anchor show keeper/ --json"},
    {Command::kAnchorList, "anchor list", "list the compiled anchors of a folder", "[DIR]", 1,
     "fieldprint anchor list\n"
     "fieldprint anchor list anchors/ --json"},
    {Command::kAnchorInit, "anchor init", "make a trust root: keys, ledger, folder for anchors", "",
     0,
     "fieldprint anchor init\n"
     "fieldprint anchor init --trust-dir /srv/fieldprint/trust"},
    {Command::kAnchorSign, "anchor sign", "sign a compiled anchor", "[NAME|DIR]", 1,
     "fieldprint anchor sign\n"
     "fieldprint anchor sign keeper --key anchor.pem"},
    {Command::kAnchorPromote, "anchor promote", "let a signed anchor be served", "[NAME|DIR]", 1,
     "fieldprint anchor promote\n"
     "fieldprint anchor promote keeper --days 30 --reason 'passed review 12'\n"
     "fieldprint anchor promote keeper --envelope keeper.promotion --key bob.key"},
    {Command::kAnchorRevoke, "anchor revoke", "end an anchor, also where it is being served",
     "NAME|DIR|DIGEST", 1,
     "fieldprint anchor revoke keeper --reason 'tells lies about prices'\n"
     "fieldprint anchor revoke keeper --promotion-only"},
    {Command::kAnchorOverride, "anchor override", "sign leave for one request without the anchor",
     "NAME|DIR|DIGEST", 1,
     "fieldprint anchor override keeper --envelope leave.json --reason 'incident 7'\n"
     "fieldprint anchor override keeper --envelope leave.json --minutes 5 --session s-12"},
    {Command::kAnchorStatus, "anchor status", "what the trust folder holds, and what may be served",
     "", 0,
     "fieldprint anchor status\n"
     "fieldprint anchor status --json"},
    {Command::kAnchorInspect, "anchor inspect", "check everything about one anchor, step by step",
     "[NAME|DIR]", 1,
     "fieldprint anchor inspect keeper\n"
     "fieldprint anchor inspect keeper/ --json"},
    {Command::kAnchorDiff, "anchor diff", "compare two anchors", "A B", 2,
     "fieldprint anchor diff keeper keeper-2\n"
     "fieldprint anchor diff old/ new/ --json"},
    {Command::kAnchorRotate, "anchor rotate", "make the next version of the trust root", "", 0,
     "fieldprint anchor rotate --new-authority owner-2 --remove-authority owner\n"
     "fieldprint anchor rotate --add-authority bob.pub --threshold promotion=2\n"
     "fieldprint anchor rotate --envelope root.next --key bob.key"},
    {Command::kKeygen, "keygen", "make a key pair: log, authority, witness, cosigner or anchor",
     "KIND", 1,
     "fieldprint keygen authority --name example.com/anna -o anna.key\n"
     "fieldprint keygen witness --name witness.example.com/w1 -o w1.key --json\n"
     "fieldprint keygen anchor -o anchor.pem"},
    {Command::kLedgerInit, "ledger init", "make an empty ledger outside a trust folder", "DIR", 1,
     "fieldprint ledger init log/ --log-key log.key --cosigner-key cosigner.key"},
    {Command::kLedgerShow, "ledger show", "list the newest entries, or show one", "[DIR]", 1,
     "fieldprint ledger show\n"
     "fieldprint ledger show --kind revocation --limit 5\n"
     "fieldprint ledger show log/ --index 12 --json"},
    {Command::kLedgerProve, "ledger prove", "print an offline proof that the log holds an entry",
     "INDEX [DIR]", 2,
     "fieldprint ledger prove 12\n"
     "fieldprint ledger prove 12 log/ --json"},
    {Command::kLedgerVerify, "ledger verify", "check signatures, every entry and every tile",
     "[DIR]", 1,
     "fieldprint ledger verify\n"
     "fieldprint ledger verify exported/ --log-policy trusted.policy --checkpoint last-week"},
    {Command::kLedgerFsck, "ledger fsck", "verify, and check the database against the tiles",
     "[DIR]", 1,
     "fieldprint ledger fsck\n"
     "fieldprint ledger fsck log/ --json"},
    {Command::kLedgerExport, "ledger export", "copy the ledger to a folder that stands for itself",
     "OUT [DIR]", 2,
     "fieldprint ledger export exported/\n"
     "fieldprint ledger export exported/ log/ --json"},
    {Command::kWitness, "witness", "cosign other logs' checkpoints over HTTP (C2SP tlog-witness)",
     "[DIR]", 1,
     "fieldprint witness --witness-key witness.key --log-policy logs.policy\n"
     "fieldprint witness state/ --witness-key witness.key --log-policy logs.policy "
     "--listen 127.0.0.1:9000"},
    {Command::kVerify, "verify", "check a receipt offline, from public keys alone", "RECEIPT", 1,
     "fieldprint verify receipt.json\n"
     "curl -s localhost:8080/v1/fieldprint/receipts/fpr-... | fieldprint verify -\n"
     "fieldprint verify receipt.json --trust-root root.json --request request.json --json\n"
     "fieldprint verify receipt.json --request request.json --reexecute -m model.gguf --anchor "
     "keeper"},
    {Command::kModels, "models", "list the models in the models folders", "", 0,
     "fieldprint models\n"
     "fieldprint models --models-dir /srv/models --json"},
    {Command::kVersion, "version", "version, commit, ggml and CPU features", "", 0,
     "fieldprint version\n"
     "fieldprint version --json"},
    {Command::kHelp, "help", "help on a command", "[COMMAND]", 2,
     "fieldprint help serve\n"
     "fieldprint help anchor compile"},
};

}  // namespace

std::span<const OptionSpec> option_table() { return kOptions; }
std::span<const CommandSpec> command_table() { return kCommands; }

}  // namespace fieldprint::app
