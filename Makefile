# A thin front for CMake presets (CMakePresets.json) and tools/. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

JOBS ?= $(shell nproc)
MODEL ?= models/SmolLM2-135M-Instruct.Q4_1.gguf
ARGS ?=
# The identity that `make run` and `make serve` put in front: compiled, signed and promoted on the
# first run. Another model needs an anchor of its own (docs/anchors.md), or ANCHOR=--no-anchor.
ANCHOR ?= --anchor keeper
first_anchor = tools/first-anchor.sh build/release/app/fieldprint $(MODEL) examples/anchors/keeper.txt
FUZZ_SECONDS ?= 60
BENCH_ARGS ?=
LINT_FILES ?=
# A second checkout finds the objects of the first.
export CCACHE_NOHASHDIR := 1
export CCACHE_BASEDIR := $(CURDIR)
export FIELDPRINT_JOBS := $(JOBS)

# An own llama.cpp install: make run FIELDPRINT_LLAMA_PREFIX=/opt/llama
ifdef FIELDPRINT_LLAMA_PREFIX
export FIELDPRINT_LLAMA_PREFIX
configure_flags := -DCMAKE_PREFIX_PATH=$(FIELDPRINT_LLAMA_PREFIX)
endif

# $(call build,PRESET,TARGETS): configure once (Ninja re-runs CMake by itself), then build.
define build
@test -e build/$(1)/build.ninja || { mkdir -p build/$(1); \
	cmake --preset $(1) $(configure_flags) > build/$(1)/configure.log 2>&1 || \
	{ cat build/$(1)/configure.log; exit 1; }; }
@cmake --build --preset $(1) -j $(JOBS) --target $(2) | tools/quiet-ninja.sh $(1)
endef

.PHONY: help
help: ## List the targets
	@echo 'Fieldprint. Two commands matter: make run, make test.'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		awk -F'|' '{printf "%-26s %s\n", $$1, $$2}'
	@echo 'Variables: MODEL=file.gguf ARGS="flags" JOBS=n FIELDPRINT_LLAMA_PREFIX=dir (docs/building.md)'

.PHONY: run
run: build ## Set up what is missing, build, and chat with SmolLM2 in the terminal
	@$(if $(filter keeper,$(ANCHOR)),$(first_anchor))
	@build/release/app/fieldprint run --model $(MODEL) $(ANCHOR) $(ARGS)

.PHONY: serve
serve: build ## The same as an OpenAI-compatible server on 127.0.0.1:8080
	@$(if $(filter keeper,$(ANCHOR)),$(first_anchor))
	@build/release/app/fieldprint serve --model $(MODEL) $(ANCHOR) $(ARGS)

.PHONY: setup
setup: ## Install packages, build ggml into .venv, fetch the model; nothing when all is there
	@tools/setup.sh run

.PHONY: build
build: setup ## Build the fieldprint program in build/release
	$(call build,release,fieldprint)

.PHONY: test
test: ## Everything that must hold: all suites, sanitizers, short fuzzing, tidy, format
	@tools/setup.sh test
	$(call build,release,all)
	$(call build,dev,fieldprint_tests)
	$(call build,tsan,fieldprint_tests)
	$(call build,fuzz,fuzz_targets)
	@tools/test-all.sh

.PHONY: check
check: build ## The suites of the release build only
	$(call build,release,all)
	@ctest --preset release -j $(JOBS)

.PHONY: lint
lint: ## clang-format and clang-tidy over every source file (minutes at first, then incremental)
	@tools/setup.sh test
	$(call build,release,all)
	@tools/lint.py --jobs $(JOBS) $(LINT_FILES)

.PHONY: fuzz
fuzz: ## Run each libFuzzer target for FUZZ_SECONDS (60)
	@tools/setup.sh test
	$(call build,fuzz,fuzz_targets)
	@tools/fuzz.sh $(FUZZ_SECONDS)

.PHONY: bench-cpu
bench-cpu: ## CPU speed side by side with llama-bench built from the same ggml
	@tools/setup.sh run
	$(call build,release,all)
	@tools/build-llama-bench.sh
	@python3 tools/bench_cpu.py $(MODEL) $(BENCH_ARGS)

.PHONY: bench-drift
bench-drift: ## What supervision finds and mends on real dialogues, some minutes
	@tools/setup.sh run
	$(call build,release,fieldprint drift_bench)
	@bench/drift/run.sh $(MODEL) $(BENCH_ARGS)

.PHONY: bench-gpu
bench-gpu: ## Kernel and engine speed on an NVIDIA GPU (needs nvcc)
	@command -v nvcc >/dev/null || { echo 'bench-gpu: no nvcc on this machine' >&2; exit 1; }
	@tools/setup.sh run
	$(call build,cuda,attention_cuda_decode_bench attention_cuda_prefill_bench attention_cuda_kv_bench)
	@bench/cuda/run.sh

.PHONY: bench-supervisor
bench-supervisor: ## Tokens/s with and without the supervisor, and with its work in the step
	@tools/setup.sh run
	$(call build,release,supervisor_bench)
	@tools/bench-supervisor.sh $(MODEL)

.PHONY: report
report: ## Gather the last benchmark results into build/report.md
	@tools/report.py

.PHONY: clean
clean: ## Remove build trees; keeps .venv, .cache and models
	@rm -rf build
