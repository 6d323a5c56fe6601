# What people do with a checkout. `make` alone lists it all.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Runs a command with the newest Python here and the newest ansible-core for it, and with all tools, respectively.
WITH_RUN := tools/with run
WITH_TOOLS := tools/with tools
STAGE := tools/stage

# These print names or paths, and make what they print the path of, so they are asked only where a rule needs them.
matrix = $(shell tools/environment --matrix)
# For each ansible-core the newest of its Pythons.
newest_of_each_core = $(shell tools/environment --matrix 2> /dev/null | awk -F-py '{newest[$$1] = $$0} END {for (core in newest) print newest[core]}' | sort)
cache = $${HYBRIDMESH_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/hybridmesh}
installed = $(cache)/artifact/$$(pwd -P | sha256sum | cut -c1-12)

##@ Two commands

.PHONY: demo
demo: bootstrap ## Set everything up and bring two VMs into a real mesh on this machine
	@$(STAGE) lab "the lab: builds what is not in the cache yet, and starts the machines" $(MAKE) --no-print-directory lab
	@$(STAGE) site.yml "Istio, its gateway, the VMs' group, the sidecar on each VM, the proof" $(WITH_RUN) ansible-playbook site.yml
	@echo
	@echo 'Next: eval "$$(make -s lab-env)", then kubectl get workloadentries -A; the proof again: tools/with run ansible-playbook playbooks/verify.yml'
	@echo 'The lab keeps running until make lab-down.'

.PHONY: test
test: bootstrap ## All tests: lint, types, sanity, unit, artifact, lab, molecule
	@tools/check environments artifact \; $(CHECKS) \; lab-for-tests molecule test-lab

##@ The tests, one by one

CHECKS = lint types docs-check release-check $(addprefix sanity-,$(newest_of_each_core)) $(addprefix unit-,$(matrix)) test-gcp test-awx artifact-check

.PHONY: checks
checks: bootstrap ## Everything of `make test` that needs no lab
	@tools/check environments artifact \; $(CHECKS)

.PHONY: lint
lint: ## yamllint, ruff, shellcheck, ansible-lint (profile production)
	@$(STAGE) lint "yamllint, ruff, shellcheck, ansible-lint" $(WITH_TOOLS) tools/lint

.PHONY: types
types: ## mypy, strict
	@$(STAGE) types "mypy, strict, over the plugins and what they share" $(WITH_TOOLS) mypy

.PHONY: sanity
sanity: artifact ## ansible-test sanity on the built artifact, with each ansible-core
	@$(MAKE) --no-print-directory $(addprefix sanity-,$(newest_of_each_core))

sanity-%:
	@$(STAGE) sanity-$* "ansible-test sanity on the built artifact" tools/sanity $* "$(installed)"

.PHONY: unit
unit: artifact ## Unit tests on the built artifact, with each ansible-core and Python
	@$(MAKE) --no-print-directory $(addprefix unit-,$(matrix))

unit-%:
	@cd "$(installed)/ansible_collections/hybridmesh/istio" && PYTHONDONTWRITEBYTECODE=1 \
	  $(CURDIR)/$(STAGE) unit-$* "unit tests on the built artifact" $(CURDIR)/tools/with $* pytest -q -p no:cacheprovider tests/unit

.PHONY: test-gcp
test-gcp: ## Infrastructure in Google Cloud, against a local server that validates by Google's documents
	@$(STAGE) test-gcp "tests/gcp: google.cloud's modules against a local server" $(WITH_RUN) pytest -q -p no:cacheprovider tests/gcp

# With the google.cloud that goes with another ansible-core: make test-gcp-2.19-py3.11.
test-gcp-%:
	@$(STAGE) test-gcp-$* "tests/gcp: google.cloud's modules against a local server" tools/with $* pytest -q -p no:cacheprovider tests/gcp

.PHONY: test-awx
test-awx: ## AWX set up by the playbook awx, against a local server that checks what awx.awx sends; the execution environment
	@$(STAGE) test-awx "tests/awx: awx.awx's modules against a local server" $(WITH_TOOLS) pytest -q -p no:cacheprovider tests/awx

.PHONY: artifact
artifact: ## Build the collection and install it outside the checkout
	@$(STAGE) artifact "ansible-galaxy collection build, and install elsewhere" tools/artifact

.PHONY: artifact-check
artifact-check: ## Use the installed artifact from another folder
	@$(STAGE) artifact-check "documentation, playbooks and roles of the installed artifact" tools/artifact-check "$(installed)"

