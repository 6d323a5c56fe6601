#!/bin/bash
# Unpacks what a requirements file with hashes names, without touching any Python environment.
# usage: pypi.sh OUT COMPONENT
# environment: LAB_SOURCES, LAB_PYTHON (an interpreter that has pip)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
out=$1 component=$2
"$LAB_PYTHON" -m pip install --quiet --disable-pip-version-check --no-input --root-user-action ignore --no-deps --no-compile \
    --require-hashes --only-binary :all: --target "$out" --requirement "$LAB_SOURCES/$component/requirements.txt"
