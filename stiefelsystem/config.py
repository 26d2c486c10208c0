"""config.yaml, as everything else sees it: a tree of frozen dataclasses, checked and complete.

The dataclasses are the schema (see `schema`): a new key is one new line here, and an entry in
config-example.yaml. Who gets a `Config` can rely on it: every value is checked, every default that
depends on another key is filled in, every path of the build is absolute.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Annotated, Literal

from stiefelsystem import checks
from stiefelsystem.checks import (
    Absolute,
    Block,
    Cmdline,
    Folder,
    Glob,
    Mac,
    Name,
    Package,
    Pattern,
    Sha256,
    SourceUrl,
)
from stiefelsystem.console import StiefelError
from stiefelsystem.schema import Invalid, Key, Rule, Shorthand, read

MODULES = (
    "base",
    "nbd",
    "lvm",
    "debug",
    "r8152",
    "clevo-fancontrol",
    "system-debian",
    "system-arch",
    "system-arch-dracut",
    "system-gentoo",
)
# One of ours, or the path of a file: a user's own.
Module = Annotated[str, Rule(checks.choice_or_file(MODULES, ".yaml"))]

_IMPLIED = ("base", "nbd")

# What each system calls the kernel and the initrd that it boots: (kernel, initrd).
_LOAD = {
    "system-debian": ("vmlinuz-*", "initrd.img-*"),
    "system-arch": ("vmlinuz-linux", "initramfs-stiefel.img"),
    "system-arch-dracut": ("vmlinuz-linux", "initramfs-linux.img"),
    "system-gentoo": ("vmlinuz-*", "initramfs-*.img"),
}


def load(path: Path) -> Config:
    """Read config.yaml; relative paths in it are relative to its folder."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StiefelError(
            f"cannot read {path}: there is no such file",
            hint=f"cp config-example.yaml {shlex.quote(str(path))}, and edit it",
        ) from error
    except OSError as error:
        raise StiefelError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wrong = f"the byte {data[error.start]:#04x} is not UTF-8"
        raise StiefelError(f"{path}:{line}: {wrong}", hint="save the file as UTF-8") from error
    return parse(text, name=str(path), base=path.absolute().parent)


def parse(text: str, *, name: str, base: Path = Path("/")) -> Config:
    """Read a configuration from `text`, which errors call `name`; `base` is for relative paths."""
    return read(text, Config, name=name, finish=partial(_complete, base=base))


@dataclass(frozen=True, kw_only=True)
class Part:
    """The partition with kernel and initrd: `block` is its filesystem's device.

    With luks, `block` appears once `luks_block` is unlocked.
    """

    type: Literal["plain", "luks"] = "plain"
    block: Block
    luks_block: Annotated[Block, Key("luks_block")] | None = None

    def __post_init__(self) -> None:
        if self.type == "luks" and self.luks_block is None:
            raise Invalid(
                "type luks needs luks_block",
                key="type",
                hint="luks_block: the encrypted partition, such as /dev/nvme0n1p2",
            )
        if self.type != "luks" and self.luks_block is not None:
            raise Invalid(
                f"{str(self.luks_block)!r} does not go with type {self.type}",
                key="luks_block",
                hint="leave it out, or write type: luks",
            )
        if self.block == self.luks_block:
            raise Invalid(
                f"{str(self.block)!r} is luks_block, too",
                key="block",
                hint="block: the device once unlocked, such as /dev/mapper/root",
            )


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the desktop boots, where it is not what the laptop's boot loader boots by default.

    In the initrd's name, `*` is what the kernel's `*` stood for; commas separate several.
    """

    kernel: Pattern = ""  # empty: not written
    initrd: Pattern = ""  # the same
    cmdline: Cmdline | None = None  # None: the boot loader's


@dataclass(frozen=True, kw_only=True)
class Boot:
    """The laptop's disk, and how its OS is booted on the desktop."""

    disk: Annotated[Path, Rule(checks.disk)]
    part: Annotated[Part, Shorthand("block")] | None = (
        None  # None: what holds kernel and initrd on the running laptop
    )
    cmdline: Cmdline = ""  # added to the target's cmdline by the desktop
    swap: bool = False
    load: Load = field(default_factory=Load)


