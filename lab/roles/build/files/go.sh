#!/bin/bash
# Builds programs of one Go module.
# usage: go.sh OUT MODULE LDFLAGS [NAME=]PACKAGE...
#   NAME  what the program is to be called, where the package's own name is not it
# environment: LAB_SOURCES (the folder with the modules), LAB_GO (the go command)
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
out=$1 module=$2 ldflags="-s -w $3"
shift 3

# The user's own flags would make for other results under the same key; the toolchain is the one that the key names.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off

cd "$LAB_SOURCES/$module"
packages=()
for package in "$@"; do
    case $package in
        *=*) "$LAB_GO" build -v -buildvcs=false -o "$out/${package%%=*}" -ldflags "$ldflags" "${package#*=}" ;;
        *) packages+=("$package") ;;
    esac
done
if [ ${#packages[@]} -gt 0 ]; then
    "$LAB_GO" build -v -buildvcs=false -o "$out/" -ldflags "$ldflags" "${packages[@]}"
fi
