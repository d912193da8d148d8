"""The guides work as they stand: what of them needs no server; the rest is in tests/live/test_docs.py."""

import re
from pathlib import Path

import pytest

from contracts.evolution.rules import RULES
from tests.guide import ROOT, Command, Edit, File, GuideWrong, Reader, anchors, printed, steps

CONTRACTS = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


def test_the_first_draft_of_the_guide_comes_out_as_shown(tmp_path: Path) -> None:
    first = CONTRACTS[: CONTRACTS.index("\n## 2. ")]
    with Reader(tmp_path) as reader:
        done = reader.follow(first)
    assert sum(isinstance(step, Command) for step in done) == 3


def test_the_guide_names_every_rule_of_evolution_and_how_bad_it_is() -> None:
    rows = re.findall(r"^\| (`[a-z-]+`.*?) \| (break|promise|note) \|$", CONTRACTS, re.MULTILINE)
    told = {name: severity for names, severity in rows for name in re.findall("`([a-z-]+)`", names)}
    assert told == {name: rule.severity for name, rule in RULES.items()}


def test_every_link_within_the_guide_leads_somewhere() -> None:
    links = re.findall(r"\]\(#([^)]*)\)", CONTRACTS)
    assert links
    assert set(links) <= anchors(CONTRACTS)


GUIDE = """
```text note.txt
one
two
```

```diff note.txt
 one
-two
+three
```

```console
$ export WHAT=here
$ cat note.txt; echo "$WHAT"
one
th…e
…
```

```python
not run
```
"""


def test_a_guide_is_files_edits_and_commands(tmp_path: Path) -> None:
    assert [type(step) for step in steps(GUIDE)] == [File, Edit, Command, Command]
    with Reader(tmp_path, {"here": "there"}) as reader:
        reader.follow(GUIDE)
    assert (tmp_path / "note.txt").read_text() == "one\nthree\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("```console\n$ echo other\nshown\n```\n", "expected:\nshown\ngot:\nother"),
        ("```console\n$ false\n```\n", "exit code 1"),
        ("```console\n$ exit 3\n```\n", "the shell ended"),
        ("```diff note.txt\n-four\n+five\n```\n", "expected once in note.txt"),
    ],
)
def test_a_guide_that_does_not_work_says_where(tmp_path: Path, wrong: str, said: str) -> None:
    with Reader(tmp_path) as reader:
        reader.follow(GUIDE)
        with pytest.raises(GuideWrong) as caught:
            reader.follow(wrong)
    assert said in str(caught.value)


def test_what_is_shown_may_leave_out_text_and_lines() -> None:
    assert printed(("a…c", "…", "z"), "abc\nm\nn\nz\n")
    assert printed(("…",), "")
    assert printed(("a",), "a\n\n")
    assert not printed(("a…c",), "ab\nc\n")
    assert not printed(("a",), "a\nb\n")