.PHONY: lab-for-tests
lab-for-tests:
	@$(STAGE) lab "the lab: builds what is not in the cache yet, and starts the machines" $(MAKE) --no-print-directory lab

.PHONY: molecule
molecule: ## Molecule scenario `default`: site.yml on the lab, twice, proof, reset
	@$(MAKE) --no-print-directory molecule-default

.PHONY: molecule-roles
molecule-roles: bootstrap lab-for-tests ## Molecule: each role alone, and the whole chapter (half an hour; not part of make test)
	@tools/check environments \; \; $(addprefix molecule-,$(filter-out default shared,$(notdir $(wildcard extensions/molecule/*))))

molecule-%:
	@# What an interrupted run left in molecule's memory must not make this one skip steps.
	@$(WITH_TOOLS) molecule reset -s $* > /dev/null 2>&1
	@$(STAGE) molecule-$* "molecule scenario $* on the lab" $(WITH_TOOLS) molecule test -s $*

.PHONY: test-lab
test-lab: ## tests/lab with the installed artifact, on the lab
	@$(STAGE) test-lab "tests/lab with the installed artifact" tools/test-lab "$(installed)"

.PHONY: test-slow
test-slow: bootstrap artifact ## Application, routes, rights, shifts, Prometheus and Google Cloud, on the lab, and Google Cloud with the oldest ansible-core (40 minutes; not part of make test)
	@$(MAKE) --no-print-directory test-gcp-$(firstword $(newest_of_each_core))
	@$(STAGE) lab "the lab: builds what is not in the cache yet, and starts the machines" $(MAKE) --no-print-directory lab
	@$(STAGE) test-slow "tests/lab/slow with the installed artifact" tools/test-lab "$(installed)" --slow

.PHONY: test-faults
test-faults: bootstrap artifact ## Faults on the lab: first start, day 2, diagnosis, images, Helm, revisions, several runs at once (about two hours; not part of make test)
	@$(STAGE) lab "the lab: builds what is not in the cache yet, and starts the machines" $(MAKE) --no-print-directory lab
	@$(STAGE) test-faults "tests/lab/faults with the installed artifact" tools/test-lab "$(installed)" --faults

.PHONY: environments
environments:
	@$(STAGE) environments "virtual environments, made once for each set of requirements" tools/environment --all

##@ The lab

-include lab/lab.mk

##@ Benchmarks, on the running lab

.PHONY: bench-bootstrap
bench-bootstrap: bootstrap ## The lookups against istioctl, and against the API server's own floor
	@tools/bench/run bootstrap

.PHONY: bench-verify
bench-verify: bootstrap ## workload_entry_info with 10,000 WorkloadEntries against kubectl
	@tools/bench/run verify

.PHONY: bench-onboard
bench-onboard: bootstrap ## onboard.yml against a shell script (needs make lab LAB_VMS=8)
	@tools/bench/run onboard

.PHONY: bench-scale
bench-scale: bootstrap ## renew and verify with 100, 500 and 2,000 machines, most of them recorded: growth, memory, API calls
	@tools/bench/run scale

##@ Documentation

.PHONY: docs
docs: ## Write the README files of the roles, and the changelog
	@$(WITH_TOOLS) tools/docs

.PHONY: docs-check
docs-check: ## Are the generated texts up to date, and is all documentation well-formed?
	@$(STAGE) docs-check "antsibull-docs, changelog, generated README files" $(WITH_TOOLS) tools/docs-check

.PHONY: docs-site
docs-site: ## The documentation as a web site, in docs/build
	@$(STAGE) docs-site "a page for each plugin and role" $(WITH_TOOLS) tools/docs-site

##@ Release

.PHONY: release
release: bootstrap ## Build the artifact of this commit into dist, the same bytes everywhere
	@$(STAGE) release "the artifact of the commit" $(WITH_TOOLS) tools/release

.PHONY: release-check
release-check: ## Build the artifact twice, in different circumstances, and compare
	@$(STAGE) release-check "the same bytes twice" $(WITH_TOOLS) tools/release --check

##@ Housekeeping

.PHONY: clean
clean: ## Delete environments and artifacts from the cache (what the lab is built from stays)
	@for name in ansible-test artifact collections sanity venv; do echo "deleting $(cache)/$$name"; rm -rf "$(cache)/$$name"; done

.PHONY: bootstrap
bootstrap:
	@tools/bootstrap

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
