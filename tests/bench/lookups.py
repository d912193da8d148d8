"""A client that looks records up at a steady rate over a few kept connections:

python -m tests.bench.lookups PORT RECORDS RATE SECONDS FIRST OUT

OUT becomes a JSON object: milliseconds of every look-up from when it was due, first seconds left out, and
which answers were not a state that key had: see :func:`had`. A look-up that is late because those
before it were late counts as that late.
"""

import asyncio
import datetime
import json
import random
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.residents import CONTRACT, FIELDS, row

CONNECTIONS = 32


def record(number: int) -> dict[str, str]:
    """Resident ``number`` as the window shows it."""
    found = dict(zip(FIELDS, row(number), strict=True))
    moment = datetime.datetime.fromisoformat(found["registered_at"])
    return found | {"registered_at": moment.isoformat().replace("+00:00", "Z")}


def changed(number: int, records: int) -> tuple[int, str]:
    """What change ``number`` does: which resident's, and which telephone they have then."""
    return number * 7_919 % records, f"15{number:09}"


def had(number: int, found: dict[str, Any], records: int) -> bool:
    """Did resident ``number`` ever look like ``found``?"""
    there = record(number)
    if found["phone"] != there["phone"]:
        resident, there["phone"] = changed(int(found["phone"][2:]), records)
        if resident != number:
            return False
    return found == there


async def main(port: int, records: int, rate: int, seconds: float, first: float, out: Path) -> None:
    """Ask, and look at the answers when all are there: the client is to be no part of the figures."""
    chance = random.Random(1)
    due: deque[float] = deque()
    asked: list[int] = []
    answers: list[bytes] = []
    late: list[float] = []
    began = time.monotonic() + 0.2
    count = int(rate * seconds)
    due.extend(began + number / rate for number in range(count))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while due:
            at = due.popleft()
            number = chance.randrange(records)
            key = row(number)[0]
            if (wait := at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            writer.write(
                f"GET /v1/{CONTRACT.name}/records/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            at_ = head.lower().index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at_ : head.index(b"\r", at_)]))
            if at - began >= first:
                late.append((time.monotonic() - at) * 1000)
            asked.append(number)
            answers.append(body)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(ask())
    took = time.monotonic() - began
    wrong = []
    for number, body in zip(asked, answers, strict=True):
        found = msgspec.json.decode(body)
        if "record" not in found or not had(number, found["record"], records):
            wrong.append(number)
    out.write_text(json.dumps({"ms": late, "asked": count, "seconds": took, "wrong": wrong[:10]}))


if __name__ == "__main__":
    _, port, records, rate, seconds, began, out = sys.argv
    asyncio.run(main(int(port), int(records), int(rate), float(seconds), float(began), Path(out)))