@dataclass(frozen=True, kw_only=True)
class Autokexec:
    """What makes the laptop's running OS stop and serve its disk."""

    macs: tuple[Mac, ...] = ()
    mac_detection: Annotated[bool, Key("mac_detection")] = True
    broadcast: bool = True
    delay: Annotated[int, Rule(checks.between(0, 3600))] = 10  # seconds


@dataclass(frozen=True, kw_only=True)
class Server:
    """What the laptop does when a session is over, and when no desktop comes."""

    after_session: Literal["reboot", "wait", "poweroff"] = "reboot"
    wait: Annotated[int, Rule(checks.between(30, 1_000_000))] = 600  # seconds


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """The link between the two."""

    encryption: Literal["wireguard", "none"] = "wireguard"


@dataclass(frozen=True, kw_only=True)
class ServerSetup:
    """Where the ramdisk lies on the laptop, and what its cmdline has in addition."""

    stiefelsystem_kernel: Absolute = Path("/boot/stiefelsystem/vmlinuz")
    stiefelsystem_initrd: Absolute = Path("/boot/stiefelsystem/initrd")
    cmdline: Cmdline = ""

    def __post_init__(self) -> None:
        if self.stiefelsystem_kernel == self.stiefelsystem_initrd:
            raise Invalid(
                f"{str(self.stiefelsystem_initrd)!r} is the kernel's place, too",
                key="stiefelsystem-initrd",
            )


@dataclass(frozen=True, kw_only=True)
class ClientSetup:
    """The stick from which the desktop boots."""

    cmdline: Cmdline = ""
    timeout: Annotated[int, Rule(checks.between(0, 60))] = 3  # seconds
    # At 63, old systems began partitions; behind 2048, nothing is gained.
    first_sector: Annotated[int, Rule(checks.between(63, 65536))] = 2048


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the ramdisk's tree becomes a cpio, and what stays out of it."""

    compressor: Annotated[str, Rule(checks.command)] = "zstd -T0 -18"
    exclude_paths: tuple[Glob, ...] = ()
    exclude_packages: tuple[Package, ...] = ()

    @property
    def compressor_argv(self) -> tuple[str, ...]:
        """The compressor's command as words."""
        return tuple(shlex.split(self.compressor))


@dataclass(frozen=True, kw_only=True)
class Initrd:
    """The ramdisk's contents."""

    include_packages: tuple[Package, ...] = ()
    shell: Absolute = Path("/bin/bash")
    # None: root cannot log in with a password
    password: Annotated[str, Rule(checks.password, secret=True)] | None = field(
        default=None, repr=False
    )
    packing: Packing = field(default_factory=Packing)


@dataclass(frozen=True, kw_only=True)
class WorkdirSubpaths:
    """Names below the workdir."""

    cpio: Name = Path("stiefel.cpio")
    initrd: Name = Path("initrd")
    initrd_devel: Name = Path("initrd-devel")

    def __post_init__(self) -> None:
        names = {"cpio": self.cpio, "initrd": self.initrd, "initrd-devel": self.initrd_devel}
        for (key, inner), (other, outer) in permutations(names.items(), 2):
            if inner.is_relative_to(outer):
                raise Invalid(
                    f"{str(inner)!r} lies within {other} ({str(outer)!r})",
                    key=key,
                    hint="each of the three needs a place of its own",
                )


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where the build keeps its things; all absolute in a Config."""

    cache: Folder = Path("cache")
    workdir: Folder = Path("workdir")
    key: Folder = Path("aes-key")
    workdir_subpaths: WorkdirSubpaths = field(default_factory=WorkdirSubpaths)

    @property
    def cpio(self) -> Path:
        """The packed ramdisk."""
        return self.workdir / self.workdir_subpaths.cpio

    @property
    def initrd(self) -> Path:
        """The ramdisk's tree."""
        return self.workdir / self.workdir_subpaths.initrd

    @property
    def initrd_devel(self) -> Path:
        """The tree in which things for the ramdisk are compiled."""
        return self.workdir / self.workdir_subpaths.initrd_devel


