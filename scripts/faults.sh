#!/usr/bin/env bash
# Plants faults in a copy of the tree and checks that they are found: scripts/faults.sh planted|mutations [NAME …]  (make faults)
#
# A check that cannot fail proves nothing; this shows that ours can. Each tests/<suite>/<name>.patch breaks something on
# purpose. Applied to the copy, the check must be red; with the patch taken back, the same check must be green.
#
#   planted     the check is a whole run, `make run`: it must end with an error *and* its report must name the broken promise
#   mutations   the check is one test: it must fail
#
# In front of its diff a patch says what it breaks, how to check and what to expect:
#   # run: BUYERS=400 QUANTITY=20     planted: variables for `make run` (may be empty)
#   # expect: I1                      planted: the promise that the report must call broken
#   # test: test(=fence::a_name)      mutations: the test, as a filter of the test runner
#   # binary: inventory               mutations: the name of the test program it is in: only that one is built
#
# The verdicts go to .flashsale/faults.json under the suite's name; logs stay in .flashsale/faults/<suite>/.
# shellcheck disable=SC2329 # functions are called by the suite's name
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
suite=${1:-}
case $suite in planted | mutations) shift ;; *)
    echo "usage: scripts/faults.sh planted|mutations [NAME …]" >&2
    exit 2
    ;;
esac
home=$(mkdir -p "${FLASHSALE_HOME:-.flashsale}" && cd "${FLASHSALE_HOME:-.flashsale}" && pwd)
work=$home/faults
logs=$work/$suite
tree=$work/tree
report=$tree/.flashsale/report.json

die() {
    echo "$suite: $*" >&2
    exit 1
}

command -v git >/dev/null || die "git is needed, to list and to patch the tree"
command -v python3 >/dev/null || die "python3 is needed, to read the reports"

patches=()
if (($# > 0)); then
    for name in "$@"; do patches+=("tests/$suite/$name.patch"); done
else
    shopt -s nullglob
    patches=(tests/"$suite"/*.patch)
fi
((${#patches[@]} > 0)) || die "there is no tests/$suite/*.patch"
for patch in "${patches[@]}"; do [[ -r $patch ]] || die "there is no $patch"; done

mkdir -p "$logs"
exec 9>"$work/.lock"
flock -n 9 || die "another one is at it in $work"

# The copy has builds, data and a report of its own, which the suites share; only the tools are the tree's.
export FLASHSALE_TOOLS=${FLASHSALE_TOOLS:-$home/tools}
export CARGO_TARGET_DIR=$work/target
export SQLX_OFFLINE=true PATH=$FLASHSALE_TOOLS/bin:$PATH
unset FLASHSALE_HOME
# So that git takes the copy for a plain folder, not for an ignored part of this repository.
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

# Each suite has four functions: read_headers PATCH; build; check LOG, whose exit code it returns; found CODE, whether that is the
# red which the patch promises. `subject` is what a verdict names besides the patch.

planted_read_headers() {
    subject=$(header expect "$1")
    read -r -a variables <<<"$(header run "$1")"
    [[ $subject =~ ^I[1-9]$ ]] || die "$1 does not say which promise it breaks (# expect: I1)"
    local variable
    for variable in ${variables[@]+"${variables[@]}"}; do
        [[ $variable =~ ^[A-Z_]+=[A-Za-z0-9_./:,-]*$ ]] || die "$1: '$variable' is no variable for make run"
    done
}

planted_build() { make -C "$tree" --no-print-directory build; }

planted_check() {
    rm -f "$report"
    make -C "$tree" --no-print-directory run ${variables[@]+"${variables[@]}"} >"$1" 2>&1
}

planted_found() {
    (($1 != 0)) && [[ -r $report ]] && python3 - "$report" "$subject" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
sys.exit(0 if report["invariants"].get(sys.argv[2]) is False else 1)
PYTHON
}

mutations_read_headers() {
    subject=$(header test "$1")
    binary=$(header binary "$1")
    [[ -n $subject ]] || die "$1 does not say which test finds it (# test: …)"
    [[ $binary =~ ^[a-z0-9_-]+$ ]] || die "$1 does not say which program the test is in (# binary: …)"
}

# The packages are those of every build, so that dependencies have the same features and are not compiled again.
mutations_build() {
    (cd "$tree" && cargo build --workspace --bin flashsale-sandbox && cargo nextest run --workspace --test "$binary" --no-run)
}

mutations_check() {
    (cd "$tree" && "$CARGO_TARGET_DIR/debug/flashsale-sandbox" exec -- \
        cargo nextest run --workspace --test "$binary" --no-tests fail -E "$subject") >"$1" 2>&1
}

# The test runner's own code for tests that failed: any other code, as for a malformed filter, is no verdict.
mutations_found() { (($1 == 100)); }

verdicts=$logs/verdicts
: >"$verdicts"
failed=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    "${suite}_read_headers" "$patch"
    red=false
    green=false

    echo "$suite: $name: putting it in (logs: $logs/$name.*.log)"
    refresh
    git -C "$tree" apply --check -p1 "$root/$patch" || die "$patch does not apply; the code it breaks has moved"
    git -C "$tree" apply -p1 "$root/$patch"
    if ! "${suite}_build" >"$logs/$name.build.log" 2>&1; then
        tail -n 30 "$logs/$name.build.log" >&2
        echo "$suite: $name: does not compile when patched, so that it proves nothing" >&2
        printf '%s\t%s\tfalse\tfalse\n' "$name" "$subject" >>"$verdicts"
        failed=1
        git -C "$tree" apply -R -p1 "$root/$patch"
        continue
    fi
    code=0
    "${suite}_check" "$logs/$name.red.log" || code=$?
    if "${suite}_found" "$code"; then
        red=true
        echo "$suite: $name: found ($subject, code $code)"
    else
        echo "$suite: $name: NOT FOUND, the check ended with $code; $subject does not notice it" >&2
        tail -n 30 "$logs/$name.red.log" >&2
        failed=1
    fi

    git -C "$tree" apply -R -p1 "$root/$patch"
    code=0
    { "${suite}_build" >"$logs/$name.build.log" 2>&1 && "${suite}_check" "$logs/$name.green.log"; } || code=$?
    if ((code == 0)); then
        green=true
        echo "$suite: $name: clean without it"
    else
        echo "$suite: $name: the check ends with $code WITHOUT the fault too, so that it proves nothing" >&2
        tail -n 30 "$logs/$name.green.log" >&2
        failed=1
    fi
    printf '%s\t%s\t%s\t%s\n' "$name" "$subject" "$red" "$green" >>"$verdicts"
done

python3 - "$home/faults.json" "$suite" "$verdicts" "${#patches[@]}" <<'PYTHON'
import json, pathlib, sys

path, suite, verdicts, asked = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
subject_is = {"planted": "invariant", "mutations": "test"}[suite]
rows = [line.rstrip("\n").split("\t") for line in open(verdicts)]
patches = [
    {"name": name, subject_is: subject, "red": red == "true", "green": green == "true"}
    for name, subject, red, green in rows
]
faults = json.loads(path.read_text()) if path.exists() else {}
faults[suite] = {
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
echo "$suite: verdicts are in $home/faults.json"
exit "$failed"
