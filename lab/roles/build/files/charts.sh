#!/bin/bash
# Takes Istio's Helm charts out of its Go module, with the version that its release would stamp on them.
# usage: charts.sh OUT MODULE VERSION
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
out=$1 module=$2 version=$3

cd "$LAB_SOURCES/$module"
# Where the build of the same module is in the cache already, the module itself may not be.
module=$(GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off "$LAB_GO" mod download -json istio.io/istio)
source=$("$LAB_PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["Dir"])' <<<"$module")
charts=$source/manifests/charts
cp -r "$charts/base" "$charts/gateway" "$out/"
cp -r "$charts/istio-control/istio-discovery" "$out/istiod"
chmod -R u+w "$out"
sed -i -E "s/^(version|appVersion): .*/\1: $version/" "$out"/*/Chart.yaml
sed -i -E "s|^( +hub): registry.istio.io/testing|\1: docker.io/istio|; s|^( +tag): latest|\1: $version|" "$out"/*/values.yaml
