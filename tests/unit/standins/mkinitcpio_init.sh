# shellcheck shell=sh
# A stand-in for the init of mkinitcpio's busybox flavour: runs the hooks as that does, sourced one
# after the other in one shell; its interactive shell only says that it is there.

err() {
	echo "ERROR: $*"
}

launch_interactive_shell() {
	echo "interactive shell"
}

read -r order </config
# shellcheck disable=SC2086 # words
for hook in $order; do
	[ -x "/hooks/$hook" ] || continue
	unset run_hook
	# shellcheck source=/dev/null # of the test
	. "/hooks/$hook"
	run_hook
done
echo "mounting the root filesystem${around:+, and around is $around}"
