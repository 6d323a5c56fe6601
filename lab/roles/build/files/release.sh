#!/bin/bash
# One version of the release bucket: the package for VMs and the istioctl archive, named and laid out as Istio's own are.
# usage: release.sh OUT VERSION ISTIO ENVOY
#   ISTIO  folder with that version's programs and packaging files
#   ENVOY  the Envoy program
# SPDX-License-Identifier: GPL-3.0-or-later
set -euo pipefail
umask 022
out=$1 version=$2 istio=$3 envoy=$4
bucket=$out/releases/$version
mkdir -p "$bucket/deb"

tree=$out/tree
install -D -t "$tree/usr/local/bin" "$istio/pilot-agent" "$envoy" "$istio/packaging/istio-start.sh"
install -D -m 0644 -t "$tree/lib/systemd/system" "$istio/packaging/istio.service"
install -D -m 0644 -t "$tree/var/lib/istio/envoy" "$istio/packaging/sidecar.env"
install -D -m 0644 "$istio/packaging/envoy_bootstrap.json" "$tree/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
install -D -m 0755 "$istio/packaging/postinst.sh" "$tree/DEBIAN/postinst"
# The two that an administrator may have edited: dpkg asks before it replaces them, as with the real package.
printf '%s\n' /var/lib/istio/envoy/envoy_bootstrap_tmpl.json /var/lib/istio/envoy/sidecar.env >"$tree/DEBIAN/conffiles"
# Istio's own packages leave the first dash out of the version, too (1.31.0-rc.0 is 1.31.0rc.0).
cat >"$tree/DEBIAN/control" <<CONTROL
Package: istio-sidecar
Version: ${version/-/}
Architecture: $(dpkg --print-architecture)
Maintainer: the lab of hybridmesh.istio <nobody@lab.test>
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f 1)
Depends: iproute2, iptables, sudo, hostname
Section: net
Priority: optional
Homepage: https://istio.io/
Description: Istio Sidecar
 Put together for a test bed from Istio's own sources and upstream Envoy; not a package of the Istio project.
CONTROL
dpkg-deb --root-owner-group -Zzstd -z1 --build "$tree" "$bucket/deb/istio-sidecar.deb"
rm -r "$tree"

tar --create --owner=root --group=root --directory "$istio" istioctl |
    gzip -1 >"$bucket/istioctl-$version-linux-amd64.tar.gz"

for file in "$bucket/deb/istio-sidecar.deb" "$bucket/istioctl-$version-linux-amd64.tar.gz"; do
    # One blank, not sha256sum's two: so are the files in Istio's bucket.
    printf '%s %s\n' "$(sha256sum "$file" | cut -d ' ' -f 1)" "${file##*/}" >"$file.sha256"
done
