"""Follow one of GRUB's scripts as far as it makes the menu, or loads a kernel.

Only what can be known is: whether a driver loads, what a disk is called, or which key is pressed,
is left open. Where a branch depends on that, both are followed, and variables that come out
different are unknown from then on, menu entries in it not certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stiefelsystem.bootloader import bls, grub_environment, grub_script, versions
from stiefelsystem.bootloader.entry import misunderstood
from stiefelsystem.bootloader.grub_condition import Truth, Unknown, Value, evaluate
from stiefelsystem.bootloader.grub_menu import Loaded, MenuItem, labels
from stiefelsystem.bootloader.grub_script import Block, Command, If, Loop, Word
from stiefelsystem.bootloader.places import BOOT_POINTS, TREE, Tree, device, split_device

# A grub.cfg with a hundred kernels runs some thousand commands.
_MAX_STEPS = 200_000
_MAX_FILES = 100
_MAX_NESTED = 40  # functions and files that call each other
_NUMBERS = tuple("123456789")  # the names of arguments
_MAX_ENVIRONMENT = 64 << 10  # GRUB's own has 1024
# A disk whose name is not known: any may be meant.
ANY_DISK = "?"
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_LINUX = re.compile(r"linux(16|efi)?")
_INITRD = re.compile(r"initrd(16|efi)?")
# What boots something else than a kernel that we can hand over.
_OTHERS = re.compile(
    "chainloader|uki|(legacy_)?configfile|normal|multiboot2?|xen_hypervisor|linux_hypervisor"
    "|k?freebsd|knetbsd|kopenbsd|ntldr|fwsetup|reboot|halt|exit"
)
# Commands that put what only the machine knows into variables, which some of their words name.
_ASKS = re.compile("increment|decrement|read|regexp|probe|smbios|cat|date|cpuid|rdmsr")


@dataclass
class Limits:
    """What is left, so that no script is followed for ever."""

    steps: int = _MAX_STEPS
    files: int = _MAX_FILES
    nested: int = 0


class Context:
    """GRUB's state while it follows a script: variables, functions, the menu."""

    def __init__(self, tree: Tree, variables: dict[str, Value], limits: Limits) -> None:
        self.tree = tree
        self.variables = variables
        self.menu: list[MenuItem] = []
        self.loaded = Loaded()
        self._limits = limits
        self._exported = set(variables)
        self._functions: dict[str, Block] = {}
        self._is_certain = True
        self._is_over = False

    def submenu(self) -> Context:
        """The state in which a submenu is made: of variables, it has those that are exported."""
        variables = {n: v for n, v in self.variables.items() if n in self._exported}
        inner = Context(self.tree, variables, self._limits)
        inner._functions = self._functions
        return inner

    def run_file(self, path: Path) -> None:
        """Follow a whole file."""
        self._limits.files -= 1
        if self._limits.files < 0:
            raise misunderstood(str(path), "more files are included than can be meant")
        self.run(grub_script.parse(self.tree.text(path), str(path)))

    def boot(self, block: Block) -> Loaded:
        """Follow an entry of the menu, and tell what it has loaded."""
        self.loaded, self._is_over = Loaded(), False
        # The words behind the title, which hardly anybody has: they are not kept.
        place = block[0].place if block else ""
        self.variables |= dict.fromkeys(_NUMBERS, Unknown(place))
        self.run(block)
        return self.loaded

    def run(self, block: Block) -> None:
        """Follow a block. Raises `StiefelError` where it cannot be followed."""
        self._limits.nested += 1
        for statement in block:
            self._limits.steps -= 1
            if self._limits.steps < 0 or self._limits.nested > _MAX_NESTED:
                raise misunderstood(statement.place, "the script is too long, or calls itself")
            match statement:
                case _ if self._is_over:
                    break
                case If():
                    self._if(statement)
                case Loop(place, variable, body):
                    self.variables[variable] = Unknown(place)
                    self._either(place, (body, ()))
                case Command():
                    self._command(statement)
        self._limits.nested -= 1

    def value(self, name: str, place: str) -> Value:
        """A variable's value; what GRUB itself sets to tell what it can do is set."""
        if name in "?*@#":
            return Unknown(place)
        value = self.variables.get(name, "y" if name.startswith("feature_") else "")
        # Ubuntu's way from GRUB's picture to the splash screen depends on the graphics card, and
        # matters to nothing else.
        return "" if name == "vt_handoff" and isinstance(value, Unknown) else value

    def expand(self, words: tuple[Word, ...], place: str) -> list[Value]:
        """The words of a command with their variables' values."""
        return [value for word in words for value in self._expand(word, place)]

    def text(self, text: str, place: str) -> Value:
        """A text with its variables' values, as one."""
        pieces = [
            self.value(part.text, place) if part.is_variable else part.text
            for part in grub_script.variables(text)
        ]
        unknown = next((piece for piece in pieces if isinstance(piece, Unknown)), None)
        return unknown or "".join(piece for piece in pieces if isinstance(piece, str))

    def _expand(self, word: Word, place: str) -> Iterator[Value]:
        text: str | None = None
        for part in word:
            value = self.value(part.text, place) if part.is_variable else part.text
            if isinstance(value, Unknown):
                yield value
                return
            if part.is_quoted or not part.is_variable:
                text = (text or "") + value
                continue
            # Blanks of the value end the word, at its ends, too.
            pieces = re.split(r"[ \t\n]+", value)
            for piece in pieces[:-1]:
                if text or piece:
                    yield (text or "") + piece
                text = None
            if pieces[-1]:
                text = (text or "") + pieces[-1]
        if text is not None:
            yield text

    def _if(self, statement: If) -> None:
        ways = []
        for condition, body in statement.branches:
            self.run(condition[:-1])
            truth = self._truth(condition[-1]) if condition else None
            if truth is not False:
                ways.append(body)
            if truth:
                break
        else:
            ways.append(statement.otherwise)
        if len(ways) == 1:
            self.run(ways[0])
        else:
            self._either(statement.place, ways)

    def _either(self, place: str, ways: Sequence[Block]) -> None:
        """Follow all ways from here on; keep what they have in common."""
        before, certain, over = dict(self.variables), self._is_certain, self._is_over
        self._is_certain = False
        results = []
        for way in ways:
            self.variables = dict(before)
            self.run(way)
            results.append(self.variables)
            self._is_over = over
        self._is_certain = certain
        self.variables = {
            name: results[0].get(name, "")
            if all(result.get(name, "") == results[0].get(name, "") for result in results)
            else Unknown(place)
            for name in {name: None for result in results for name in result}
        }

    def _truth(self, statement: Command | If | Loop) -> Truth:
        """Whether a condition holds."""
        if not isinstance(statement, Command) or statement.body is not None:
            self.run((statement,))
            return None
        words = self.expand(statement.words, statement.place)
        match words:
            case ["true"]:
                return True
            case ["false"] | ["keystatus", *_]:  # nobody presses a key by default
                return False
            case ["[", *inner, "]"] | ["test", *inner]:
                ask = {"-e": self._exists, "-f": self._exists, "-s": self._has_content}
                return evaluate(inner, {**ask, "-d": self._is_folder})
        self.run((statement,))
        return None

    def _exists(self, name: str) -> Truth:
        disk, path = split_device(name)
        if disk == TREE:
            return self.tree.is_file(Path(path)) or self.tree.is_folder(Path(path))
        return True if self.tree.find(path, self._root(disk)) else None

    def _has_content(self, name: str) -> Truth:
        disk, path = split_device(name)
        found = self.tree.find(path, self._root(disk))
        return self.tree.size(found[0]) > 0 if found else self._exists(name)

    def _is_folder(self, name: str) -> Truth:
        disk, path = split_device(name)
        return self.tree.is_folder(Path(path)) if disk == TREE else None

    def _root(self, disk: str) -> str:
        root = disk or self.variables.get("root", "")
        return root if isinstance(root, str) else ""

    def _command(self, command: Command) -> None:
        words, place = self.expand(command.words, command.place), command.place
        if command.words and command.body is None and _ASSIGNMENT.match(command.words[0][0].text):
            self._assign(command.words[:1], place)
        name, *rest = words or [""]
        if isinstance(name, Unknown):
            return
        if command.body is not None:
            self._block_command(command, name, rest)
        elif name in self._functions:
            self._call(self._functions[name], rest)
        elif _LINUX.fullmatch(name):
            self._load(Loaded(place, rest[0] if rest else "", tuple(rest[1:])))
        elif _INITRD.fullmatch(name):
            self.loaded.initrds = tuple(rest)
            self.loaded.is_certain &= self._is_certain
        elif _OTHERS.fullmatch(name):
            self._other(name, rest, place)
        else:
            self._plain_command(name, rest, command)

    def _call(self, body: Block, arguments: list[Value]) -> None:
        """Follow a function, in which $1 and so on are its arguments."""
        before = {number: self.variables.get(number, "") for number in _NUMBERS}
        self.variables |= dict.fromkeys(_NUMBERS, "") | dict(zip(_NUMBERS, arguments, strict=False))
        self.run(body)
        self.variables |= before

    def _block_command(self, command: Command, name: str, rest: list[Value]) -> None:
        if name == "function" and rest and isinstance(rest[0], str):
            self._functions[rest[0]] = command.body or ()
        elif name in ("menuentry", "submenu"):
            title, identity = labels(rest)
            item = MenuItem(
                place=command.place,
                title=title,
                id=identity,
                body=command.body or (),
                is_submenu=name == "submenu",
                is_certain=self._is_certain,
            )
            self.menu.append(item)

    def _load(self, loaded: Loaded) -> None:
        loaded.root = self.variables.get("root", "")
        loaded.is_certain = self._is_certain
        self.loaded = loaded

    def _other(self, name: str, rest: list[Value], place: str) -> None:
        """Something else is booted. At the top, `configfile` leads to the menu that is shown."""
        if name != "configfile" or self.loaded.place or not rest:
            known = rest[0] if rest and isinstance(rest[0], str) else ""
            self._load(Loaded(place, known, other=name))
            return
        inner = self.submenu()
        inner._is_certain = self._is_certain
        inner._include(rest)
        if inner.menu:
            self.menu = inner.menu if self._is_certain else self.menu + inner.menu
            self.variables, self._is_over = inner.variables, True
            self._exported |= inner._exported

    def _plain_command(self, name: str, rest: list[Value], command: Command) -> None:
        """The commands that change what is known; all others do nothing for a menu."""
        match name:
            case "set" | "export":
                self._assign(command.words[1:], command.place)
                names = {str(word).partition("=")[0] for word in rest}
                self._exported |= names if name == "export" else set()
            case "unset":
                self.variables |= {str(word): "" for word in rest}
            case "source" | ".":
                self._include(rest)
            case "search" | "search.fs_uuid" | "search.fs_label" | "search.file":
                self._search(name, rest)
            case "load_env":
                self._load_env(rest)
            case _ if _ASKS.fullmatch(name):
                self._forget(rest, command.place)
            case "blscfg":
                self._blscfg(command.place)

    def _assign(self, words: Sequence[Word], place: str) -> None:
        """`name=value`, where the value need not be known."""
        for word in words:
            name, separator, _ = word[0].text.partition("=")
            if separator and not word[0].is_variable:
                value = next(self._expand(word, place), "")
                if isinstance(value, str):
                    value = value.partition("=")[2]
                self.variables[name] = value

    def _forget(self, words: list[Value], place: str) -> None:
        """What words such as `--set=1:name` or `name` name is not known any more."""
        for word in words:
            name = re.split(r"[=:]", word)[-1] if isinstance(word, str) else ""
            if re.fullmatch(r"[A-Za-z_]\w*", name):
                self.variables[name] = Unknown(place)

    def _include(self, words: list[Value]) -> None:
        name = words[0] if words else ""
        if isinstance(name, Unknown):
            raise misunderstood(name.place, "what is included later is known at boot only")
        disk, path = split_device(name)
        found = self.tree.find(path, self._root(disk))
        if len(found) == 1:  # GRUB goes on, too, where there is none
            self.run_file(found[0])

    def _search(self, name: str, words: list[Value]) -> None:
        """A filesystem is looked for; a variable, `root` by default, gets its name."""
        texts = [word for word in words if isinstance(word, str)]
        plain = [word for word in texts if not word.startswith("-")]
        sets = [word for word in texts if word.startswith("--set")]
        kinds = {"fs-uuid:": ("--fs-uuid", "-u"), "fs-label:": ("--label", "-l")}
        named = {"search.fs_uuid": "fs-uuid:", "search.fs_label": "fs-label:"}
        by_option = (kind for kind, flags in kinds.items() if set(flags) & set(texts))
        kind = named.get(name) or next(by_option, "")
        target = sets[-1].partition("=")[2] if sets else ""
        if name in named and len(plain) > 1:  # search.fs_uuid NAME VARIABLE HINTS…
            target, plain = plain[1], plain[:1]
        found = kind and len(texts) == len(words) and plain
        self.variables[target or "root"] = device(kind, plain[-1]) if found else ANY_DISK

    def _load_env(self, words: list[Value]) -> None:
        texts = [word for word in words if isinstance(word, str)]
        path = Path(split_device(str(self.variables.get("prefix", "")))[1]) / "grubenv"
        for position, word in enumerate(texts):
            if word.startswith("--file=") or (word in ("-f", "--file") and texts[position + 1 :]):
                name = word.partition("=")[2] or texts[position + 1]
                disk, inner = split_device(name)
                path = next(iter(self.tree.find(inner, self._root(disk))), Path("/"))
        if self.tree.is_file(path):
            block = grub_environment.read(self.tree.read(path, most=_MAX_ENVIRONMENT))
            names = [word for word in texts if word in block] or list(block)
            # One-time choices are no defaults: neither the next entry, nor a saved one that is
            # kept for one boot in the place of its predecessor.
            block["next_entry"] = ""
            block["saved_entry"] = block.get("prev_saved_entry") or block.get("saved_entry", "")
            self.variables |= {name: block[name] for name in names}

    def _blscfg(self, place: str) -> None:
        """Entries of the Boot Loader Specification become entries of the menu, newest first."""
        wanted = self.variables.get("blsdir", "") or f"/{bls.FOLDER}"
        name = split_device(wanted)[1].lstrip("/") if isinstance(wanted, str) else str(bls.FOLDER)
        folders = [point / name for point in (*BOOT_POINTS, Path("/"))]
        folder = next((folder for folder in folders if self.tree.files(folder, ".conf")), None)
        items = bls.read(self.tree, folder) if folder else []
        for item in sorted(items, key=lambda item: versions.key(item.id), reverse=True):
            title = self.text(item.last("title"), place)
            identity = item.id.removesuffix(".conf")
            self.menu.append(
                MenuItem(
                    place=str(item.path),
                    title=title,
                    id=identity,
                    body=(),
                    is_certain=self._is_certain,
                    entry=item,
                )
            )
