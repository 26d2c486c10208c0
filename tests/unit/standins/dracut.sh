# shellcheck shell=bash
# A stand-in for dracut: what dracut.modules(7) says of the functions and variables that our module
# uses, and no more. Files really go to $initdir; modules are listed in $initdir/modules, each with the
# value that `hostonly` had. $INCLUDED are the dracut modules that are in.
# Called with the module's folder and one of its functions.

export initdir systemdsystemunitdir=/usr/lib/systemd/system systemdutildir=/usr/lib/systemd
export moddir=$1

dracut_module_included() {
	[[ " $INCLUDED " == *" $1 "* ]]
}

inst_simple() {
	[[ -e $initdir${2:-$1} ]] && return 0
	[[ -e $1 ]] || return 1
	mkdir -p "$initdir$(dirname "${2:-$1}")"
	cp --preserve=mode "$1" "$initdir${2:-$1}"
}

inst_multiple() {
	local optional='' name path
	if [[ $1 == -o ]]; then
		optional=yes
		shift
	fi
	for name in "$@"; do
		path=$(type -P "$name") || path=$name
		inst_simple "$path" || [[ $optional ]] || echo "FAILED: $name" >&2
	done
}

inst_hook() {
	inst_simple "$3" "/hooks/$1/$2-${3##*/}"
}

instmods() {
	echo "hostonly='${hostonly-unset}' $*" >>"$initdir/modules"
}

dracut_instmods() {
	instmods "$@"
}

hostonly=-h
# shellcheck source=nbd-hook/dracut/module-setup.sh
. "$1/module-setup.sh"
"$2"
