#!/bin/bash
# Everything that `make bench` measures, as Markdown on standard output; what it
# is at goes to standard error. Called from anywhere, after `make build`.
#
#   BENCH_SHORT=1     a few minutes instead of about twenty, with rougher figures
#   BENCH_ONLY=...    hotpath, steady, scale, server or delivery alone
#   BENCH_DISK=...    folder on a disk for the server's second run of writing
#                     and for delivery; "" for none (delivery is left out then).
#                     Default: TMPDIR or /tmp
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/${BIN:-bin/logtail}
tools=$(mktemp -d)
export BENCH_SCRATCH
BENCH_SCRATCH=$(mktemp -d -p "$([[ -d /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" logtail-bench-XXXXXX)
disk=${BENCH_DISK-${TMPDIR:-/tmp}}
[[ -z $disk ]] || disk=$(mktemp -d -p "$disk" logtail-bench-XXXXXX)
trap 'rm -rf "$tools" "$BENCH_SCRATCH" ${disk:+"$disk"}' EXIT
if [[ $(uname) != Linux ]]; then
	echo "bench: the measurements read /proc and run on Linux only" >&2
	exit 1
fi

hotpath=(-mb 512 -repeats 7) steady=(-seconds 60) scale=() server=(-rows 1000000) delivery=(-rounds 5)
if [[ ${BENCH_SHORT:-} == 1 ]]; then
	hotpath=(-mb 128 -repeats 5) steady=(-seconds 15 -idle 10)
	scale=(-dirs 1000 -idle 15 -probes 50 -growing 2000 -load 10 -backlog 256 -line 20)
	server=(-rows 250000 -repeats 1 -runs 20) delivery=(-rounds 2 -repeats 0 -mb 128 -paced 50)
fi
server+=(-disk "$disk") delivery+=(-disk "$disk")

go build -o "$tools" ./bench/...
printf 'Commit %s.\n\n' "$(git describe --always --dirty 2>/dev/null || echo unknown)"
load() { cut -d' ' -f1 /proc/loadavg; }
for program in hotpath steady scale server delivery; do
	if [[ -n ${BENCH_ONLY:-} && $BENCH_ONLY != "$program" ]]; then continue; fi
	if [[ $program == delivery && -z $disk ]]; then continue; fi # in memory, fsync costs nothing
	declare -n arguments=$program
	printf '## %s\n\nLoad average before: %s.\n' "$program" "$(load)"
	"$tools/$program" -bin "$bin" "${arguments[@]}"
done
