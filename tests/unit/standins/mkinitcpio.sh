# shellcheck shell=bash disable=SC2317 # hooks call the functions
# A stand-in for mkinitcpio (which Debian does not have): what its manual, mkinitcpio(8), says of the
# functions that install hooks call, and no more. Files really go to $BUILDROOT; modules are listed in
# $BUILDROOT/modules. $MODULE_FOLDER has the kernel's, $HOOK_FOLDER has `install` and `hooks`.
# Called with the configuration file: builds by its MODULES and HOOKS, and writes what the image's init
# reads, the modules and the runtime hooks in their order, to $BUILDROOT/config.

errors=0
early=() main=() late=() cleanup=()

error() {
	# shellcheck disable=SC2059 # mkinitcpio's takes a format
	printf "ERROR: $1\n" "${@:2}" >&2
}

map() {
	local each
	for each in "${@:2}"; do
		"$1" "$each"
	done
}

add_module() {
	local name=${1%\?} found
	found=$(find "$MODULE_FOLDER" -name "${name//_/[-_]}.ko*" -print -quit)
	if [[ $found ]]; then
		echo "${name//-/_}" >>"$BUILDROOT/modules"
	elif [[ $1 != *\? ]]; then
		error "module not found: '%s'" "$1"
		((++errors))
	fi
}

add_all_modules() {
	local filter='^$' path name found=0
	if [[ $1 == -f ]]; then
		filter=$2
		shift 2
	fi
	while read -r path; do
		[[ $path =~ $filter ]] && continue
		name=${path##*/}
		add_module "${name%.ko*}"
		found=1
	done < <(find "$MODULE_FOLDER" -name '*.ko*' | grep -E "$1" | sort)
	((found)) || ((++errors))
}

add_dir() {
	mkdir -p "$BUILDROOT$1"
}

# What is there already is replaced; `install` does that.
add_file() {
	if [[ ! -f $1 ]]; then
		error "file not found: '%s'" "$1"
		((++errors))
		return 1
	fi
	install -D -m "${3:-$(stat -L -c %a "$1")}" "$1" "$BUILDROOT${2:-$1}"
}

# A file where mkinitcpio has a link and its target, and the libraries that the program is linked to.
add_binary() {
	local path=$1 library
	[[ $1 == /* ]] || path=$(type -P "$1") || {
		error "binary not found: '%s'" "$1"
		((++errors))
		return 1
	}
	add_file "$path" "${2:-$path}" || return
	while read -r library; do
		[[ -e $BUILDROOT$library ]] || add_file "$library"
	done < <(ldd "$path" 2>/dev/null | grep -o '/[^ ]*')
}

add_symlink() {
	add_dir "${1%/*}"
	ln -sfn "${2:-$(readlink "$1")}" "$BUILDROOT$1"
}

# Less the programs that the rules call.
add_udev_rule() {
	add_file "/usr/lib/udev/rules.d/$1"
}

add_runscript() {
	local name=${BASH_SOURCE[1]##*/} path
	path=$HOOK_FOLDER/hooks/$name
	add_file "$path" "/hooks/$name" 755
	grep -q '^run_earlyhook()' "$path" && early+=("$name")
	grep -q '^run_hook()' "$path" && main+=("$name")
	grep -q '^run_latehook()' "$path" && late+=("$name")
	grep -q '^run_cleanuphook()' "$path" && cleanup=("$name" "${cleanup[@]}")
}

# shellcheck source=/dev/null # of the test
. "$1" || {
	error "cannot read the configuration '%s'" "$1"
	exit 1
}
map add_module "${MODULES[@]}"
for hook in "${HOOKS[@]}"; do
	unset -f build
	# shellcheck source=/dev/null # of the test
	. "$HOOK_FOLDER/install/$hook" || exit 1
	build
done
printf '%s="%s"\n' MODULES "${MODULES[*]}" EARLYHOOKS "${early[*]}" HOOKS "${main[*]}" \
	LATEHOOKS "${late[*]}" CLEANUPHOOKS "${cleanup[*]}" >"$BUILDROOT/config"
exit $((errors > 0))
