"""Devices that publish at a steady rate with QoS 1, each message with a number of its own:

python -m tests.bench.devices PORT RATE COUNT OUT

OUT becomes a JSON object once the broker has answered for every message: the seconds it took. What the
broker has not answered for is published again after a lost line, as QoS 1 wants it.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

#: Keys that change again and again.
KEYS = 1_000
#: Messages that the broker may be behind with, below the number of packet ids there are.
_MOST = 20_000
#: MQTT 3.1.1, clean session, keep alive 60 s, client id "devices".
_CONNECT = b"\x10\x13\x00\x04MQTT\x04\x02\x00\x3c\x00\x07devices"


def topic_of(number: int) -> str:
    """Where message ``number`` is published."""
    return f"divisions/{370_102_000 + number % KEYS}"


def payload_of(number: int) -> bytes:
    """What it says: about 170 bytes."""
    return (
        b'{"name":"%-50s","level":"township","parent":"370102","n":%d,"volt":220.5,"state":"in order"}'
        % (b"v%d" % number, number)
    )


async def main(port: int, rate: int, count: int, out: Path) -> None:
    """Publish, and wait for the broker's answers. The protocol is written here in its few bytes, or a
    library would be the slowest part of the bench."""
    waiting: dict[int, int] = {}  # message by packet id, in the order in which they were sent
    began, following, downs = time.monotonic(), 0, 0.0
    lost = began
    while following < count or waiting:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_CONNECT)
            await reader.readexactly(4)
        except (OSError, EOFError):
            await asyncio.sleep(0.05)
            continue
        downs += time.monotonic() - lost
        writer.writelines(_packet(mid, number, again=True) for mid, number in waiting.items())
        answers = asyncio.create_task(_answers(reader, waiting), name="answers")
        try:
            while (following < count or waiting) and not answers.done():
                due = min(count, int((time.monotonic() - began) * rate) + 1)
                due = min(due, following + 500, following + _MOST - len(waiting))
                for number in range(following, due):
                    mid = number % 60_000 + 1
                    waiting[mid] = number
                    writer.write(_packet(mid, number))
                following = max(following, due)
                await writer.drain()
                await asyncio.sleep(0.005)
        except OSError:
            pass
        finally:
            lost = time.monotonic()
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            writer.close()
    out.write_text(json.dumps({"seconds": time.monotonic() - began, "away": downs}))


def _packet(mid: int, number: int, *, again: bool = False) -> bytes:
    topic, payload = topic_of(number).encode(), payload_of(number)
    body = len(topic).to_bytes(2) + topic + mid.to_bytes(2) + payload
    assert 128 <= len(body) < 16_384
    length = bytes((len(body) & 127 | 128, len(body) >> 7))
    return (b"\x3a" if again else b"\x32") + length + body


async def _answers(reader: asyncio.StreamReader, waiting: dict[int, int]) -> None:
    while True:
        # PUBACK alone comes here, four bytes each.
        piece = await reader.readexactly(4)
        waiting.pop(int.from_bytes(piece[2:]), None)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:4]]
    asyncio.run(main(given[0], given[1], given[2], Path(sys.argv[4])))
