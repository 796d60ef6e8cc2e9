# The interface. `make` alone prints what there is.
#
# Settings, each also an environment variable:
#   SOURCE=auto|hub|embedded|<a YAML file>   base model and data set
#   SEEDS="1 2 3"   JOBS=2   CELL_TIMEOUT_S=600   RENDERER=auto|quarto|embedded
#   EXECUTOR=dask SCHEDULER=tcp://host:8786   train on a Dask cluster; default: EXECUTOR=local, on this machine
#   BUDGET=10min   how long `make verify` trains runs again: first those out of line, then by a hash of all records
#   RETRAIN=none|all|random|<adapter>/<variant>/seed-<seed>   which runs it trains again instead
#   ALLOW=stale,failed,unverified   what `make publish` publishes all the same
#   PORT=8000   where `make preview` serves the site
#   PYTHON=python3.11   the Python that .venv is made with
#   NAME=mine FROM=lora_1   the new adapter of `make new-adapter`, and the one it begins as
#   BASE_MODEL=… DATASET=… TEXT_COLUMN=text LABEL_COLUMN=label LABELS="0=負面|negative, 1=正面|positive"
#   TITLE="中文|English" AUTHOR=…   what `make new-study` writes a study of; FROM=examples/bert-products: how it begins
#   TO=csv|tensorboard   the tool that `make export` writes for
#   NAMESPACE=me REPO_PREFIX=adapterbook   whose repositories `make push-adapters` fills, and how their names begin
#   DRY_RUN=yes   only say what would be uploaded
#   PRIVATE=yes   make the repositories private
#   HASHES=no   take the pinned versions from wherever pip finds them, without comparing hashes with locks/

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup lock train pages site all test check preview publish status verify bench clean export gallery new-adapter new-study push-adapters

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With PYTHONSAFEPATH, Python does not find the package in this folder.
unexport PYTHONSAFEPATH
BOOK := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m adapterbook
INSTALL := $(BIN)/python -m adapterbook.commands.install
TESTS := $(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder
export SOURCE SEEDS JOBS CELL_TIMEOUT_S EXECUTOR SCHEDULER RENDERER RETRAIN BUDGET HASHES ALLOW PORT
export BASE_MODEL DATASET TEXT_COLUMN LABEL_COLUMN LABELS TITLE AUTHOR
export TO NAME FROM NAMESPACE REPO_PREFIX PRIVATE DRY_RUN

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24
	@echo
	@echo "Settings go behind the command, such as make train SEEDS=\"1 2 3\":"
	@sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "$(VENV)/bin/python -m adapterbook --help says more, once make setup has run."

setup: $(VENV)/.ready ## Make .venv and install the pinned requirements (once)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "AdapterBook needs Python 3.11 or newer. Name one: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "Python cannot make virtual environments here. On Debian: apt install python3-venv"; exit 2; }
	@touch $@

$(VENV)/.ready: requirements.txt requirements-quarto.txt locks/packages.txt locks/torch.txt | $(VENV)/.python
	@echo "Installing the pinned requirements into $(VENV); a few minutes the first time."
	@$(INSTALL) run
	@$(BOOK) install-quarto
	@touch $@

ifeq ($(EXECUTOR),dask)
setup: $(VENV)/.ready-dask
endif

$(VENV)/.ready-dask: requirements-dask.txt locks/dask.txt $(VENV)/.ready
	@$(INSTALL) dask
	@touch $@

$(VENV)/.ready-dev: requirements-dev.txt locks/dev.txt $(VENV)/.ready
	@$(INSTALL) dev
	@touch $@

lock: | $(VENV)/.python ## Write locks/ again, after a change of requirements*.txt
	@$(INSTALL) lock

train: setup ## Train every run that is missing, failed or stale
	@$(BOOK) train

pages: setup ## Make the figures, the pages (.qmd) and the PDFs from the records
	@$(BOOK) pages

site: pages ## Render the pages into _site/, with the PDFs
	@$(BOOK) site

all: setup ## Train what is due, then make the pages and the site
	@$(BOOK) all

test: $(VENV)/.ready-dev ## Run the tests, but for the slow ones
	@echo "The tests marked slow are left out: make check runs them, too."
	@$(TESTS) -m "not slow"

check: $(VENV)/.ready-dev ## What CI runs: ruff, mypy, all tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(TESTS) -m "not brief"

preview: setup ## Serve the site at http://127.0.0.1:8000, rebuilt and reloaded on change
	@$(BOOK) preview

publish: setup ## Put _site/ on the branch gh-pages of origin, once it is verified
	@$(BOOK) publish

status: setup ## Show which runs are up to date, and why the others are not
	@$(BOOK) status

verify: setup ## Check every number against its record, predictions and weights
	@$(BOOK) verify

new-adapter: setup ## Write a commented file for your own adapter: NAME=mine FROM=lora_1
	@$(BOOK) new-adapter

new-study: setup ## Write a study of your own base model and data: NAME=mine BASE_MODEL=… DATASET=…
	@$(BOOK) new-study

export: setup ## Write curves, results and settings of all runs for another tool: TO=csv or TO=tensorboard
	@$(BOOK) export

gallery: all ## Make the studies of docs/gallery.md, each with its site
	@$(MAKE) --no-print-directory -C examples/bert-products all SOURCE=products
	@$(MAKE) --no-print-directory -C examples/eight-kinds all SOURCE=kinds

push-adapters: setup ## Upload the adapters with their model cards to the Hub: NAMESPACE=me, or DRY_RUN=yes
	@$(BOOK) push-adapters

bench: $(VENV)/.ready-dev ## Measure what it costs here; writes benchmarks/results.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks

clean: ## Remove what is made again in seconds; results and .venv stay
	rm -rf _site .quarto .cache/build .cache/steps index.qmd ro-crate-metadata.json report-zh.pdf report-en.pdf report/zh report/en report/pdf report/figures report/scripts report/fonts report/_navigation.yml report/references*
	if grep -qs 'content="AdapterBook"' 404.html; then rm 404.html; fi
