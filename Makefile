# Thin: each line calls a tool. `make help` lists the targets.
PYTHON  ?= python3
PROFILE ?= embedded
# another prior for PROFILE=clip: PRIOR=class-name or PRIOR=imagenet-labels; a machine for make plan: CARD=t4
PRIOR   ?=
CARD    ?=
# DEVICE=cpu lets a profile that needs a GPU run without one
DEVICE  ?=
# jobs that may share a GPU
GPU_JOBS ?= 1
CORES   ?= 2
# jobs that encode a set's features side by side
SHARDS  ?= 1
PORT    ?= 8000
BIN     := .venv/bin
# records and chunks are written atomically, so a stopped job keeps those that are finished
SNAKEMAKE_FLAGS = --rerun-triggers mtime input --keep-incomplete --rerun-incomplete --resources gpu=$(GPU_JOBS)
override PROFILE := $(PROFILE)$(if $(PRIOR),-$(PRIOR))
export PYTHONWARNINGS = ignore
# waiting threads give their core away; on a busy machine they would stall it for minutes
export OMP_WAIT_POLICY = passive

.PHONY: help book pdf test test-all plan bench serve lint
.DEFAULT_GOAL := help

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

book: .venv/installed  ## make the book of PROFILE (default: embedded)
	@$(BIN)/python -m pgjr_book fetch --profile $(PROFILE)
	@$(BIN)/snakemake --cores $(CORES) $(SNAKEMAKE_FLAGS) --quiet progress rules --config profile=$(PROFILE) shards=$(SHARDS) $(if $(DEVICE),device=$(DEVICE))
	@echo "the book: build/$(PROFILE)/html/index.html"

pdf:             ## print the published book as a PDF (needs a Chromium)
	@$(MAKE) book PROFILE=published
	@$(BIN)/python -m pgjr_book build --profile published --pdf

test: .venv/installed  ## run the tests of a working day
	$(BIN)/python -m pytest

test-all: .venv/installed  ## run every test, the slow ones too
	$(BIN)/python -m pytest -m "slow or not slow"

plan: .venv/installed  ## print the runs, hours and disk of PROFILE
	@$(BIN)/python -m pgjr_book plan --profile $(PROFILE) $(if $(CARD),--card $(CARD))

bench: .venv/installed  ## run the benchmarks
	$(BIN)/python -m benchmarks.commands
	$(BIN)/python -m benchmarks.loss
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.augment
	$(BIN)/python -m benchmarks.encoding --parts speed extraction
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.photos
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.growth --curves million
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.head
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.scoring
	$(BIN)/python -m benchmarks.opening

serve: book      ## show the book of PROFILE on http://127.0.0.1:$(PORT)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/$(PROFILE)/html $(PORT)

lint: .venv/installed  ## check the style
	$(BIN)/ruff check .

# the install; apart from it, only the fetch of a profile's priors needs a network
.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[book,dev,fast,priors]' -c requirements.lock
	@touch $@
