#!/bin/bash
# Takes programs out of a package of Debian, with the C library that they load. Nothing is installed.
# usage: programs.sh OUT SUITE PACKAGE PROGRAM...
#   PROGRAM  its path, without the leading slash
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2016  # what stands in single quotes is for apt to expand
set -euo pipefail
out=$1 suite=$2 package=$3
shift 3

# The mirror that this host uses itself; see rootfs.sh.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
    head -n 1 || true)
mmdebstrap --mode=root --variant=extract --format=directory --include="$package" "$suite" "$out/root" ${mirror:+"$mirror"}

for program in "$@"; do
    install -D -t "$out" "$out/root/$program"
done
cp -t "$out" "$out"/root/usr/lib/*-linux-gnu*/{ld-linux-*.so.*,libc.so.6}
rm -r "$out/root"
# Whatever else a program wants to load is told here, not in a container that doesn't start.
loader=("$out"/ld-linux-*.so.*)
for program in "$@"; do
    "${loader[0]}" --library-path "$out" "$out/${program##*/}" --version
done