@dataclass(frozen=True, kw_only=True)
class DebugModule:
    """What the module `debug` does to the ramdisk."""

    better_shell: bool = True
    dont_exclude_packages: bool = True
    dont_exclude_paths: bool = True
    faster_compressor: bool = True
    extra_packages: tuple[Package, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceModule:
    """Where the source of a module that is compiled comes from, and its digest, without which
    nothing is built."""

    url: SourceUrl | None = None
    sha256: Sha256 | None = None


@dataclass(frozen=True, kw_only=True)
class ModuleConfigs:
    """Settings of single modules; they rest while their module is not in `modules`."""

    debug: DebugModule = field(default_factory=DebugModule)
    r8152: SourceModule = field(default_factory=SourceModule)
    clevo_fancontrol: SourceModule = field(default_factory=SourceModule)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All of config.yaml."""

    modules: tuple[Module, ...] = ()
    boot: Boot
    autokexec: Autokexec = field(default_factory=Autokexec)
    server: Server = field(default_factory=Server)
    link: LinkSettings = field(default_factory=LinkSettings)
    server_setup: ServerSetup = field(default_factory=ServerSetup)
    client_setup: ClientSetup = field(default_factory=ClientSetup)
    initrd: Initrd = field(default_factory=Initrd)
    paths: Paths = field(default_factory=Paths)
    module_configs: ModuleConfigs = field(default_factory=ModuleConfigs)

    def __post_init__(self) -> None:
        systems = dict.fromkeys(name for name in self.modules if name in _LOAD)
        if len(systems) != 1:
            has = " and ".join(systems) if systems else "no system module"
            raise Invalid(
                f"{has} in the list, but it takes exactly one",
                key="modules",
                hint=f"the laptop's OS, one of: {', '.join(_LOAD)}",
            )

    @property
    def sources(self) -> dict[str, SourceModule]:
        """Where the sources of our own modules come from."""
        settings = self.module_configs
        return {"r8152": settings.r8152, "clevo-fancontrol": settings.clevo_fancontrol}

    @property
    def system(self) -> Module:
        """The one system module."""
        return next(name for name in self.modules if name in _LOAD)

    @property
    def usual_names(self) -> tuple[str, str]:
        """What the system module calls kernel and initrd."""
        return _LOAD[self.system]

    @property
    def load_names(self) -> tuple[str, str]:
        """Kernel and initrd as boot.load names them; what it leaves out as the system module
        does."""
        kernel, initrd = self.usual_names
        return self.boot.load.kernel or kernel, self.boot.load.initrd or initrd

    @property
    def debug(self) -> DebugModule | None:
        """The settings of the module `debug`, where that is active."""
        return self.module_configs.debug if "debug" in self.modules else None


def _placed(module: str, base: Path) -> str:
    """A module's name, or its file's absolute path."""
    return str(base / module) if module.endswith(".yaml") else module


def _complete(config: Config, *, base: Path) -> Config:
    """Fill in what depends on other keys or on the place of the file."""
    kernel, initrd = config.load_names
    if "*" in initrd and "*" not in kernel:
        key, whose = ("initrd", "") if config.boot.load.initrd else ("kernel", " (the default)")
        raise Invalid(
            f"the initrd {initrd!r}{whose} has a *, but the kernel {kernel!r} has none",
            hint="the * of the initrd is what that of the kernel stands for",
            key=f"boot.load.{key}",
        )
    paths = config.paths
    return replace(
        config,
        modules=tuple(
            dict.fromkeys((*_IMPLIED, *(_placed(name, base) for name in config.modules)))
        ),
        autokexec=replace(config.autokexec, macs=tuple(dict.fromkeys(config.autokexec.macs))),
        paths=replace(
            paths, cache=base / paths.cache, workdir=base / paths.workdir, key=base / paths.key
        ),
    )
