# The lab's targets. LAB_VMS (2), LAB_NETWORK (10.88.0.0/24) and LAB_ISTIO_VERSIONS (1.31.0-lab and 1.30.4-lab) may be given, as in `make lab LAB_VMS=8`.

ANSIBLE_PLAYBOOK ?= $(WITH_RUN) ansible-playbook
LAB_PLAYBOOK = $(ANSIBLE_PLAYBOOK) --inventory inventories/lab --forks 10

.PHONY: lab
lab: bootstrap ## Start the lab: a Kubernetes node and VMs on this machine (needs root)
	@$(LAB_PLAYBOOK) lab/up.yml

.PHONY: lab-status
lab-status: bootstrap ## What runs, and what not
	@$(LAB_PLAYBOOK) lab/status.yml

.PHONY: lab-down
lab-down: bootstrap ## End the lab and leave the host as it was before
	@$(LAB_PLAYBOOK) lab/down.yml

.PHONY: lab-env
lab-env: ## Print export lines: eval "$(make -s lab-env)"
	@$(WITH_RUN) lab/env

.PHONY: lab-test
lab-test: bootstrap ## Tests of the lab itself (takes it down several times)
	@$(WITH_RUN) pytest -q -s -p no:cacheprovider lab/tests
