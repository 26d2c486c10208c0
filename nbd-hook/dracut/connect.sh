#!/bin/sh
# dracut.modules(7) hook for initrds without systemd: connects the laptop's disk. dracut sources it
# whenever udev has settled, until the root filesystem is there; the keeper has taken the session by
# the second time, so that nothing is wanted any more.

(
	# shellcheck source=nbd-hook/lib
	. /usr/lib/stiefelsystem/nbd-hook-lib
	stiefel_wanted || exit 0
	stiefel_connect
) || emergency_shell -n stiefelsystem "stiefelsystem: no disk; 'reboot -f' restarts this machine"
