"""The syntax of GRUB's scripts, as far as boot menus are made of it.

The GRUB manual, "Writing full configuration files directly": words with quotes and variables,
commands, blocks in braces, if, for, while and until. Nothing is executed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from stiefelsystem.bootloader.entry import misunderstood

# Menus nest two or three deep; a parser that calls itself must end somewhere.
_MAX_DEPTH = 40
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\f\v]+|\\\n)
      | (?P<end>[\n;])
      | (?P<brace>[{}])
      | '(?P<single>[^']*)'
      | "(?P<double>(?:[^"\\]|\\.)*)"
      | \$(?P<variable>\{[A-Za-z0-9_?*@\#]*\}|[A-Za-z_][A-Za-z0-9_]*|[0-9?*@\#])
      | \\(?P<escaped>.)
      | (?P<plain>[^ \t\r\f\v\n;{}'"\\$]+|\$)""",
    re.VERBOSE | re.DOTALL,
)
_IN_DOUBLE = re.compile(
    r"""\\(?P<escaped>[\\"$])
      | (?P<continued>\\\n)
      | \$(?P<variable>\{[A-Za-z0-9_?*@\#]*\}|[A-Za-z_][A-Za-z0-9_]*|[0-9?*@\#])
      | (?P<plain>[^\\$]+|.)""",
    re.VERBOSE | re.DOTALL,
)


class Part(NamedTuple):
    """A piece of a word: text, or a variable's name; outside of quotes, blanks in a variable's
    value end a word."""

    text: str
    is_variable: bool = False
    is_quoted: bool = False


Word = tuple[Part, ...]


@dataclass(frozen=True)
class Command:
    """A command with its words, and the block behind it that `menuentry` and others have."""

    place: str
    words: tuple[Word, ...]
    body: Block | None = None


@dataclass(frozen=True)
class If:
    """Conditions with their blocks, and the block for else."""

    place: str
    branches: tuple[tuple[Block, Block], ...]
    otherwise: Block


@dataclass(frozen=True)
class Loop:
    """A loop, whatever its kind: its block may run, and how often is not known."""

    place: str
    variable: str  # of `for`
    body: Block


Block = tuple[Command | If | Loop, ...]


class _Token(NamedTuple):
    kind: str  # word, end, { or }, or a keyword where it stands for itself
    line: int
    word: Word = ()


def parse(text: str, name: str) -> Block:
    """A script, which errors call `name`. Raises `StiefelError` with the line that is wrong."""
    return _Parser(_tokens(text, name), name).script()


def variables(text: str) -> Word:
    """The parts of a text that stands in no quotes: variables, and what is between them."""
    return tuple(_double(text, is_quoted=False))


def _tokens(text: str, name: str) -> list[_Token]:
    tokens, word, line, at = list[_Token](), list[Part](), 1, 0
    start = 1  # the line on which the word begins
    while at < len(text):
        if text[at] == "#" and not word:
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise misunderstood(f"{name}:{line}", "a quote that begins here is never closed")
        kind = match.lastgroup or ""
        if kind in ("blank", "end", "brace"):
            if word and match[0] != "\\\n":
                tokens.append(_Token("word", start, tuple(word)))
                word = []
            if kind != "blank":
                tokens.append(_Token(match[0] if kind == "brace" else "end", line))
        else:
            start = start if word else line
            word.extend(_parts(kind, match[kind]))
        line += match[0].count("\n")
        at = match.end()
    if word:
        tokens.append(_Token("word", start, tuple(word)))
    return [*tokens, _Token("eof", line)]


def _parts(kind: str, text: str) -> list[Part]:
    match kind:
        case "double":
            return _double(text, is_quoted=True) or [Part("", is_quoted=True)]
        case "variable":
            return [Part(text.strip("{}"), is_variable=True)]
        case "plain":
            return [Part(text)]
        case _:  # single, escaped
            return [Part(text, is_quoted=True)]


def _double(text: str, *, is_quoted: bool) -> list[Part]:
    parts = []
    for match in _IN_DOUBLE.finditer(text):
        if match["variable"] is not None:
            parts.append(Part(match["variable"].strip("{}"), is_variable=True, is_quoted=is_quoted))
        elif match["continued"] is None:
            parts.append(Part(match["escaped"] or match["plain"], is_quoted=is_quoted))
    return parts


class _Parser:
    def __init__(self, tokens: list[_Token], name: str) -> None:
        self._tokens = tokens
        self._name = name
        self._at = 0
        self._depth = 0

    def script(self) -> Block:
        block = self._block()
        if self._next.kind != "eof":
            raise self._wrong("nothing is open that this could end")
        return block

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    @property
    def _keyword(self) -> str:
        """The next word, if it is plain: only such a one is a keyword."""
        token = self._next
        if token.kind == "word" and len(token.word) == 1 and not any(token.word[0][1:]):
            return token.word[0].text
        return ""

    def _wrong(self, what: str) -> Exception:
        token = self._next
        shown = {"eof": "its end", "end": "the end of the line", "word": "a word"}
        met = self._keyword or shown.get(token.kind, token.kind)
        return misunderstood(f"{self._name}:{token.line}", f"at {met}: {what}")

    def _block(self, *ends: str) -> Block:
        """Commands up to one of the keywords `ends`, a closing brace, or the end."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._wrong("blocks are nested too deeply to be meant")
        found: list[Command | If | Loop] = []
        while True:
            while self._next.kind == "end":
                self._at += 1
            if self._next.kind in ("}", "eof") or self._keyword in ends:
                break
            found.append(self._statement())
        self._depth -= 1
        return tuple(found)

    def _statement(self) -> Command | If | Loop:
        match self._keyword:
            case "if":
                return self._if()
            case "for" | "while" | "until":
                return self._loop()
            case _:
                return self._command()

    def _expect(self, keyword: str) -> None:
        if self._keyword != keyword:
            raise self._wrong(f"{keyword!r} should stand here")
        self._at += 1

    def _if(self) -> If:
        place = f"{self._name}:{self._next.line}"
        branches = []
        while self._keyword in ("if", "elif"):
            self._at += 1
            condition = self._block("then")
            self._expect("then")
            branches.append((condition, self._block("elif", "else", "fi")))
        otherwise: Block = ()
        if self._keyword == "else":
            self._at += 1
            otherwise = self._block("fi")
        self._expect("fi")
        return If(place, tuple(branches), otherwise)

    def _loop(self) -> Loop:
        place, kind = f"{self._name}:{self._next.line}", self._keyword
        self._at += 1
        variable = self._keyword if kind == "for" else ""
        self._block("do")
        self._expect("do")
        body = self._block("done")
        self._expect("done")
        return Loop(place, variable, body)

    def _command(self) -> Command:
        place = f"{self._name}:{self._next.line}"
        words = []
        while self._next.kind == "word":
            words.append(self._next.word)
            self._at += 1
        if self._next.kind != "{":
            return Command(place, tuple(words))
        self._at += 1
        body = self._block()
        if self._next.kind != "}":
            raise self._wrong(f"the brace after {place} is not closed")
        self._at += 1
        return Command(place, tuple(words), body)
