# shellcheck shell=bash disable=SC2317 # hooks call the functions
# A stand-in for mkinitcpio (which Debian does not have): what its manual, mkinitcpio(8), says of the
# functions that install hooks call, and no more. Files really go to $BUILDROOT; modules are listed in
# $BUILDROOT/modules. $MODULE_FOLDER has the kernel's, $HOOK_FOLDER has `install` and `hooks`.
# Called with the configuration file: builds by its HOOKS, and writes the runtime hooks' order to
# $BUILDROOT/config.

errors=0
runtime=()

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

add_file() {
	if [[ ! -f $1 ]]; then
		error "file not found: '%s'" "$1"
		((++errors))
		return 1
	fi
	install -D -m "${3:-$(stat -c %a "$1")}" "$1" "$BUILDROOT${2:-$1}"
}

# Through links, as mkinitcpio's does where it is told a mode.
add_binary() {
	local path
	path=$(type -P "$1") || {
		error "binary not found: '%s'" "$1"
		((++errors))
		return 1
	}
	mkdir -p "$BUILDROOT${path%/*}"
	cat "$path" >"$BUILDROOT$path"
	chmod 755 "$BUILDROOT$path"
}

add_symlink() {
	mkdir -p "$BUILDROOT${1%/*}"
	ln -sfn "$2" "$BUILDROOT$1"
}

add_runscript() {
	local name=${BASH_SOURCE[1]##*/}
	add_file "$HOOK_FOLDER/hooks/$name" "/hooks/$name" 755
	grep -q '^run_hook()' "$HOOK_FOLDER/hooks/$name" && runtime+=("$name")
}

# shellcheck source=/dev/null # of the test
. "$1" || {
	error "cannot read the configuration '%s'" "$1"
	exit 1
}
for hook in "${HOOKS[@]}"; do
	unset -f build
	# shellcheck source=/dev/null # of the test
	. "$HOOK_FOLDER/install/$hook" || exit 1
	build
done
printf '%s\n' "${runtime[*]}" >"$BUILDROOT/config"
exit $((errors > 0))
