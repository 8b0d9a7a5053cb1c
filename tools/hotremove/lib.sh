# SPDX-License-Identifier: GPL-2.0-only
# What the host-side scripts share. Sourced with the repository as $PWD.
set -eu

die() {
	echo "error: $*" >&2
	exit 1
}

# explain DIRECTORY WHAT: why WHAT failed, if it is the disk
explain() {
	df -P "$1" | awk 'NR == 2 && $4 < 65536 { exit 1 }' ||
		die "$2 failed: the disk is full; free some space and run it again"
}

# run LOG WHAT COMMAND...: run quietly, show the end of the log on failure
run() {
	_log=$1 _what=$2
	shift 2
	mkdir -p "$(dirname "$_log")"
	"$@" >"$_log" 2>&1 && return
	tail -n 15 "$_log" >&2
	explain "$(dirname "$_log")" "$_what"
	die "$_what failed; the whole log is $_log"
}

GEOMETRIES="4k-39 4k-48 4k-52 16k-36 16k-47 16k-48 16k-52 64k-42 64k-48 64k-52"
GEOMETRY=${GEOMETRY:-4k-48}
KSRC=${KSRC:-}
if [ -n "$KSRC" ]; then
	base=build/ksrc-$(basename "$KSRC")
else
	base=build/6.12
fi

if [ "$(uname -m)" = aarch64 ]; then
	CROSS_COMPILE=
else
	CROSS_COMPILE=aarch64-linux-gnu-
fi
CC="ccache ${CROSS_COMPILE}gcc"
export CROSS_COMPILE

case " $GEOMETRIES " in
*" $GEOMETRY "*) ;;
*) die "GEOMETRY=$GEOMETRY is none of: $GEOMETRIES" ;;
esac

# The directory that the kernel in question is built in
flavour=
[ -z "${STOCK:-}" ] || flavour=-stock
[ -z "${DEBUG:-}" ] || flavour=$flavour-debug
kernel=$base/$GEOMETRY$flavour
