#!/bin/sh
# The layers of the sources (DESIGN, "Layers"): a file includes its own layer and lower
# ones, a third-party header is seen in one layer, and only cli prints or exits.
#
#     layers.sh SRC

set -u
cd "$1" || exit 1
failed=0

complain() {
	echo "$1"
	failed=1
}

# The layers below a layer; fails for what is no layer.
lower() {
	case $1 in
	cli) echo "migrate cookie journal qmp ssh base" ;;
	migrate) echo "cookie journal qmp ssh base" ;;
	cookie | journal | qmp | ssh) echo "base" ;;
	base) ;;
	*) return 1 ;;
	esac
}

# The layers that see a third-party header; fails for one of the system's.
owners() {
	case $1 in
	jansson.h) echo "qmp journal" ;;
	libssh2*.h) echo ssh ;;
	libxml/*) echo cookie ;;
	popt.h) echo cli ;;
	*) return 1 ;;
	esac
}

check_include() { # FILE LAYER HEADER
	if allowed=$(owners "$3"); then
		:
	elif lower "${3%%/*}" >/dev/null; then
		[ -e "$3" ] || complain "$1: there is no $3"
		case " $2 $(lower "$2") " in
		*" ${3%%/*} "*) return ;;
		esac
		allowed="layers above it"
	else
		return # the system's
	fi
	case " $allowed " in
	*" $2 "*) ;;
	*) complain "$1: includes $3, which is for $allowed" ;;
	esac
}

# The code without its comments and strings.
code() {
	sed 's#/\*.*\*/##; s#^[[:space:]]*/\{0,1\}\*.*##; s#//.*##; s/"[^"]*"/""/g' "$1" || exit
}

calls='v?printf|v?fprintf|v?dprintf|puts|putchar|fputs|putc|fputc|fwrite|perror|exit|_exit|_Exit'
prints="(^|[^_[:alnum:]])(($calls|quick_exit|abort|errx?|warnx?)[[:space:]]*\(|stdout|stderr|STD(OUT|ERR)_FILENO)"

check_prints() { # FILE
	found=$(code "$1" | grep -nE "$prints")
	# Out of memory: the one end that no caller could be told of.
	[ "$1" != base/str.c ] || found=$(echo "$found" | grep -vE 'STDERR_FILENO, words|abort\(\);')
	[ -z "$found" ] || complain "$1: only cli prints or exits: $found"
}

for file in */*.c */*.h; do
	layer=${file%%/*}
	lower "$layer" >/dev/null || complain "$file: $layer is no layer"
	for header in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]\([^>"]*\)[>"].*/\1/p' \
		"$file"); do
		check_include "$file" "$layer" "$header"
	done
	for header in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file"); do
		[ -e "$header" ] || complain "$file: there is no $header (name it LAYER/FILE)"
	done
	[ "$layer" = cli ] || check_prints "$file"
done
exit $failed
