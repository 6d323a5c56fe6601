#!/usr/bin/env bash
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The alternative that the benchmark compares with: VMs onboarded by istioctl and ssh alone, as fast as that goes with the same
# safety steps: capture apart from the sidecar and only once it is ready, a timer that undoes it, a look through the capture over
# a new ssh connection, units enabled after that.
#
# Usage: tools/bench/onboard.sh RELEASE_URL VERSION GATEWAY ADDRESS...      (LAB_SSH and KUBECONFIG are set)
set -euo pipefail
releases=$1 version=$2 gateway=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kubectl get workloadgroup -n chapter10vm envoydummy -o yaml >"$work/group.yaml"

onboard() {
    local address=$1 files=$work/$1
    mkdir "$files"
    istioctl x workload entry configure -f "$work/group.yaml" -o "$files" --clusterID cluster1 --autoregister \
        --ingressIP "$gateway" --internalIP "$address" >/dev/null 2>&1
    # shellcheck disable=SC2086
    tar -C "$files" -c . | $LAB_SSH "root@$address" "
        set -e
        mkdir -p /root/bench && tar -C /root/bench -x
        cd /root/bench
        curl -sfO $releases/$version/deb/istio-sidecar.deb
        curl -sfO $releases/$version/deb/istio-sidecar.deb.sha256
        echo \"\$(cut -d' ' -f1 istio-sidecar.deb.sha256)  istio-sidecar.deb\" | sha256sum --check --quiet
        dpkg -i istio-sidecar.deb >/dev/null
        apt-mark hold istio-sidecar >/dev/null
        install -o istio-proxy -m 0600 root-cert.pem /etc/certs/root-cert.pem
        install -o istio-proxy -m 0644 cluster.env /var/lib/istio/envoy/cluster.env
        mkdir -p /etc/istio/config && install -o istio-proxy -m 0644 mesh.yaml /etc/istio/config/mesh
        install -d -o istio-proxy -m 0755 /var/run/secrets && install -d -o istio-proxy -m 0700 /var/run/secrets/tokens
        install -o istio-proxy -m 0600 istio-token /var/run/secrets/tokens/istio-token
        cat hosts >> /etc/hosts
        chown -R istio-proxy /etc/istio/proxy /etc/certs 2>/dev/null || true
        mkdir -p /etc/systemd/system/istio.service.d
        printf '[Service]\nEnvironment=ISTIO_CUSTOM_IP_TABLES=true ISTIO_SVC_IP=$address\n' > /etc/systemd/system/istio.service.d/bench.conf
        systemctl daemon-reload
        systemd-run --quiet --unit=bench-deadman --on-active=60 --timer-property=AccuracySec=100ms \
            sh -c 'pilot-agent istio-iptables --cleanup-only; systemctl stop istio'
        systemctl start istio
        until curl -sf -o /dev/null http://127.0.0.1:15021/healthz/ready; do sleep 0.2; done
        set -a; . /var/lib/istio/envoy/cluster.env; ISTIO_LOCAL_EXCLUDE_PORTS=\$ISTIO_LOCAL_EXCLUDE_PORTS,22
        # Or this very session would be taken for a new connection, and captured.
        iptables -t nat -A OUTPUT -p tcp ! --syn -j ACCEPT
        pilot-agent istio-iptables >/dev/null 2>&1"
    # A new connection, as LAB_SSH shares none.
    # shellcheck disable=SC2086
    $LAB_SSH "root@$address" "
        set -e
        getent hosts vm1.lab.test >/dev/null
        curl -sf -m 5 -o /dev/null $releases/
        curl -sf -m 5 -o /dev/null http://workbench.lab.svc.cluster.local/
        systemctl stop bench-deadman.timer
        systemctl enable --quiet istio"
}

pids=()
for address in "$@"; do
    onboard "$address" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid"
done
