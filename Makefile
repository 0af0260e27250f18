# SPDX-License-Identifier: Apache-2.0
# `make testbed` builds a region on this machine, `make test` tests the project. Both can be run again at any time.
SHELL := /bin/bash
.DEFAULT_GOAL := help
LAYOUT ?= single
N ?= 10000
# Many tests wait: one process more than cores.
PARALLEL ?= $(shell echo $$(($$(nproc) + 1)))
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# The testbed needs root for Docker and /etc/hosts.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,ANSIBLE_CONFIG)

.PHONY: help setup testbed test lint unit live fuzz catalog golden golden-update molecule host e2e fault docs format wheel manager-image lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install missing Debian packages, the Docker engine and .venv
	@tools/setup

testbed: setup ## Build a region on this machine (LAYOUT=single or ha); continue an interrupted build
	@$(SUDO) $(CURDIR)/.venv/bin/scs testbed up --layout $(LAYOUT)

test: setup lint unit catalog golden molecule ## Run all tests that need no region

lint: ## Run ruff, mypy, shellcheck, yamllint, ansible-lint
	ruff check .
	ruff format --check .
	mypy
	tools/shell-scripts | xargs --delimiter='\n' shellcheck
	yamllint --strict .
	ansible-lint

unit: ## Run the unit tests that need no built images
	pytest -n $(PARALLEL) --durations=10 -m "not images" tests/unit

live: ## Test services in containers of the built images (scs images build)
	$(SUDO) $(CURDIR)/.venv/bin/pytest -n auto --durations=10 -m images tests/unit

fuzz: ## Check N random mutations of a region's files (SEED repeats a run)
	python -m tests.fuzz --number $(N) $(if $(SEED),--seed $(SEED))

catalog: ## Check every service in the catalog
	pytest tests/catalog

golden: ## Compare the rendered configuration with tests/golden
	pytest tests/golden

golden-update: ## Record the rendered configuration again; then review git diff tests/golden
	UPDATE_GOLDEN=1 pytest tests/golden

molecule: ## Test the engine on a host container
	$(SUDO) $(CURDIR)/.venv/bin/molecule test

e2e: ## Test a deployed testbed, including a browser (E2E="not long": without tests of minutes)
	@tools/setup --e2e
	$(SUDO) $(CURDIR)/.venv/bin/pytest --durations=15 -m "e2e$(if $(E2E), and ($(E2E)))" tests/e2e

host: ## Test a host container: network and packet filter with rollback, database backup
	$(SUDO) $(CURDIR)/.venv/bin/pytest -m host tests/host

fault: ## Test a deployed three-node testbed while its nodes are killed, stopped and cut off
	@tools/setup --e2e
	@$(SUDO) env SCS_ENVIRONMENT=$${SCS_ENVIRONMENT:-testbed-ha} $(CURDIR)/.venv/bin/pytest -s -m fault tests/fault

docs: ## Generate docs/reference from the code
	python tools/reference.py

format: ## Format the code
	ruff format .
	ruff check --fix .

wheel: ## Build a package for pip, in dist/
	rm -rf build
	pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build

manager-image: setup ## Build a container image of the manager: scs/manager:latest
	@$(SUDO) $(CURDIR)/.venv/bin/python tools/manager_image.py

lock: ## Generate requirements.lock from pyproject.toml
	pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --extra dev --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml

clean: ## Remove the virtual environment and caches; the testbed stays (scs testbed down removes it)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .ansible build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
