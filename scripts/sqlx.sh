#!/usr/bin/env bash
# The queries' types, checked against a database when they are written and from .sqlx/ when they are built.
#
#   scripts/sqlx.sh prepare   regenerates .sqlx/ (make sqlx-prepare): after a change of a query or a migration
#   scripts/sqlx.sh check     fails if `prepare` would change anything (make lint)
#
# No extra tool is needed: with SQLX_OFFLINE_DIR and DATABASE_URL set, the query macros write what they learned. Data of
# removed queries would stay for ever, so the folder always starts empty.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
verb=${1:-}
case $verb in prepare | check) ;; *)
    echo "usage: scripts/sqlx.sh prepare|check" >&2
    exit 2
    ;;
esac

target=${CARGO_TARGET_DIR:-target}
home=${FLASHSALE_HOME:-.flashsale}
mkdir -p "$home"
fresh=$(mktemp -d "$home/sqlx.XXXXXX")
fresh=$(cd "$fresh" && pwd)

# A crate that is up to date is not compiled, so its queries would write nothing: the roots of the crates that use sqlx
# get a new time stamp, and their own one back afterwards, so that the next build does not compile them again.
roots=()
while IFS= read -r manifest; do
    for root in "${manifest%Cargo.toml}"src/lib.rs "${manifest%Cargo.toml}"src/main.rs \
        "${manifest%Cargo.toml}"src/bin/*.rs "${manifest%Cargo.toml}"tests/*.rs; do
        if [[ -e $root ]]; then roots+=("$root"); fi
    done
done < <(grep -lE '^sqlx(\.| *=)' libs/*/Cargo.toml services/*/Cargo.toml tools/*/Cargo.toml \
    tests/Cargo.toml)
stamps=$(mktemp -d)
for index in "${!roots[@]}"; do touch -r "${roots[$index]}" "$stamps/$index"; done
at_exit() {
    local index
    for index in "${!roots[@]}"; do touch -r "$stamps/$index" "${roots[$index]}"; done
    rm -rf "$stamps" "$fresh"
}
trap at_exit EXIT

# The whole workspace, as everywhere: with fewer packages features differ and dependencies are built once more.
cargo build --quiet --workspace --bin flashsale-sandbox --bin flashsale-migrate
touch "${roots[@]}"
# shellcheck disable=SC2016 # the inner shell expands these
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh "$target/debug/flashsale-sandbox" exec -- bash -euo pipefail -c '
    export DATABASE_URL=$FLASHSALE_TEST_PG_URL
    "$0"
    cargo check --quiet --workspace --all-targets
' "$target/debug/flashsale-migrate"

shopt -s nullglob
written=("$fresh"/query-*.json)
if ((${#written[@]} == 0)); then
    echo "sqlx: no query was seen at all, which cannot be" >&2
    exit 1
fi
if [[ $verb == prepare ]]; then
    rm -rf .sqlx
    mkdir .sqlx
    cp "${written[@]}" .sqlx/
    echo "sqlx: .sqlx/ has ${#written[@]} queries; commit it"
elif ! diff -r "$fresh" .sqlx >&2; then
    echo "sqlx: .sqlx/ is not what the queries and migrations say; run 'make sqlx-prepare' and commit it" >&2
    exit 1
else
    echo "sqlx: .sqlx/ is up to date (${#written[@]} queries)"
fi
