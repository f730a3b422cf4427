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

# Nothing is sent anywhere while serving, building or testing.
export BENTOML_DO_NOT_TRACK := True
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help serve test test-export lint format audit bento train export verify evaluate save clean

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

test: .venv/.integration ## Run the tests that need no torch
	$(VENV)/pytest -m "not export"

test-export: .venv-export/.synced ## Run the tests of training, export and verification
	$(EXPORT_VENV)/pytest -m export

lint: .venv/.integration ## Check style, format and types
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy

format: .venv/.integration ## Put the code into its format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

audit: .venv/.integration ## Look the dependencies up in the vulnerability database
	@mkdir -p build
	@$(UV) export --frozen --quiet --all-groups --no-emit-project --output-file build/audit.txt
	$(VENV)/pip-audit --strict --disable-pip --require-hashes --requirement build/audit.txt

train: .venv-export/.synced ## Fine-tune BASE (a Hugging Face id or folder) into build/MODEL/checkpoint
	$(EXPORT_VENV)/python -m scripts.train $(MODEL) --base $(BASE)

export: .venv-export/.synced ## Export and quantize the checkpoint of MODEL
	$(EXPORT_VENV)/python -m scripts.export $(MODEL)

verify: .venv-export/.synced ## Compare the exported MODEL with PyTorch
	$(EXPORT_VENV)/python -m scripts.verify $(MODEL)

evaluate: .venv-export/.synced ## Measure the quality of MODEL and fill in its card
	$(EXPORT_VENV)/python -m scripts.evaluate $(MODEL)

clean: ## Remove what was built and installed here; the model store stays
	rm -rf .uv .venv .venv-export build .hypothesis .mypy_cache .pytest_cache .ruff_cache

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
