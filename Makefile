# Everything a fresh machine needs: python3 (3.11 to 3.13) and make. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The tools that the statistics are compared with, which do not go together with the pinned dependencies.
BENCH := .venv-bench
DEMO := .demo/digits_shift
# What a study writes; its inputs are the rest.
WRITTEN := plan.json records.csv records.parquet tables figures report.html runs
# Processes that share the tests: two, as most machines have that many processors to spare.
JOBS ?= 2
# The newest torch that the whole set was tested with.
TORCH := 2.13.0
# Debian's packages behind the tests marked `tex`, `browser` and `r`.
DEBIAN := texlive-latex-recommended lmodern poppler-utils chromium fonts-dejavu-core \
	r-base-core r-cran-lme4 r-cran-lmertest r-cran-pbkrtest r-cran-emmeans r-cran-metafor r-cran-jsonlite

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench lint format types wheel constraints debian clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

install: $(READY) ## make .venv with the pinned dependencies (2 GB, about two minutes, once)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit(f"python3 is {v.major}.{v.minor}: \
	this needs 3.11, 3.12 or 3.13; name one with make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV): 2 GB, about two minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --progress-bar off --editable '.[test]' --constraint constraints.txt
	@touch $@

demo: $(READY) ## run the embedded study on a copy in .demo/, and print its ablation table
	@mkdir -p $(DEMO)
	@tar -C studies/digits_shift $(WRITTEN:%=--exclude=./%) -cf - . | tar -C $(DEMO) -xf -
	$(BIN)/ablate -cd $(DEMO) -cn study
	@echo "Run it again and it resumes: nothing is trained twice. To start afresh: rm -r $(DEMO)"

test: $(READY) ## the default tests (about two minutes)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup

# A tool that is not installed takes the tests that look at its work out of the run, and says so.
check: $(READY) ## every test that can run here: the slow ones, and with pdflatex, Chromium and R what they render and compare with
	@marks='not gpu'; \
	if ! { command -v pdflatex && command -v pdftoppm; } >/dev/null; then \
		echo "no pdflatex and pdftoppm here: tests marked tex are left out (Debian: make debian)"; marks="$$marks and not tex"; fi; \
	if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then \
		echo "no Chromium here: tests marked browser are left out (Debian: make debian)"; marks="$$marks and not browser"; fi; \
	if ! Rscript -e 'for (p in c("lmerTest", "pbkrtest", "emmeans", "metafor", "jsonlite")) library(p, character.only = TRUE)' >/dev/null 2>&1; then \
		echo "no R with lme4's family here: tests marked r are left out (Debian: make debian)"; marks="$$marks and not r"; fi; \
	if ! $(BIN)/python -c 'import importlib.util as u; all(u.find_spec(n) for n in ("lm_eval", "transformers")) or exit(1)'; then \
		echo "no lm-eval and transformers in $(VENV): tests marked lm are left out (the extra lm)"; marks="$$marks and not lm"; fi; \
	echo "pytest -m '$$marks'"; $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup -m "$$marks"

bench: $(READY) $(BENCH)/.ready ## the statistics beside the tools they replace: same answers, seconds (ARGS=--full: all rows)
	$(BIN)/python -m tests.benchmarks.bench_stats --peers $(BENCH)/bin/python $(ARGS)

$(BENCH)/.ready: tests/benchmarks/peers.txt
	@echo "Installing what is compared with into $(BENCH): 0.4 GB, once"
	@rm -rf $(BENCH)
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install -qq --no-deps --only-binary :all: --requirement $<
	@touch $@

lint: $(READY) ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## put into ruff's format what is not, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict, on ablate/
	$(BIN)/mypy

wheel: $(READY) ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

constraints: ## resolve anew and write constraints.txt (then run make check)
	rm -rf .venv-constraints
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install -qq --progress-bar off '.[test,lm]' torch==$(TORCH)
	{ echo "# The versions that the tests run with, on Python $$($(PYTHON) -V | cut -d' ' -f2). Made by: make constraints"; \
	.venv-constraints/bin/python -m pip freeze --all --exclude pip --exclude ablate-studies | sed -E 's/\+(cpu|cu[0-9]+)$$//' \
	| grep -vE '^(nvidia-|cuda-|triton==)'; } > constraints.txt
	rm -rf .venv-constraints

debian: ## install Debian's packages for the tests marked tex, browser and r (as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN)

clean: ## remove what was built, cached and demonstrated; .venv stays
	rm -rf .demo .venv-constraints $(BENCH) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
