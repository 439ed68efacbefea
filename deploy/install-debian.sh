#!/bin/bash
# Installs what building, running and testing Atoll needs on Debian 12: PostgreSQL's programs, a linker, etcd, Patroni; with the
# argument `chaos` also what the fault suite needs. Does nothing when all is there. Debian's default cluster is not created, and
# no service is started.
set -euo pipefail

# pg_config alone proves nothing: the client library's package has one, too.
has_server() {
    local bin
    for bin in "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/{1[5-9],[2-9][0-9]}/bin; do
        [[ -x $bin/initdb && -x $bin/postgres ]] && return
    done
    return 1
}

packages=()
has_server || packages+=(postgresql-15)
# pgbench is in postgresql-15, psql and pg_dump in postgresql-client-15.
command -v psql >/dev/null || packages+=(postgresql-client-15)
command -v cc >/dev/null || packages+=(gcc)
[[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev)
# Tests run clusters of them; they are started by nothing else.
command -v etcd >/dev/null || packages+=(etcd-server)
command -v patroni >/dev/null || packages+=(patroni python3-etcd)
[[ -e /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
if [[ ${1:-} == chaos ]]; then
    command -v ip >/dev/null || packages+=(iproute2)
    command -v nft >/dev/null || packages+=(nftables)
    command -v etcdctl >/dev/null || packages+=(etcd-client)
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || packages+=(libfaketime)
fi
((${#packages[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing: ${packages[*]} (Debian's names), and there is no apt-get to install them with" >&2
    exit 1
fi
as_root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "missing: ${packages[*]}; install them as root" >&2; exit 1; }
    as_root=(sudo)
fi

echo "installing ${packages[*]}"
settings=/etc/postgresql-common/createcluster.conf
if [[ ! -e $settings ]]; then
    "${as_root[@]}" mkdir -p "${settings%/*}"
    echo 'create_main_cluster = false' | "${as_root[@]}" tee "$settings" >/dev/null
fi
# A policy of 101 lets packages configure without starting services, where the system has none of its own.
policy=/usr/sbin/policy-rc.d
ours=
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    ours=1
fi
cleanup() { [[ -z $ours ]] || "${as_root[@]}" rm -f "$policy"; }
trap cleanup EXIT

install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "${packages[@]}"
}
# The package lists may be missing or stale.
install || { "${as_root[@]}" apt-get update && install; }
