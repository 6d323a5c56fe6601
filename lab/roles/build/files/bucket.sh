#!/bin/bash
# The release bucket with all its versions, to be served over HTTP. The files are shared with the versions' own folders.
# usage: bucket.sh OUT VERSION_FOLDER...
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
out=$1
shift
for folder in "$@"; do
    cp --archive --link "$folder/." "$out/"
done
