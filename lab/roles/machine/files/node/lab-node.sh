#!/bin/sh
# Make this container fit to run containers.
set -eu

# nspawn mounts the control groups read-only. A plain "remount,rw" is refused as busy: only the flag of this mount is changed.
writable() {
    mount -o remount,bind,rw "$1"
}

if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    writable /sys/fs/cgroup
else
    writable /sys/fs/cgroup
    while read -r _ point type _; do
        case "$type $point" in
        "cgroup /sys/fs/cgroup/"*)
            writable "$point"
            # The kubelet's own root. What is in a new cpuset must be said before anything can be put into it.
            mkdir -p "$point/lab"
            for file in cpuset.cpus cpuset.mems; do
                [ ! -e "$point/lab/$file" ] || cat "$point/$file" >"$point/lab/$file"
            done
            ;;
        esac
    done </proc/self/mounts
fi

# The kubelet insists on some sysctls of the whole host, and sets those that differ. They are none of the lab's business: it
# gets to see files that say what it wants.
pretend() {
    mkdir -p "/run/lab/sysctl/$(dirname "$1")"
    echo "$2" >"/run/lab/sysctl/$1"
    mount --bind "/run/lab/sysctl/$1" "/proc/sys/$1"
}
pretend vm/overcommit_memory 1
pretend vm/panic_on_oom 0
pretend kernel/panic 10
pretend kernel/panic_on_oops 1
pretend kernel/keys/root_maxkeys 1000000
pretend kernel/keys/root_maxbytes 25000000

# Only this machine's network namespace.
echo 1 >/proc/sys/net/ipv4/ip_forward
