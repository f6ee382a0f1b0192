#!/usr/bin/env bash
# Plants faults and sees that a run finds them: scripts/planted.sh [NAME …]  (make faults)
#
# Each tests/planted/<name>.patch breaks one promise on purpose. Applied to a copy of the tree, `make run` must end with an
# error *and* its report must name the promise; with the patch taken back, the same run must be clean. A check that cannot
# fail proves nothing, and this is how we know that the audit can.
#
# In front of its diff a patch says how to run and what to expect:
#   # run: BUYERS=400 QUANTITY=20     variables for `make run` (may be empty)
#   # expect: I1                      the promise that the report must call broken
#
# The verdicts go to .flashsale/faults.json under "planted" (docs/faults.md); logs stay in .flashsale/planted/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
home=$(mkdir -p "${FLASHSALE_HOME:-.flashsale}" && cd "${FLASHSALE_HOME:-.flashsale}" && pwd)
work=$home/planted
tree=$work/tree
report=$tree/.flashsale/report.json

die() {
    echo "planted: $*" >&2
    exit 1
}

command -v git >/dev/null || die "git is needed, to list and to patch the tree"
command -v python3 >/dev/null || die "python3 is needed, to read the reports"

patches=()
if (($# > 0)); then
    for name in "$@"; do patches+=("tests/planted/$name.patch"); done
else
    shopt -s nullglob
    patches=(tests/planted/*.patch)
fi
((${#patches[@]} > 0)) || die "there is no tests/planted/*.patch"
for patch in "${patches[@]}"; do [[ -r $patch ]] || die "there is no $patch"; done

mkdir -p "$work"
exec 9>"$work/.lock"
flock -n 9 || die "another one is at it in $work"

# The copy has builds, data and a report of its own; only the tools are shared.
export FLASHSALE_TOOLS=${FLASHSALE_TOOLS:-$home/tools}
export CARGO_TARGET_DIR=$work/target
unset FLASHSALE_HOME
# So that git takes the copy for what it is, a plain folder, and not for an ignored part of this repository.
export GIT_CEILING_DIRECTORIES=$work
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# header NAME FILE
header() { sed -n "/^diff --git\|^--- /q; s/^# $1: *//p" "$2" | head -n 1; }

# Brings the copy to the state of the tree. A file that is the same keeps its time stamp, so that a build compiles only
# what a patch touches; one that differs gets a new one, so that a build never takes a patched crate for the plain one.
refresh() {
    mkdir -p "$tree"
    local file
    declare -A wanted=()
    while IFS= read -r -d '' file; do
        [[ -f $file ]] || continue
        wanted[$file]=1
        if ! cmp -s "$file" "$tree/$file"; then
            mkdir -p "$tree/$(dirname "$file")"
            # Not -p, and through a new file: the time stamp must be now.
            rm -f "$tree/$file"
            cp "$file" "$tree/$file"
        fi
    done < <(git ls-files -z --cached --others --exclude-standard)
    while IFS= read -r -d '' file; do
        file=${file#"$tree"/}
        [[ -n ${wanted[$file]:-} ]] || rm -f "$tree/$file"
    done < <(find "$tree" -path "$tree/.flashsale" -prune -o -type f -print0)
}

# broken PROMISE: does the copy's report call it broken?
broken() {
    [[ -r $report ]] && python3 - "$report" "$1" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
sys.exit(0 if report["invariants"].get(sys.argv[2]) is False else 1)
PYTHON
}

# run_once LOG VARIABLE=VALUE…: one `make run` in the copy; its exit code.
run_once() {
    local log=$1
    shift
    rm -f "$report"
    make -C "$tree" --no-print-directory run "$@" >"$log" 2>&1
}

verdicts=$work/verdicts
: >"$verdicts"
failed=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    promise=$(header expect "$patch")
    read -r -a variables <<<"$(header run "$patch")"
    [[ $promise =~ ^I[1-8]$ ]] || die "$patch does not say which promise it breaks (# expect: I1)"
    for variable in ${variables[@]+"${variables[@]}"}; do
        [[ $variable =~ ^[A-Z_]+=[A-Za-z0-9_./:,-]*$ ]] || die "$patch: '$variable' is no variable for make run"
    done
    red=false
    green=false

    echo "planted: $name: planting it (logs: $work/$name.*.log)"
    refresh
    git -C "$tree" apply --check -p1 "$root/$patch" || die "$patch does not apply; the code it breaks has moved"
    git -C "$tree" apply -p1 "$root/$patch"
    if ! make -C "$tree" --no-print-directory build >"$work/$name.build.log" 2>&1; then
        tail -n 30 "$work/$name.build.log" >&2
        die "$name does not compile when patched"
    fi
    code=0
    run_once "$work/$name.red.log" ${variables[@]+"${variables[@]}"} || code=$?
    if ((code != 0)) && broken "$promise"; then
        red=true
        echo "planted: $name: found, the run ended with $code and names $promise"
    else
        echo "planted: $name: NOT FOUND, the run ended with $code; $promise is not called broken" >&2
        tail -n 30 "$work/$name.red.log" >&2
        failed=1
    fi

    git -C "$tree" apply -R -p1 "$root/$patch"
    code=0
    run_once "$work/$name.green.log" ${variables[@]+"${variables[@]}"} || code=$?
    if ((code == 0)); then
        green=true
        echo "planted: $name: clean without it"
    else
        echo "planted: $name: the run ends with $code WITHOUT the fault too, so that it proves nothing" >&2
        tail -n 30 "$work/$name.green.log" >&2
        failed=1
    fi
    echo "$name $promise $red $green" >>"$verdicts"
done

python3 - "$home/faults.json" "$verdicts" "${#patches[@]}" <<'PYTHON'
import json, pathlib, sys

path, verdicts, asked = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rows = [line.split() for line in open(verdicts)]
patches = [
    {"name": name, "invariant": invariant, "red": red == "true", "green": green == "true"}
    for name, invariant, red, green in rows
]
faults = json.loads(path.read_text()) if path.exists() else {}
faults["planted"] = {
    "asked": asked,
    "done": len(patches),
    "red": sum(patch["red"] for patch in patches),
    "green": sum(patch["green"] for patch in patches),
    "patches": patches,
}
new = path.with_suffix(".new")
new.write_text(json.dumps(faults, indent=2) + "\n")
new.replace(path)
PYTHON
echo "planted: verdicts are in $home/faults.json"
exit "$failed"
