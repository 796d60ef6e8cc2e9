# The project's own commands, for this study: make all, make train, make pages, make site, make status, make verify,
# make preview, make clean. Settings as in the project's folder: SEEDS, JOBS, RENDERER, …
#
# This folder holds only what differs from the project. A template under templates/ replaces the project's one of the same
# name. The other shared files (_quarto.yml, report/assets, the notebook) are copied where they are missing, and a copy
# that you change stays as it is.

THIS := $(lastword $(MAKEFILE_LIST))
PYTHON_OF_VENV ?= $(ROOT)/.venv/bin/python
export SOURCE SEEDS JOBS CELL_TIMEOUT_S EXECUTOR SCHEDULER RENDERER RETRAIN BUDGET PORT

.DEFAULT_GOAL := help
.PHONY: help setup all train pages site status verify preview clean

help:
	@sed -n 's/^# \{0,1\}//p' $(THIS) | head -6

setup:
	@$(MAKE) --no-print-directory -C $(ROOT) setup

all train pages site status verify preview: setup
	@PATH="$(dir $(PYTHON_OF_VENV)):$$PATH" PYTHONPATH="$(ROOT)" $(PYTHON_OF_VENV) -m adapterbook $@

clean: ## Results stay, and so does every file that a person may have written
	rm -rf _site .quarto .cache/build .cache/steps index.qmd ro-crate-metadata.json report-zh.pdf report-en.pdf report/zh report/en report/pdf report/figures report/scripts report/fonts report/_navigation.yml report/references*
	if grep -qs 'content="AdapterBook"' 404.html; then rm 404.html; fi
