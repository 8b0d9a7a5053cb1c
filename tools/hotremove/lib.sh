# SPDX-License-Identifier: GPL-2.0-only
# What the host-side scripts share. Sourced with the repository as $PWD.
set -eu

# What tools say is looked into
export LC_ALL=C.UTF-8
unset LANGUAGE

# So that what a script has to do at its end is done
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
	echo "error: $*" >&2
	exit 1
}

# explain DIRECTORY WHAT: why WHAT failed, if it is the disk
explain() {
	df -P "$1" | awk 'NR == 2 && $4 < 65536 { exit 1 }' ||
		die "$2 failed: the disk is full; free some space and run it again"
}

# failed LOG WHAT: show the end of the log
failed() {
	tail -n 15 "$1" >&2 || :
	explain "$(dirname "$1")" "$2"
	die "$2 failed; the whole log is $1"
}

# run LOG WHAT COMMAND...: run quietly
run() {
	_log=$1 _what=$2
	shift 2
	mkdir -p "$(dirname "$_log")"
	"$@" >"$_log" 2>&1 || failed "$_log" "$_what"
}

# Two commands in one clone do not make the same at the same time
lock() {
	mkdir -p build
	exec 9>>build/lock
	flock -n 9 || {
		echo "Waiting for another command in this clone" >&2
		flock 9
	}
}

GEOMETRIES="4k-39 4k-48 4k-52 16k-36 16k-47 16k-48 16k-52 64k-42 64k-48 64k-52"
GEOMETRY=${GEOMETRY:-4k-48}
KSRC=${KSRC:-}
# Make, and shells in it, take paths apart at these
case $PWD$KSRC in
*[][[:space:]\'\"\`\$\\\;\&\|\<\>\(\)*?\#:=%]*) die "'$PWD' or KSRC='$KSRC': a path without spaces, quotes, brackets and any of \$ ; & | < > * ? # : = %, please" ;;
esac
# Many trees are called linux
ksrc=${KSRC:+$(basename "$KSRC")-$(realpath -m "$KSRC" | cksum | cut -c 1-4)}
base=build/${KSRC:+ksrc-}${ksrc:-6.12}

# How many guests are tested at a time: each keeps one CPU busy, more or less
jobs=${JOBS:-$(n=$(nproc); echo $((n < 4 ? n : 4)))}
case $jobs in
*[!0-9]* | 0*) die "JOBS=$jobs is not a number from 1 on" ;;
esac

if [ "$(uname -m)" = aarch64 ]; then
	CROSS_COMPILE=
else
	CROSS_COMPILE=aarch64-linux-gnu-
fi
CC="ccache ${CROSS_COMPILE}gcc"
export CROSS_COMPILE

case $GEOMETRY in
*" "*) die "GEOMETRY='$GEOMETRY': one at a time" ;;
esac
case " $GEOMETRIES " in
*" $GEOMETRY "*) ;;
*) die "GEOMETRY=$GEOMETRY is none of: $GEOMETRIES" ;;
esac

# The directory that the kernel in question is built in, unless told: KERNEL_OUT
flavour=
[ -z "${STOCK:-}" ] || flavour=-stock
case ${DEBUG:-} in
"") ;;
1) flavour=$flavour-debug ;;
light | kasan | pagealloc | kcsan) flavour=$flavour-$DEBUG ;;
*) die "DEBUG=$DEBUG is none of: 1 light kasan pagealloc kcsan" ;;
esac
kernel=${KERNEL_OUT:-$base/$GEOMETRY$flavour}

# ---- git ----

# What our own make was told is not meant for the kernel's
unset MAKEFLAGS MFLAGS MAKEOVERRIDES

# Whatever the caller's repository and settings are, ours give the same commits
clean_git_environment() {
	unset GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE
	export GIT_AUTHOR_DATE="2026-01-01T00:00:00Z" GIT_COMMITTER_DATE="2026-01-01T00:00:00Z"
}

# touched SUFFIX: the files with that suffix in which the series changes an arm64 kernel
touched() { git -C $base/linux diff --name-only base series | grep "\.$1\$" | grep -v -e ^tools/ -e ^arch/powerpc/; }

# Commits are made by who signs them off, else git's user, else the maintainers
author_is_somebody() {
	who=${SIGNOFF:-}
	[ -n "$who" ] || who=$(git -c user.useConfigOnly=true var GIT_AUTHOR_IDENT 2>/dev/null) ||
		who=$(sed -n 's/^M:[[:space:]]*//p' MAINTAINERS | head -n 1)
	_name=${who%% <*} _mail=${who#*<}
	_mail=${_mail%%>*}
	case "$_name <$_mail>" in
	?*" <"?*@?*">") ;;
	*) die "'$who' is not like 'Name <mail@example.org>'" ;;
	esac
	export GIT_AUTHOR_NAME="$_name" GIT_AUTHOR_EMAIL="$_mail"
	export GIT_COMMITTER_NAME="$_name" GIT_COMMITTER_EMAIL="$_mail"
}

# point COMMIT: which release that is
point() { git show "$1:Makefile" | sed -n 's/^SUBLEVEL = /6.12./p'; }

# place NAME: where results go, apart for each KSRC
place() { echo "build/$1${ksrc:+-$ksrc}"; }
