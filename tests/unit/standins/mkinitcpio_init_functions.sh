# shellcheck shell=sh
# A stand-in for the functions of mkinitcpio's init, in the busybox flavour, as far as hooks have to do
# with them: it sources the hooks one after the other in its own shell.

err() {
	echo "ERROR: $*"
}

launch_interactive_shell() {
	sh -i </dev/console >/dev/console 2>&1
}

# run_hookfunctions NAME HOOK...: what each of the hooks has of this name: run_earlyhook, run_hook,
# run_latehook, run_cleanuphook.
run_hookfunctions() {
	function=$1
	shift
	for hook in "$@"; do
		[ -x "/hooks/$hook" ] || continue
		unset -f "$function"
		# shellcheck source=/dev/null # of the test
		. "/hooks/$hook"
		if type "$function" >/dev/null; then
			"$function"
		fi
	done
}
