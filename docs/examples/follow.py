"""Follows the residents: the state first, then every change, over cuts and restarts.

python follow.py [COUNT]: ends at the first watermark after COUNT changes; without it, never.
"""

import asyncio
import sys

from agents.client import Change, Live, Reset, Watermark, Window


async def main(count: float) -> None:
    residents: dict[str, dict] = {}
    async with Window() as window:  # LEVELSYNC_WINDOW, LEVELSYNC_TOKEN
        async for event in window.subscribe("resident.v2", on_gap="state"):
            match event:
                case Reset(reason=reason):  # the state follows: what we had may be old
                    residents.clear()
                    print("state:", reason)
                case Change(op="put"):
                    residents[event.key] = event.record
                    print("put", event.key, event.record["name"])
                case Change(op="delete"):
                    residents.pop(event.key, None)
                    print("delete", event.key)
                case Live():
                    print("live:", len(residents), "residents")
                case Watermark(state="unreachable"):
                    print("no line; complete as of", event.complete_as_of, file=sys.stderr)
            count -= isinstance(event, Change)
            if count <= 0 and isinstance(event, Watermark):
                return


asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")))
