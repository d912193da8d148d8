"""``levelsync status --all``: every node of a folder as a tree, what is wrong first."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.base.status import Status
from agents.cli import main
from agents.cli.findings import width
from agents.cli.status import judged, nodes_in, told_age


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """As wide as lines get, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "100")


class Agents:
    """Answers /status for several agents, each at an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[http.server.ThreadingHTTPServer] = []

    def serve(self, body: Any) -> str:
        """The address at which ``body`` is answered."""
        answer = body if isinstance(body, bytes) else json.dumps(body).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    def add(self, node: str, name: str, parent: str, seen: Any, *, file: str = "") -> None:
        """A node file whose agent answers ``seen``; None where it does not answer."""
        listen = "127.0.0.1:1" if seen is None else self.serve(seen)
        above = f'[parent]\nid = "{parent}"\nbootstrap = "${{NOT_SET}}"\n' if parent else ""
        (self.folder / f"{file or node}.toml").write_text(
            f'[node]\nid = "{node}"\nname = "{name}"\nlevel = "city"\n'
            f'[agent]\nlisten = "{listen}"\n{above}',
            encoding="utf-8",
        )

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    serving = Agents(tmp_path)
    yield serving
    serving.close()


def status(node: str, *hops: tuple[str, str, str], version: str = "0.1.0") -> Status:
    """An agent whose hops run and are complete as of just now."""
    seen = Status(node, version)
    seen.planned = True
    for kind, contract, to in hops:
        hop = seen.hop(kind, contract, contract, to)  # type: ignore[arg-type]
        hop.running()
        hop.lag, hop.promise, hop.complete = 0, 5.0, time.time_ns() // 1000 - 400_000
    return seen


@pytest.fixture
def tree(agents: Agents) -> dict[str, Status]:
    """Province, city and county; nothing is wrong."""
    return {
        "37": status("37", ("capture", "resident.v2", "resident.v2"), ("view", "resident.v2", "resident.v2.to.3701")),
        "3701": status("3701", ("link", "resident.v2", "resident.v2.from.37"), ("link", "access.v1", "access.v1.from.3701")),
        "370102": status("370102", ("link", "resident.v2", "resident.v2.from.3701"), ("window", "resident.v2", "window")),
    }  # fmt: skip


def lay(agents: Agents, seen: dict[str, Status]) -> None:
    for (node, each), name in zip(seen.items(), ("山东省", "济南市", "历下区"), strict=True):
        parent = {"37": "", "3701": "37", "370102": "3701"}[node]
        agents.add(node, name, parent, each.as_dict())


def shown(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, str]:
    code = main(["status", "--all", str(folder), *more])
    return code, capsys.readouterr().out


def test_a_tree_that_is_well_is_shown_hop_by_hop_and_exits_0(
    agents: Agents, tree: dict[str, Status], capsys: pytest.CaptureFixture[str]
) -> None:
    lay(agents, tree)
    code, out = shown(capsys, agents.folder)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("3 nodes, 6 hops: all is well")
    nodes = [line for line in lines if "levelsync 0.1.0" in line]
    assert [line.partition("  city")[0] for line in nodes] == [
        "✓ 37 山东省", "└─ ✓ 3701 济南市", "   └─ ✓ 370102 历下区",
    ]  # fmt: skip
    ways = ("view → 3701", "link ↓ 37", "link ↑ 37", "link ↓ 3701", "window")
    assert all(any(way in line for line in lines) for way in ways)
    assert all("0.4 s" in line or "0.5 s" in line for line in lines if " running" in line)
    assert max(map(width, lines)) <= 100
    assert "\x1b" not in out, "no colours but on a terminal"


def test_what_is_wrong_comes_first_and_exits_1(
    agents: Agents, tree: dict[str, Status], capsys: pytest.CaptureFixture[str]
) -> None:
    link, up = tree["3701"].hops
    link.state, link.error, link.gaps = "stopped", "Something is missing (expected=3, counted=2)", 1
    up.gauges["dead_letters_waiting"] = 2.0
    follow, window = tree["370102"].hops
    window.complete -= 900_000_000
    follow.state, follow.waits = "starting", "resident.v2.to.370102 upstream"
    lay(agents, tree)
    code, out = shown(capsys, agents.folder)
    lines = out.splitlines()
    assert code == 1
    assert lines[0].startswith("3 nodes, 6 hops: 2 wrong, 2 to look at")
    assert (
        lines[1]
        == "✗ 3701 济南市, resident.v2 link ↓ 37: Something is missing (expected=3, counted=2)"
    )
    assert lines[2].startswith(
        "✗ 370102 历下区, resident.v2 window: complete as of 15 min ago, promised are 5 s"
    )
    assert lines[3].startswith("! 3701 济南市, access.v1 link ↑ 37: 2 dead letters wait: ")
    assert lines[4].startswith(
        "! 370102 历下区, resident.v2 link ↓ 3701: waits for resident.v2.to.370102"
    )
    (row,) = [line for line in lines if "link ↓ 37 " in line and "stopped" in line]
    assert row.split()[-1] == "1", "the gap"
    assert max(map(width, lines)) <= 100


def test_with_wrong_the_others_are_left_out(
    agents: Agents, tree: dict[str, Status], capsys: pytest.CaptureFixture[str]
) -> None:
    tree["370102"].hops[0].state = "stopped"
    lay(agents, tree)
    code, out = shown(capsys, agents.folder, "--wrong", "--json")
    assert code == 1
    assert [node["node"] for node in json.loads(out)["nodes"]] == ["370102"]


def test_an_agent_that_does_not_answer_or_is_another_is_said(
    agents: Agents, capsys: pytest.CaptureFixture[str]
) -> None:
    agents.add("37", "山东省", "", status("37").as_dict())
    agents.add("3701", "济南市", "37", None)
    agents.add("3702", "青岛市", "37", status("3703").as_dict())
    agents.add("3703", "淄博市", "37", b"<html>")
    agents.add("3704", "枣庄市", "37", b"{}")
    code, out = shown(capsys, agents.folder)
    assert code == 1
    assert "3701 济南市: does not answer at 127.0.0.1:1: " in out
    assert "another node answers" in out
    assert out.count("expected /status of an agent, got something else") == 4, "above and below"


def test_all_are_asked_at_once_and_none_is_waited_for_long(
    agents: Agents, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty that never answer: sockets nobody serves."""
    import socket

    deaf = []
    for number in range(20):
        listening = socket.create_server(("127.0.0.1", 0))
        deaf.append(listening)
        (agents.folder / f"n{number}.toml").write_text(
            f'[node]\nid = "37{number:02}"\n[agent]\nlisten = "127.0.0.1:{listening.getsockname()[1]}"\n'
        )
    began = time.monotonic()
    code, out = shown(capsys, agents.folder)
    assert time.monotonic() - began < 20, "40 s one after the other"
    assert code == 1
    assert "20 nodes, 0 hops: 20 wrong" in out
    assert "… and 8 more, see below" in out
    for each in deaf:
        each.close()


