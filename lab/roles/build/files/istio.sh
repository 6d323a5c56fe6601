#!/bin/bash
# Builds istiod, the agent and istioctl, stamped with a version, and takes the files that the VM package is made with.
# usage: istio.sh OUT MODULE VERSION
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
out=$1 module=$2 version=$3
here=$(dirname "$(readlink -f "$0")")

revision=$(sed -nE 's|^\s*istio\.io/istio v\S+-([0-9a-f]{12})\b.*|\1|p' "$LAB_SOURCES/$module/go.mod" | head -n 1)
[ -n "$revision" ] || { echo "no commit of istio.io/istio found in $module/go.mod" >&2; exit 1; }

stamp() { printf -- '-X istio.io/istio/pkg/version.%s=%s ' "$1" "$2"; }
"$here/go.sh" "$out" "$module" \
    "$(stamp buildVersion "$version")$(stamp buildTag "$version")$(stamp buildHub docker.io/istio)$(
        stamp buildStatus Clean)$(stamp buildGitRevision "$revision")" \
    istio.io/istio/pilot/cmd/pilot-discovery istio.io/istio/pilot/cmd/pilot-agent istio.io/istio/istioctl/cmd/istioctl

cd "$LAB_SOURCES/$module"
source=$(GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off "$LAB_GO" list -m -f '{{.Dir}}' istio.io/istio)
mkdir "$out/packaging"
cp "$source"/tools/packaging/postinst.sh "$source"/tools/packaging/common/* "$out/packaging/"
chmod -R u+w "$out/packaging"
printf '%s\n' "$revision" >"$out/revision"
