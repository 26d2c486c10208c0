"""What was found before the first question, all of it, and what stands in the way."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.config import Config
from stiefelsystem.console import StiefelError, say
from stiefelsystem.host.preflight import (
    boot,
    disks,
    hibernation,
    init,
    kernels,
    machine,
    names,
    ramdisk,
    tree,
)
from stiefelsystem.host.preflight import distribution as distributions
from stiefelsystem.host.preflight import generator as generators
from stiefelsystem.host.preflight.distribution import Distribution
from stiefelsystem.host.preflight.finding import Finding, failed, note, obstacle, ok
from stiefelsystem.host.preflight.generator import Generator
from stiefelsystem.host.server_os import network
from stiefelsystem.host.setup.root import Root

__all__ = ["Finding", "Report", "look"]

# What makes initrds for the machine that makes them, and what makes them for any.
_FOR_ANY = {"hostonly": "hostonly=no", "MODULES=dep": "MODULES=most"}
_COLOURS = {"note": "33", "obstacle": "31"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """All findings, in the order in which they are shown; `generator` is None if it is not known,
    or not supported."""

    findings: tuple[Finding, ...]
    distribution: Distribution
    generator: Generator | None

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        """Why this machine cannot be stiefeled; none if it can."""
        return tuple(one for one in self.findings if one.level == "obstacle")

    def show(self) -> None:
        """Print the findings as a table, with what to do about them."""
        width = max((len(one.topic) for one in self.findings), default=0)
        before = ""
        for one in self.findings:
            topic = "" if one.topic == before else one.topic
            before = one.topic
            level = "" if one.level == "ok" else _coloured(one.level)
            for text in _wrapped(one.text, width + 2):
                say(text, mark=f"{topic:<{width}}  {level}")
                topic = level = ""
            for text in _wrapped(one.hint, width + 4):
                say(text, mark=" " * (width + 4))


def look(root: Root, config: Config) -> Report:
    """Look at the system in a tree, and at this machine if the system runs on it.

    Changes nothing. What fails is an obstacle like the others, so that all are told at once.
    """
    findings: list[Finding] = []

    def collect(topic: str, part: Callable[[], Iterable[Finding]]) -> None:
        try:
            findings.extend(part())
        except StiefelError as error:
            findings.append(failed(topic, error))
        except OSError as error:
            findings.append(obstacle(topic, f"cannot be looked at: {error}"))

    running = root.path == Path("/")
    if os.geteuid() != 0:
        text = "not run as root: what only root may read is not known, or is taken for an obstacle"
        findings.append(note("user", text))
    system = Distribution("", "", "", "")
    generator: Generator | None = None

    def distribution() -> Iterable[Finding]:
        nonlocal system
        system = distributions.look(root)
        yield from _distribution(root, system)

    def initrds() -> Iterable[Finding]:
        nonlocal generator
        generator = generators.look(root, system, module=config.system)
        text = " ".join(word for word in (generator.name, generator.version) if word)
        yield ok("initrds", f"made by {text}, {generator.detail}")
        setting = generator.detail.rpartition(", ")[2]
        if not running and setting in _FOR_ANY:
            hint = f"run this on the laptop, or set {_FOR_ANY[setting]} there"
            yield note("initrds", f"{setting}: made for the machine that this runs on", hint)

    def module() -> Iterable[Finding]:
        generators.check_module(config, system)
        return ()

    collect("distribution", distribution)
    collect("distribution", module)
    collect("packages", lambda: _packages(root, system, config))
    collect("init", lambda: init.look(root))
    collect("initrds", initrds)
    collect("boot", lambda: boot.look(root, config))
    collect("modules", lambda: kernels.look(root, config))
    collect("ramdisk", lambda: ramdisk.look(root, config, generator))
    collect("disk", lambda: disks.look(root, config))
    collect("names", lambda: names.look(root, config))
    collect("hibernation", lambda: hibernation.look(root, config))
    collect("firewall", lambda: [note("firewall", one) for one in network.warnings(root)])
    if running:
        collect("machine", lambda: machine.look(root, system, config))
    return Report(findings=tuple(findings), distribution=system, generator=generator)


def _distribution(root: Root, system: Distribution) -> Iterable[Finding]:
    shown = system.name or "unknown"
    if not system.family:
        yield obstacle(
            "distribution",
            f"{shown}: none of the families that are known",
            "known are Debian, Arch, Fedora and Gentoo, and what names them as its ID_LIKE",
        )
        return
    yield ok("distribution", f"{shown}, of the family {system.family}")
    if _is_ostree(root):
        text = "its /usr is an image (ostree): what is to be installed there would not stay"
        yield obstacle("distribution", text)


def _is_ostree(root: Root) -> bool:
    """By ostree's marks: of a system that runs, and of its tree. In a deployment that is mounted
    alone, the link /ostree leads to nowhere."""
    if tree.real(root, "/run/ostree-booted").exists() or root.place("/ostree").is_symlink():
        return True
    return tree.real(root, "/ostree/repo").is_dir()


def _packages(root: Root, system: Distribution, config: Config) -> Iterable[Finding]:
    if not system.family:
        return
    wanted = distributions.laptop_packages(system.family, config)
    missing = [name for name in wanted if not distributions.is_installed(root, system.family, name)]
    if missing:
        command = [*distributions.install_command(system.family), *missing]
        yield note("packages", f"missing: {', '.join(missing)}", f"will run: {' '.join(command)}")
    else:
        yield ok("packages", f"{', '.join(wanted)}: all installed")


def _wrapped(text: str, indented: int) -> list[str]:
    """The lines of a text beside the topics; only a terminal has an end of the line."""
    if not sys.stderr.isatty():
        return [text] if text else []
    columns = shutil.get_terminal_size().columns
    # Commands and paths are copied from here.
    return textwrap.wrap(
        text,
        max(40, columns - indented - len("obstacle: ")),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _coloured(level: str) -> str:
    text = f"{level}: "
    return f"\033[{_COLOURS[level]}m{text}\033[0m" if sys.stderr.isatty() else text
