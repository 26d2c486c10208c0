# shellcheck shell=sh
# Behind mkinitcpio_init_functions.sh: mkinitcpio's init without a machine, up to the root filesystem.

launch_interactive_shell() {
	echo "interactive shell"
}

# shellcheck source=/dev/null # of the image
. /config
# shellcheck disable=SC2086 # words
run_hookfunctions run_hook $HOOKS
echo "mounting the root filesystem${around:+, and around is $around}"
