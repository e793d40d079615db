# Everything a person or a CI does here. `make run` and `make test` set themselves up.
.PHONY: run test sabotage faults fuzz lint demo lock parity torchrun-test bench scale quirks pools compare clean image image-test kubeflow-test bench-evaluation ledger
.DELETE_ON_ERROR:

PYTHON ?= python3
READY := .venv/ready
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# no telemetry, no look-ups at start
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export AWS_EC2_METADATA_DISABLED := true

run: $(READY)  ## the pipeline: validated data to a gated, registered model and its report
	@dvc repro
	@trackline status

test: $(READY)  ## the test suite, a miniature pipeline in it
	@python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

RUN ?= .
THREADS ?= 1
sabotage: SEEDS ?= 0
sabotage: $(READY)  ## runs that must be refused, and the score; on the model of the run in RUN; SEEDS=10 trains ten honest ones
	@RUN="$(abspath $(RUN))" SEEDS=$(SEEDS) THREADS=$(THREADS) python -m pytest tests/sabotage

faults: $(READY)  ## corruptions injected into the default data, each to be seen by its own rule, and the score
	@FAULTS=1 python -m pytest tests/faults

FUZZ ?= 1000
fuzz: $(READY)  ## readers fed with anything, FUZZ examples each
	@FUZZ=$(FUZZ) python -m pytest tests/data/test_fuzz.py

lint: $(READY)  ## style and types
	@ruff check .
	@ruff format --check --quiet .
	@mypy
	@zizmor --quiet --offline --no-progress .github/workflows
	@check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

demo: $(READY)  ## draw demo/ anew: the same bytes on the same machine
	@trackline data synth demo --force

lock: $(READY)  ## resolve pyproject.toml into requirements.lock
	@uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --all-extras \
	  --no-header -o requirements.lock pyproject.toml

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up .venv (once; some minutes on a slow line)"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.lock
	@.venv/bin/python -m pip install --quiet --require-hashes --no-deps -r .venv/uv.lock
	@uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes -r requirements.lock
	@uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@

clean:  ## remove what runs made (not the data, not the registry)
	@rm -rf artifacts metrics plots reports .pytest_cache .mypy_cache .ruff_cache

GOLDEN ?= ../shared/golden
parity: $(READY)  ## compare the network with a folder of the reference's tensors: make parity GOLDEN=DIR
	@GOLDEN="$(GOLDEN)" python -m pytest tests/golden

BASE ?= docker.io/library/python:3.11-slim-bookworm
TORCH_INDEX ?=
IMAGE ?= localhost/trackline:latest
ENGINE ?= $(shell command -v podman || command -v docker)
image:  ## the image of every step: make image TORCH_INDEX=ADDRESS leaves CUDA out
	@test -n "$(ENGINE)" || { echo "error: neither podman nor docker is here; install one, or name it: make image ENGINE=…" >&2; exit 1; }
	@$(ENGINE) build $(BUILD_OPTIONS) --tag $(IMAGE) --build-arg BASE=$(BASE) --build-arg TORCH_INDEX=$(TORCH_INDEX) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) .

image-test: $(READY)  ## the pipeline in containers of that image, on a miniature
	@IMAGE=$(IMAGE) python -m pytest -rs tests/containers

kubeflow-test: $(READY)  ## the graph, the client and multi-node training, slow parts too
	@KUBEFLOW_SLOW=1 python -m pytest -rs tests/pipelines

torchrun-test: $(READY)  ## two processes train as one; one is killed, restarted, and the weights are the same
	@TORCHRUN_SLOW=1 python -m pytest tests/training/test_distributed.py

bench: $(READY)  ## latency, training step and memory against a plain eager yardstick: make bench BENCH="--size default"
	@python -m benchmarks.run $(BENCH)

scale: $(READY)  ## ten million annotation rows validated and compared, fifty thousand frames indexed again
	@python -m benchmarks.annotations $(SCALE)

bench-evaluation: $(READY)  ## frames a second in lock-step and one sequence at a time, on the model of the last `make run`
	@python -m benchmarks.lockstep $(BENCH)

REALDATA ?= ../shared/realdata
ledger: MODEL ?= artifacts/model
ledger: $(READY)  ## a model on every sequence of a folder beside a static box and CSRT: make ledger REALDATA=DIR
	@trackline evaluate $(MODEL) $(REALDATA) --csrt --out artifacts/ledger

quirks: $(READY)  ## what each correction of the reference changes, on the model of the last `make run`
	@python -m benchmarks.quirks

pools compare: SEEDS ?= 0 1 2
pools: $(READY)  ## what the class head should pool: four trainings for each of SEEDS, after `make run`
	@python -m benchmarks.pools --seeds $(SEEDS)

compare: $(READY)  ## every variant trained for each of SEEDS under one budget, in one table; hours, started again it goes on
	@dvc repro --quiet index
	@trackline compare --seeds $(SEEDS) $(COMPARE)

include .ci/promotion.mk
