"""What the machine that is looked at from inside can do: kexec, Secure Boot, network.

All of it is about the machine that runs this, so it is asked only where that is the laptop.
"""

from __future__ import annotations

import os

from stiefelsystem import interfaces
from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError
from stiefelsystem.host.preflight import tree
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.preflight.finding import Finding, failed, note, obstacle, ok
from stiefelsystem.host.setup.root import Root
from stiefelsystem.laptop import obstacles, stop, updates

# UEFI specification, "Globally Defined Variables"; efivarfs has 4 bytes of attributes before each.
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ATTRIBUTES = 4
_LOCKDOWN = "/sys/kernel/security/lockdown"
# Where the hook in a stiefeled OS's initrd has put the keeper.
_KEEPER = "/run/initramfs/stiefelsystem"
# What container managers leave inside: systemd's Container Interface, podman, docker.
_CONTAINER = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")


def look(machine: Root, system: Distribution, config: Config) -> list[Finding]:
    """What this machine can do; `machine` is `/`, but for tests."""
    found = [*_container(machine), *_stiefeled(machine), *_stopped(machine), *_busy(machine)]
    return [*found, *_kexec(machine), _secure_boot(machine, system), *_network(machine, config)]


def _container(machine: Root) -> list[Finding]:
    signs = [path for path in _CONTAINER if tree.real(machine, path).exists()]
    if not signs:
        return []
    text = f"this is a container ({signs[0]}): it has no kernel and no disk of its own"
    return [obstacle("machine", text, "run this on the laptop's own OS")]


def _stiefeled(machine: Root) -> list[Finding]:
    words = tree.text(machine, "/proc/cmdline")
    try:
        obstacles.require_own_disk(words=words, keeper=tree.real(machine, _KEEPER))
    except StiefelError as error:
        hint = "run it on the laptop: initrds would be made for the desktop"
        return [obstacle("machine", str(error), hint)]
    return []


def _stopped(machine: Root) -> list[Finding]:
    try:
        stop.command(machine.path)
    except StiefelError as error:
        return [failed("init", error)]
    return []


def _busy(machine: Root) -> list[Finding]:
    hint = "wait until it is done: two that make initrds would damage them"
    proc = tree.real(machine, "/proc")
    return [obstacle("at work", one, hint) for one in updates.running(machine.path, proc)]


def _kexec(machine: Root) -> list[Finding]:
    """sysctl: kernel.kexec_load_disabled and, since Linux 6.3, kernel.kexec_load_limit_reboot."""
    if not tree.real(machine, "/sys/kernel/kexec_loaded").exists():
        text = f"the running kernel ({os.uname().release}) was built without it"
        return [obstacle("kexec", text, "use a kernel with CONFIG_KEXEC_FILE")]
    if tree.text(machine, "/proc/sys/kernel/kexec_load_disabled").strip() == "1":
        text = "kernel.kexec_load_disabled is 1: no other kernel can be started by this one"
        hint = "look for it in /etc/sysctl.d and /usr/lib/sysctl.d, and restart without it"
        return [obstacle("kexec", text, hint)]
    if tree.text(machine, "/proc/sys/kernel/kexec_load_limit_reboot").strip() == "0":
        text = "kernel.kexec_load_limit_reboot is 0: no other kernel can be loaded until a restart"
        return [obstacle("kexec", text, "look for it in /etc/sysctl.d and /usr/lib/sysctl.d")]
    return [ok("kexec", "the running kernel can start another one")]


def _secure_boot(machine: Root, system: Distribution) -> Finding:
    """What the firmware and the kernel demand of a kernel that is started by kexec: a signature,
    once the kernel is locked down (kernel_lockdown(7)), be that by Secure Boot or by a word."""
    topic = "Secure Boot"
    enabled = _firmware(machine)
    mode = _lockdown(machine)
    if mode in ("integrity", "confidentiality"):
        why = "on" if enabled else "not on, but"
        text = f"{why}: the kernel is locked down ({mode}), and starts only what is signed"
        if system.id == "debian":
            text += ". The ramdisk's kernel is signed by Debian, whom this system should trust"
            return note(topic, text, "`stiefel-autokexec --check` tries it, once it is installed")
        text += f". The ramdisk's kernel is signed by Debian, whom {system.name} does not trust"
        return obstacle(topic, text, "switch Secure Boot off in the firmware's setup")
    if enabled:
        return ok(topic, "on, but the kernel is not locked down: it starts any other")
    return ok(topic, "off" if enabled is False else "cannot be read: not on, most likely")


def _firmware(machine: Root) -> bool | None:
    """Whether Secure Boot is on; None if the variable cannot be read."""
    if not tree.real(machine, "/sys/firmware/efi").is_dir():
        return False  # started by a BIOS
    try:
        return tree.real(machine, _SECURE_BOOT).read_bytes()[_ATTRIBUTES:] == b"\1"
    except OSError:
        return None


def _lockdown(machine: Root) -> str:
    """`none [integrity] confidentiality`: the mode in brackets; empty where there is none."""
    try:
        modes = tree.text(machine, _LOCKDOWN).split()
    except StiefelError:
        return ""
    return next((mode.strip("[]") for mode in modes if mode.startswith("[")), "")


def _network(machine: Root, config: Config) -> list[Finding]:
    """The wired NICs that a cable to a desktop could be plugged into."""
    nics = []
    for interface in interfaces.wired():
        driver = tree.real(machine, f"/sys/class/net/{interface.name}/device/driver")
        if driver.exists():  # not a bridge's or a container's end
            carrier = "with a cable" if interface.carrier else "no cable, or down"
            mac = interfaces.mac(interface.name)
            nics.append((mac, f"{interface.name} ({driver.name}, {mac}, {carrier})"))
    findings = [ok("network", text) for _, text in nics]
    if not nics:
        text = "no wired network interface is there; an adapter may still be plugged in"
        findings.append(note("network", text, "wireless ones do not count"))
    present = {mac for mac, _ in nics}
    if config.autokexec.mac_detection and (there := present.intersection(config.autokexec.macs)):
        text = f"{', '.join(sorted(there))} of autokexec.macs is there: it counts when plugged in"
        findings.append(note("network", text))
    return findings
