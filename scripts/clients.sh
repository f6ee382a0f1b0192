#!/usr/bin/env bash
# Builds what the clients of clients/ need and git does not have: generated code, and the compiled TypeScript.
#
#   scripts/clients.sh python FOLDER      to FOLDER/gen
#   scripts/clients.sh typescript FOLDER  to FOLDER/dist
#   scripts/clients.sh check              both, in a temporary folder: `make lint`
#
# The packages come from scripts/setup.sh. Nothing is fetched here, and nothing written outside FOLDER.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${FLASHSALE_TOOLS:-${FLASHSALE_HOME:-$root/.flashsale}/tools}
export PATH="$tools/bin:$PATH"

die() {
    printf 'clients: %s\n' "$@" >&2
    exit 1
}
need() { [[ -e $1 ]] || die "$1 is missing. Say: scripts/setup.sh test"; }

python() {
    need "$tools/bin/buf"
    need "$tools/clients/python/grpc_tools"
    (
        cd "$root/clients/python"
        PYTHONPATH="$tools/clients/python" PYTHONDONTWRITEBYTECODE=1 buf generate -o "$1"
        PYTHONPYCACHEPREFIX="$1/cache" python3 -m py_compile ./*.py
    )
}

typescript() {
    local modules="$tools/clients/typescript/node_modules"
    need "$tools/bin/buf"
    need "$modules/.bin/tsc"
    (
        cd "$root/clients/typescript"
        PATH="$modules/.bin:$PATH" buf generate -o "$1"
        cp -r src package.json tsconfig.json "$1"
        ln -sfn "$modules" "$1/node_modules"
        "$modules/.bin/tsc" --project "$1"
    )
}

case ${1:-} in
    python | typescript)
        [[ -n ${2:-} ]] || die "say: $1 FOLDER"
        mkdir -p "$2"
        "$1" "$(cd "$2" && pwd)"
        ;;
    check)
        home=${FLASHSALE_HOME:-$root/.flashsale}
        mkdir -p "$home"
        work=$(mktemp -d "$home/clients.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        trap 'exit 130' INT TERM
        mkdir "$work"/{python,typescript}
        python "$work/python"
        typescript "$work/typescript"
        ;;
    *) die "say: python FOLDER, typescript FOLDER or check" ;;
esac
