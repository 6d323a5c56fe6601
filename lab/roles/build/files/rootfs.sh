#!/bin/bash
# Makes the root file system of a machine from Debian's packages.
# usage: rootfs.sh OUT SUITE PACKAGE...
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2016  # what stands in single quotes is for apt and mmdebstrap to expand
set -euo pipefail
out=$1 suite=$2
shift 2

# The mirror that this host uses itself. Where apt has no lists yet there is none to be seen: mmdebstrap has its own default.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
    head -n 1 || true)

# Neither manuals nor translations: nobody reads them here, and they are a fifth of the files. No syncing of a file system that
# is thrown away when anything goes wrong. What one machine has for itself is made when the machine is (host keys, machine ID, names).
mmdebstrap --mode=root --variant=minbase --format=directory \
    --include="$(IFS=,; echo "$*")" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
    --customize-hook=': >"$1"/etc/machine-id' \
    "$suite" "$out/root" ${mirror:+"$mirror"}
