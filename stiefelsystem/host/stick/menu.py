"""What GRUB reads on the stick: the menu, which stays as it is, and a line about each set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stiefelsystem import cmdline
from stiefelsystem.console import StiefelError
from stiefelsystem.host.stick.layout import FOLDER, INITRD, KERNEL, MENU, SECRETS, SET, SETS

# The last one is /dev/console; where a machine has no such port, the kernel passes it over.
_CONSOLES = "console=ttyS0,115200 console=tty0"
# COMMAND_LINE_SIZE of arch/x86/include/asm/setup.h, without the byte that ends it.
_LONGEST = 2047
_QUIET = "quiet loglevel=4"
_VERBOSE = "ignore_loglevel systemd.show_status=yes systemd.log_level=info"
# As GRUB reads it: to it, a zero byte, where a file was not written to its end, ends the line.
_NUMBER = re.compile(r"^set ([ab])=([0-9]{1,9})(?:\0.*)?$", re.MULTILINE)

# A `set.cfg` that is cut short sets no number, which is its last line, and so is not chosen.
_HEAD = f"""\
# stiefelsystem: written by setup-client-usbdrive. What is booted stands in {FOLDER}/*/{SET}.
if serial --unit=0 --speed=115200; then
    terminal_input --append serial
    terminal_output --append serial
fi
set pager=0
set newest=0
"""
_SOURCE = f"source /{FOLDER}/@/{SET}\n"
_SOURCE_IF_THERE = f"if [ -f /{FOLDER}/@/{SET} ]; then\n    {_SOURCE}fi\n"
_CHOICE = f"""\
set @=0
@SOURCE@
if [ "$@" -gt "$newest" ]; then
    set newest=$@
    set at=/{FOLDER}/@
    set words="$@_words"
    set timeout=$@_timeout
fi
"""
_ENTRIES = {
    "Run the laptop's system on this computer": f"{cmdline.CLIENT_UNIT} {_QUIET}",
    "The same, and show what the kernel says": f"{cmdline.CLIENT_UNIT} {_VERBOSE}",
    "A shell, to look around on this computer": f"{cmdline.SHELL_UNIT} {_QUIET}",
}
_ENTRY = f"""\
    menuentry "@TITLE@" {{
        echo "Loading, from a slow stick this takes a while ..."
        linux $at/{KERNEL} $words @WORDS@
        initrd @INITRDS@
    }}
"""
_TAIL = """\
else
    echo "This stick is not finished. Write it again, with setup-client-usbdrive."
    set timeout=-1
fi
menuentry "Switch the computer off" {
    halt
}
"""

EFI_CONFIG = f"""\
set prefix=($root)/{MENU.rpartition("/")[0]}
configfile $prefix/grub.cfg
"""


def menu(*, network: bool = False) -> str:
    """The stick's menu; or that of a boot server, which has the first set only, and no key."""
    # TFTP lists no folders, so that GRUB finds no file there by `-f`.
    sets, source = (SETS[:1], _SOURCE) if network else (SETS, _SOURCE_IF_THERE)
    initrds = " ".join(f"$at/{name}" for name in (INITRD, *(() if network else (SECRETS,))))
    entries = (
        _ENTRY.replace("@TITLE@", title).replace("@WORDS@", words).replace("@INITRDS@", initrds)
        for title, words in _ENTRIES.items()
    )
    choice = _CHOICE.replace("@SOURCE@\n", source)
    choices = (choice.replace("@", name) for name in sets)
    shown = 'set timeout_style=menu\nset default=0\nif [ "$newest" -gt 0 ]; then\n'
    return "".join((_HEAD, *choices, shown, *entries, _TAIL))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a set's command line is made of: `inner` is for the target's, `words` are for the
    ramdisk's; and for how many seconds the menu waits.

    Raises `StiefelError` for words that GRUB does not hand on as they are.
    """

    inner: str
    words: str
    timeout: int

    def __post_init__(self) -> None:
        # GRUB's `linux` puts backslashes before quotes and backslashes.
        if found := next((c for c in self.words if c in "\"'\\"), None):
            raise StiefelError(
                f"client-setup.cmdline has a {found}, which the stick's boot loader cannot hand on",
                hint="leave out quotes and backslashes",
            )
        longest = max(map(len, _ENTRIES.values())) + len(f"BOOT_IMAGE=/{FOLDER}/a/{KERNEL}  ")
        if (size := len(_words(self)) + longest) > _LONGEST:
            raise StiefelError(
                f"client-setup.cmdline and boot.cmdline make a command line of {size} bytes, and"
                f" the ramdisk's kernel reads {_LONGEST}",
                hint="shorten them",
            )


def _words(settings: Settings) -> str:
    inner = f"stiefel_innercmdline={cmdline.encode(settings.inner)}"
    return f"{_CONSOLES} {inner} {settings.words}".strip()


def set_config(name: str, number: int, settings: Settings) -> str:
    """What makes the set `name` valid; that with the greater number is booted."""
    return (
        f"set {name}_words='{_words(settings)}'\n"
        f"set {name}_timeout={settings.timeout}\n"
        f"set {name}={number}\n"
    )


def number_of(config: str, name: str) -> int:
    """The number of a set by its `set.cfg`; 0 for one that is none, which GRUB passes over, too."""
    found = {match[1]: int(match[2]) for match in _NUMBER.finditer(config)}
    return found.get(name, 0)