def test_status_toml_says_where_agents_elsewhere_are_asked(
    agents: Agents, capsys: pytest.CaptureFixture[str]
) -> None:
    agents.add("37", "山东省", "", None)
    here, alone = agents.serve(status("37").as_dict()), agents.serve(status("3701").as_dict())
    (agents.folder / "status.toml").write_text(
        f'[addresses]\n"37" = "{here}"\n"3701" = "{alone}"\n', encoding="utf-8"
    )
    code, out = shown(capsys, agents.folder)
    assert code == 0, out
    assert "└─ ✓ 3701" in out, "one without a file stands where its number belongs"
    (agents.folder / "status.toml").write_text("[addresses]\n37 = 8600\n", encoding="utf-8")
    assert main(["status", "--all", str(agents.folder)]) == 2
    assert "status.toml: expected" in capsys.readouterr().err


def test_other_versions_and_revisions_are_to_be_looked_at(
    agents: Agents, capsys: pytest.CaptureFixture[str]
) -> None:
    for node, version, revision in (
        ("37", "0.2.0", "2.10"),
        ("3701", "0.2.0", "2.9"),
        ("3702", "0.1.0", "2.10"),
    ):
        seen = status(node, version=version)
        seen.revisions = lambda revision=revision: {"resident.v2": revision}  # type: ignore[misc]
        agents.add(node, "", "37" if node != "37" else "", seen.as_dict())
    code, out = shown(capsys, agents.folder)
    assert code == 0
    assert "! 3701: resident.v2 2.9, elsewhere 2.10 is known" in out
    assert "! 3702: levelsync 0.1.0, most nodes run 0.2.0" in out


def test_a_file_that_is_no_node_file_is_said_and_the_others_are_shown(
    agents: Agents, capsys: pytest.CaptureFixture[str]
) -> None:
    agents.add("37", "山东省", "", status("37").as_dict())
    (agents.folder / "other.toml").write_text("[not a node]\n")
    (agents.folder / "broken.toml").write_text("[node\n")
    code, out = shown(capsys, agents.folder)
    assert code == 1
    assert "✗ other: other.toml: expected a node file" in out
    assert "✗ broken: broken.toml: expected a node file" in out
    assert "✓ 37 山东省" in out


def test_departments_and_second_agents_stand_beside_their_place(agents: Agents) -> None:
    from agents.cli.status_tree import drawn

    for node, parent in (
        ("0", ""),
        ("37", "0"),
        ("37-civil", ""),
        ("3701", "37"),
        ("3701-civil", "37-civil"),
    ):
        agents.add(node, "", parent, None)
    agents.add("3701", "", "37", None, file="3701-second")
    told = drawn(nodes_in(agents.folder), colours=False)
    tree = [line.rstrip() for line in told.partition("node, contract")[2].splitlines()[1:]]
    assert [line.partition("  city")[0] for line in tree] == [
        "✓ 0", "└─ ✓ 37", "   ├─ ✓ 37-civil", "   │  └─ ✓ 3701-civil", "   └─ ✓ 3701", "      ✓ 3701",
    ]  # fmt: skip


def test_an_age_is_by_the_agents_own_clock() -> None:
    seen = status("37", ("window", "resident.v2", "window"))
    told = seen.as_dict()
    told["time"] += 7_200
    hop = told["hops"][0]
    hop["complete"] += 7_200
    found = judged(hop, told["time"])
    assert found.age is not None
    assert found.age < 5
    assert found.judgement == "fine"


def test_a_wrong_call_says_what_is_expected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["status"]) == 2
    assert "NODE.toml or --all FOLDER" in capsys.readouterr().err
    assert main(["status", "--all", str(tmp_path)]) == 2
    assert "expected node files in it" in capsys.readouterr().err


def test_ages_are_told_in_the_unit_that_fits() -> None:
    told = [told_age(seconds) for seconds in (0.04, 61, 150, 8_000, 200_000)]
    assert told == ["0.0 s", "61.0 s", "2 min", "2 h", "2 d"]
