"""Doing a plan: each step is shown, asked, recorded, and done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from stiefelsystem.console import StiefelError, say, warn
from stiefelsystem.host import consent
from stiefelsystem.host.setup import door, steps
from stiefelsystem.host.setup.propose import Proposal, propose
from stiefelsystem.host.setup.record import FOLDER_NAME, Record
from stiefelsystem.host.setup.root import Root
from stiefelsystem.host.setup.states import look
from stiefelsystem.host.setup.steps import Command, Packages, Step

YES, SHOW, SKIP, ABORT = "yes", "view", "skip", "abort"
GO_ON = "what is done is recorded: run it again to go on, or with --uninstall to take it back"


def execute(
    plan: Sequence[Step],
    *,
    root: Root,
    yes: bool = False,
    dry_run: bool = False,
    busy: Callable[[], Sequence[str]] = list,
) -> bool:
    """Do what is left of a plan, and say what; returns whether all of it is done now.

    `yes` is the answer to all questions; `dry_run` shows everything and touches nothing. `busy`
    tells of what is at work, and is asked just before each command: questions may have been open
    for hours. What was interrupted, at whatever point, is continued by another call. Raises
    `StiefelError` if there is no terminal to ask on, and when something fails, or is at work: what
    was done by then is recorded.
    """
    steps.check(plan)
    with Record.open(root, writable=not dry_run) as record:
        waiting = survey(plan, root=root, record=record)
        if not waiting:
            say("nothing to do: everything is as it should be")
            return True
        if dry_run:
            _show_all(plan, waiting, root)
            return True
        if not yes and not consent.can_ask():
            raise StiefelError(
                f"nothing is done: {len(waiting)} of {len(plan)} steps have to be asked: there is "
                "no terminal",
                hint="--dry-run shows them, --yes answers yes to all",
            )
        return _Execution(root, record, waiting=set(waiting), yes=yes, busy=busy).run(plan)


def survey(
    plan: Sequence[Step], *, root: Root, record: Record
) -> dict[str, Proposal | StiefelError]:
    """What is to be done, by the steps' ids: as far as is known before those that come first.

    Raises `StiefelError` where a step cannot be done, whatever the others do.
    """
    waiting: dict[str, Proposal | StiefelError] = {}
    for step in plan:
        try:
            proposal = propose(step, root=root, record=record, changing=waiting.keys())
        except StiefelError as error:
            if not waiting.keys() & set(step.needs):
                raise
            waiting[step.id] = error  # what it needs may put that right
        else:
            if proposal:
                waiting[step.id] = proposal
    return waiting


class _Execution:
    """The steps of one run, and what became of them."""

    def __init__(
        self,
        root: Root,
        record: Record,
        *,
        waiting: set[str],
        yes: bool,
        busy: Callable[[], Sequence[str]],
    ) -> None:
        self._root = root
        self._record = record
        self._waiting = waiting
        self._yes = yes
        self._busy = busy
        self._skipped: list[str] = []

    def run(self, plan: Sequence[Step]) -> bool:
        for number, step in enumerate(plan, 1):
            header = f"[{number}/{len(plan)}] {step.id}: {step.purpose}"
            if missing := [id for id in step.needs if id in self._skipped]:
                if step.id in self._waiting:
                    say(header)
                    say(f"not done: it needs {', '.join(missing)}", mark="  ")
                    self._skipped.append(step.id)
                continue
            proposal = self._propose(step)
            if not proposal:
                continue
            say(header)
            answer, proposal = self._ask(step, proposal)
            if answer == ABORT:
                say(f"stopped at {step.id}; {GO_ON}")
                return False
            if answer == SKIP:
                self._skipped.append(step.id)
            else:
                self._do(proposal)
        if self._skipped:
            say(f"not done: {', '.join(self._skipped)}. {GO_ON}")
            return False
        say(f"done. The record is in {FOLDER_NAME}; --uninstall takes everything back")
        return True

    def _propose(self, step: Step) -> Proposal:
        try:
            return propose(step, root=self._root, record=self._record)
        except StiefelError as error:
            raise StiefelError(str(error), hint=error.hint or GO_ON) from error

    def _ask(self, step: Step, proposal: Proposal) -> tuple[str, Proposal]:
        """The user's answer, and the proposal that it is about: what they have seen last."""
        proposal.show(self._root, full=False)
        while not self._yes:
            choices = (YES, *((SHOW,) if proposal.long else ()), SKIP, ABORT)
            answer = consent.choose(f"do {step.id}?", choices)
            if answer == SHOW:
                proposal.show(self._root, full=True)
                continue
            if answer != YES:
                return answer, proposal
            now = self._propose(step)
            if now == proposal:
                break
            warn("that has changed meanwhile; now it is:")
            proposal = now
            proposal.show(self._root, full=False)
        return YES, proposal

    def _do(self, proposal: Proposal) -> None:
        step, record = proposal.step, self._record
        if proposal.command and (busy := self._busy()):
            raise StiefelError(
                f"{step.id} is not run: at work is {', '.join(busy)}",
                hint=f"wait until it is done. {GO_ON}",
            )
        try:
            for change in proposal.changes:
                record.path(
                    step,
                    change.path,
                    before=(change.before, change.old),
                    after=(change.after, change.new),
                    secret=change.secret,
                )
                place = self._root.place(change.path)
                door.put(place, change.after, change.new)
                there, _ = look(place)
                if not there.like(change.after):
                    record.found(step, change.path, there)
            if proposal.command:
                self._run(proposal)
        except (StiefelError, OSError) as error:
            hint = getattr(error, "hint", "") or GO_ON
            raise StiefelError(f"{step.id} failed: {error}", hint=hint) from error

    def _run(self, proposal: Proposal) -> None:
        step = proposal.step
        assert isinstance(step, Command | Packages)
        self._record.command(
            step,
            proposal.command,
            take_back=(
                step.remove(proposal.packages) if isinstance(step, Packages) else step.take_back
            ),
            packages=proposal.packages,
            again=isinstance(step, Command) and step.again,
        )
        # Half of a package, or of an initrd, is worse than to wait.
        self._root.run(proposal.command, timeout=step.seconds, log=sys.stderr, let_end=True)
        self._record.ended(step)


def _show_all(
    plan: Sequence[Step], waiting: Mapping[str, Proposal | StiefelError], root: Root
) -> None:
    for number, step in enumerate(plan, 1):
        if not (proposal := waiting.get(step.id)):
            continue
        say(f"[{number}/{len(plan)}] {step.id}: {step.purpose}")
        if isinstance(proposal, Proposal):
            proposal.show(root, full=True)
        else:
            say(f"cannot be shown before what it needs is done: {proposal}", mark="  ")
