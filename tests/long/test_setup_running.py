"""setup-server-os on the OS that runs, as a user calls it: in a virtual machine, with a loader."""

from __future__ import annotations

from pathlib import Path

from stiefelsystem.host import vm
from stiefelsystem.host.vm import Hardware, VirtualMachine
from tests.vm import checkout, two
from tests.vm.checkout import HOME, SECONDS, do
from tests.vm.console import ask, log_in

# All files but what remembers by its nature, what is made anew, and the checkout.
_SUMS = (
    f"find /boot /etc /usr -xdev -type f ! -name 'initrd.img-*' ! -path '{HOME}/*' -print0"
    " | sort -z | xargs -0 sha256sum >/run/{name}; wc -l </run/{name}"
)


def test_there_and_back(tmp_path: Path) -> None:
    image, made = two.parts(updated=False)
    laptop = checkout.on_disk(made, made.before, image, tmp_path)
    hardware = Hardware(
        name="laptop",
        kernel=laptop.kernel,
        initrd=laptop.initrd,
        cmdline=laptop.cmdline,
        mac="52:54:00:00:00:51",
        cable=vm.cable(tmp_path, "laptop", "nobody")["laptop"],
        disk=laptop.image,
    )
    with VirtualMachine(hardware, tmp_path) as machine:
        log_in(machine)
        found = do(machine, "./setup-server-os --check")
        assert "by syslinux's default entry 'debian'" in found
        assert "without resume=" in found
        before = ask(machine, _SUMS.format(name="before"))
        do(machine, "./setup-server-os --yes")
        assert ask(machine, "systemctl is-active stiefel-autokexec") == "active"
        assert "could serve now" in ask(machine, "stiefel-autokexec --check")
        assert "nothing to do" in do(machine, "./setup-server-os")
        assert "everything is taken back" in do(machine, "./setup-server-os --uninstall --yes")
        assert ask(machine, "systemctl is-active stiefel-autokexec") == "inactive"
        assert ask(machine, _SUMS.format(name="after")) == before
        assert ask(machine, "diff /run/before /run/after && echo same") == "same"
        machine.type("systemctl poweroff\n")
        machine.wait_until_off(SECONDS)
    laptop.image.unlink()
