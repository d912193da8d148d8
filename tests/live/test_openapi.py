"""The window's own description of itself, held against the running window by Schemathesis."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from agents.base.health import listening
from agents.demo.servers import free_ports
from tests.agents.window.house import ENOUGH, GUARDED, House, bearer

pytestmark = pytest.mark.live

SCHEMATHESIS = Path(__file__).parents[2] / ".cache/schemathesis/bin/schemathesis"
#: All it knows but two: that every record asked for is there, and that whatever the document allows is
#: accepted, which it cannot say of fields that are searchable in one contract and not in the other.
LEFT_OUT = "positive_data_acceptance,ensure_resource_availability"


async def test_the_window_does_what_its_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It tries wrong tokens, too; waiting for the answers is another test's.
    monkeypatch.setattr("agents.window.rates.SLOWEST", 0.0)
    house = House(tmp_path, GUARDED)
    (port,) = free_ports(1)
    at = f"http://127.0.0.1:{port}"
    async with listening(house.app, f"127.0.0.1:{port}", "window.listen"):
        async with (
            ClientSession(headers=bearer(ENOUGH)) as session,
            session.get(f"{at}/openapi.json") as answer,
        ):
            document = await answer.json()
        file = tmp_path / "openapi.json"
        file.write_text(json.dumps(with_examples(document, house), ensure_ascii=False))
        process = await asyncio.create_subprocess_exec(
            SCHEMATHESIS, "run", file, "--url", at, "-H", f"Authorization: Bearer {ENOUGH}",
            # A feed does not end.
            "--exclude-path-regex", "events$", "--phases", "examples,coverage,fuzzing",
            "--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", "5",
            "--seed", "37", "--no-shrink",
            cwd=tmp_path,
            env=os.environ | {"NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-8_000:]
    assert f"{paths(document)} selected" in said.decode().replace("Operations:", "")


def paths(document: dict[str, Any]) -> int:
    """Operations that are no feed."""
    return sum(len(found) for path, found in document["paths"].items() if path[-6:] != "events")


def with_examples(document: dict[str, Any], house: House) -> dict[str, Any]:
    """The document with a record that is there, for whoever wants to begin with one."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    known = {"contract": "resident.v2", "key": house.key("resident.v2")}
                    parameter["example"] = known[parameter["name"]]
            assert path.startswith("/")
    return document
