#!/bin/bash
# dracut.modules(7): puts what connects the laptop's disk into the initrd. Without a session behind
# it, it does nothing there.

_stiefel_from=/usr/local/lib/stiefelsystem
# Drivers for servers and switches, with tens of megabytes of firmware. No desktop has them.
_stiefel_not='/(brocade|cavium|chelsio|emulex|fungible|huawei|netronome|pensando|qlogic|mlxsw|prestera|octeontx2)/'

check() {
	[[ -e $_stiefel_from/nbd-hook-lib ]] || return 1
	# kdump's initrd has little memory, and is for one machine.
	[[ " ${add_dracutmodules-} ${force_add_dracutmodules-} ${dracutmodules-}" != *" kdump"* ]]
}

depends() {
	echo base
	# Since dracut 108, a module of its own; it runs our hook.
	if ! dracut_module_included systemd &&
		compgen -G "${dracutbasedir:-/usr/lib/dracut}/modules.d/[0-9][0-9]initqueue" >/dev/null; then
		echo initqueue
	fi
}

install() {
	inst_simple "$_stiefel_from/nbd-hook-lib" /usr/lib/stiefelsystem/nbd-hook-lib
	inst_multiple ln mkdir modprobe mount udevadm
	if dracut_module_included systemd; then
		_stiefel_systemd "$_stiefel_from/initrd"
	else
		# shellcheck disable=SC2154 # dracut's
		inst_hook initqueue/settled 10 "$moddir/connect.sh"
	fi
	# If there is a network manager in the initrd, it leaves the link alone.
	inst_multiple -o /etc/systemd/network/00-stiefellink.network \
		/etc/NetworkManager/conf.d/zz-stiefellink.conf
}

# shellcheck disable=SC2154 # initdir, systemdsystemunitdir and systemdutildir are dracut's
_stiefel_systemd() {
	local wants=$initdir$systemdsystemunitdir/initrd.target.wants

	inst_simple "$1/connect" /usr/lib/stiefelsystem/connect
	inst_simple "$1/initrd-generator" "$systemdutildir/system-generators/stiefelsystem"
	inst_simple "$1/stiefel-link.service" "$systemdsystemunitdir/stiefel-link.service"
	mkdir -p "$wants"
	ln -sfn ../stiefel-link.service "$wants/stiefel-link.service"
}

# The desktop's hardware is not the laptop's. An empty `hostonly` is dracut's word for that.
installkernel() {
	hostonly='' instmods -c nbd
	hostonly='' instmods wireguard hv_netvsc virtio_net virtio_pci vmxnet3 xen-netfront
	hostonly='' dracut_instmods -o -P ".*$_stiefel_not.*" \
		=drivers/net/ethernet =drivers/net/mdio =drivers/net/pcs =drivers/net/phy \
		=drivers/net/thunderbolt =drivers/net/usb =drivers/thunderbolt
	# What USB adapters are plugged into, and keyboards for a passphrase; hostonly_mode=strict has none.
	hostonly='' instmods '=drivers/usb/host' hid_generic usbhid atkbd i8042
	# The laptop's disk: when a kernel is updated while the OS runs on a desktop, that is what hostonly
	# sees. Not all of drivers/nvme/host, most of which is for disks of other machines.
	hostonly='' instmods nvme vmd '=drivers/ata' '=drivers/ufs/host' sd_mod '=drivers/mmc/host' mmc_block
}
