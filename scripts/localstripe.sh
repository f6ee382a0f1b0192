#!/usr/bin/env bash
# Runs a whole sale against localstripe, an imitation of Stripe that others wrote, and says what it took.
#
#   scripts/localstripe.sh [BUYERS=600 RATE=100 …]   the variables of `make run`
#
# It is installed by pip into .flashsale/, runs as a process of its own on a port of its own, and is stopped at the end. What
# is said comes from .flashsale/report.json and from localstripe's own books. Ends with 1 unless the run passed, an order was
# confirmed, none was charged twice, and both agree on the sum. Not part of `make test`: it needs the package index.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=${FLASHSALE_HOME:-$root/.flashsale}
version=1.15.10
packages=$home/localstripe-$version
# The newest version of the API before the parameters that localstripe does not know, and a key that is none of Stripe's.
api=2026-06-24
key=sk_test_12345

die() {
    printf 'localstripe: %s\n' "$@" >&2
    exit 1
}

mkdir -p "$home"
work=$(mktemp -d "$home/localstripe.XXXXXX")
server=
at_exit() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf -- "$work"
}
trap at_exit EXIT
trap 'exit 130' INT TERM

if [[ ! -e $packages/localstripe/server.py ]]; then
    echo "localstripe: installing localstripe $version into $packages"
    python3 -m pip install --quiet --disable-pip-version-check --target "$work/packages" "localstripe==$version" \
        >"$work/pip.log" 2>&1 || die "pip cannot install it:" "$(tail -n 15 "$work/pip.log")"
    rm -rf -- "$packages"
    mv "$work/packages" "$packages"
fi

port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
# It would write all of its books to one file in /tmp with each object, over those of another one on this machine.
PYTHONPATH=$packages PYTHONDONTWRITEBYTECODE=1 python3 -c '
from localstripe import resources, server
resources.Store.dump_to_disk = lambda self: None
server.start()' --port "$port" --from-scratch >"$work/log" 2>&1 &
server=$!
# An answer of any kind: without a key it is 401.
answers() { curl --silent --output /dev/null --max-time 2 "$url/v1/charges"; }
for _ in {1..100}; do
    answers && break
    kill -0 "$server" 2>/dev/null || die "it does not start:" "$(tail -n 15 "$work/log")"
    sleep 0.1
done
answers || die "it does not answer at $url:" "$(tail -n 15 "$work/log")"

# The report of an earlier run says nothing of this one.
rm -f -- "$home/report.json"
code=0
STRIPE_BASE_URL=$url STRIPE_VERSION=$api STRIPE_SECRET_KEY=$key make -C "$root" run "$@" || code=$?
[[ -e $home/report.json ]] || die "the run ended with $code and without a report"

curl --silent --fail --max-time 60 --header "Authorization: Bearer $key" \
    "$url/v1/payment_intents?limit=1000000" >"$work/intents.json" || die "its books cannot be read"
python3 - "$home/report.json" "$work/intents.json" <<'EOF' || die "the sale failed against localstripe $version"
import collections, json, sys

report, intents = (json.load(open(path)) for path in sys.argv[1:])
paid = [intent for intent in intents["data"] if intent["status"] == "succeeded"]
orders = collections.Counter(intent["metadata"].get("order_id") for intent in paid)
twice = [order for order, times in orders.items() if times > 1]
taken = sum(intent["latest_charge"]["amount"] for intent in paid)
confirmed, recorded = report["orders"]["confirmed"], report["payments"]["captured_minor"]
print(f"localstripe: {confirmed} orders confirmed of {report['orders']['accepted']} that were accepted")
print(f"localstripe: its books have {len(paid)} charges, {taken} minor units in all, {len(twice)} orders charged twice")
problems = [
    what
    for what, holds in [
        ("no order was confirmed", confirmed > 0),
        (f"charged twice: {twice}", not twice),
        (f"the record says {recorded} minor units", recorded == taken),
        ("the run itself did not pass", report["passed"]),
    ]
    if not holds
]
for problem in problems:
    print(f"localstripe: {problem}", file=sys.stderr)
sys.exit(1 if problems else 0)
EOF
[[ $code == 0 ]] || die "the run ended with $code"
