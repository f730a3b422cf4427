# Every step of the project is a verb here; a pipeline calls exactly these. `make help` lists them.

MODEL ?= sentiment-pl-en
PORT ?= 3000
PYTHON ?= python3.11
UV_VERSION := 0.13.8

# uv from PATH, or else from pip into a folder of the project's own.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# Torch stays out of the environment that serves: two environments, one lock file.
VENV := .venv/bin
EXPORT_VENV := .venv-export/bin
SYNC := $(UV) sync --frozen --inexact --quiet --python $(PYTHON)
SYNC_EXPORT := UV_PROJECT_ENVIRONMENT=.venv-export $(SYNC)

# The servers to compare with, three more environments: two of them want older versions than the others.
BENCHMARK_VENV := .venv-benchmark/bin
BENCHMARK_ENVIRONMENTS := .venv-benchmark/.synced .venv-benchmark-mlserver/.synced .venv-benchmark-triton/.synced
# Triton starts Python from the shared library, which not every Python has: the first python3.11 on PATH that does.
FIND_SHARED_PYTHON = for one in $(PYTHON) $$(which -a python3.11); do \
	"$$one" -c 'import os, sysconfig as s; v = s.get_config_vars(); \
	raise SystemExit(not os.path.exists(os.path.join(v["LIBDIR"], v["INSTSONAME"])))' 2>/dev/null \
	&& echo "$$one" && break; done

# Nothing is sent anywhere while serving, building or testing.
export BENTOML_DO_NOT_TRACK := True
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help serve test programs screenshot test-export lint format protobuf audit bento train export verify evaluate save benchmark promises tune clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv/.inference save ## Serve MODEL over HTTP on PORT (3000)
	@exec $(VENV)/bentoml serve service:Sentiment --port $(PORT)

save: .venv/.inference ## Put models/MODEL into the BentoML model store
	@$(VENV)/python -m scripts.save $(MODEL)

bento: .venv/.inference save ## Build the Bento, its model pinned, its dependencies from uv.lock
	@mkdir -p build
	@$(UV) export --frozen --quiet --only-group inference --no-hashes --no-emit-project --output-file build/requirements.txt
	$(VENV)/bentoml build

test: .venv/.integration programs ## Run the tests that need no torch
	$(VENV)/pytest -m "not export"

# Programs of the system that the tests start, on PATH or not: a browser for the page, curl for the examples, openssl for
# certificates. Where they cannot be installed, tests fail and name what is missing.
PROGRAMS := chromium curl openssl
programs:
	@export PATH="$$PATH:/usr/sbin:/usr/bin:/sbin:/bin"; \
	for one in $(PROGRAMS); do command -v $$one >/dev/null || missing="$$missing $$one"; done; \
	test -z "$$missing" \
		|| { test "$$(id -u)" = 0 && { apt-get update -qq; DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing; }; } >/dev/null 2>&1 \
		|| echo "Tests need what is missing here: as root, apt-get install -y$$missing" >&2

screenshot: .venv/.integration programs ## Take the picture of the page that the README shows
	@$(VENV)/python -m tests.screenshot

test-export: .venv-export/.synced ## Run the tests of training, export and verification
	$(EXPORT_VENV)/pytest -m export

lint: .venv/.integration ## Check style, format and types
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy

format: .venv/.integration ## Put the code into its format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

protobuf: .venv/.integration ## Generate the code of the gRPC messages from their .proto files
	$(VENV)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. sentiment/protocols/grpc/*.proto

audit: .venv/.integration ## Look the dependencies up in the vulnerability database
	@mkdir -p build
	@$(UV) export --frozen --quiet --group inference --group export --group train --group integration --no-emit-project --output-file build/audit.txt
	$(VENV)/pip-audit --strict --disable-pip --require-hashes --requirement build/audit.txt

train: .venv-export/.synced ## Fine-tune BASE (a Hugging Face id or folder) into build/MODEL/checkpoint
	$(EXPORT_VENV)/python -m scripts.train $(MODEL) --base $(BASE)

export: .venv-export/.synced ## Export and quantize the checkpoint of MODEL
	$(EXPORT_VENV)/python -m scripts.export $(MODEL)

verify: .venv-export/.synced ## Compare the exported MODEL with PyTorch
	$(EXPORT_VENV)/python -m scripts.verify $(MODEL)

evaluate: .venv-export/.synced ## Measure the quality of MODEL and fill in its card
	$(EXPORT_VENV)/python -m scripts.evaluate $(MODEL)

benchmark: .venv/.inference $(BENCHMARK_ENVIRONMENTS) ## Compare with other servers; QUICK=1 for two minutes, ONLY="NAME …" for some
	@$(BENCHMARK_VENV)/python -m benchmarks.compare $(if $(QUICK),--quick) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

promises: .venv/.inference .venv-benchmark/.synced ## Measure exactness, fairness, two cores, overload and a long run; ONLY="NAME …" for some
	@$(BENCHMARK_VENV)/python -m benchmarks.promises $(if $(ONLY),--only $(ONLY))

tune: .venv/.inference .venv-benchmark/.synced ## Find the settings for this machine; P99=50 for a latency in milliseconds
	@$(BENCHMARK_VENV)/python -m benchmarks.tune $(if $(P99),--p99-ms $(P99))

clean: ## Remove what was built and installed here; the model store stays
	rm -rf .uv .venv .venv-export .venv-benchmark* build .hypothesis .mypy_cache .pytest_cache .ruff_cache

.uv/bin/uv:
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .uv uv==$(UV_VERSION)

.venv/.inference: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@$(SYNC) --group inference
	@touch $@

.venv/.integration: .venv/.inference
	@$(SYNC) --group inference --group integration
	@touch $@

.venv-export/.synced: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@$(SYNC_EXPORT) --group inference --group export --group train --group integration
	@touch $@

.venv-benchmark/.synced: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@UV_PROJECT_ENVIRONMENT=.venv-benchmark $(SYNC) --group inference --group export --group train --group integration --group benchmark
	@touch $@

.venv-benchmark-mlserver/.synced: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@UV_PROJECT_ENVIRONMENT=.venv-benchmark-mlserver $(SYNC) --no-install-project --group benchmark-mlserver
	@touch $@

# With no such Python nothing is made here, and the comparison says why there is no Triton in it.
.venv-benchmark-triton/.synced: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@python=$$($(FIND_SHARED_PYTHON)); test -z "$$python" || { UV_PROJECT_ENVIRONMENT=.venv-benchmark-triton \
		$(UV) sync --frozen --inexact --quiet --python "$$python" --no-install-project --group benchmark-triton && touch $@; }
