"""Tells the residents over WebSocket, and ends when the state was told whole.

python websocket.py. To go on over cuts, ask with Last-Event-ID, as with server-sent events.
"""

import asyncio
import json
import os

import aiohttp

WINDOW = os.environ.get("LEVELSYNC_WINDOW", "http://127.0.0.1:8700")
HEADERS = {"Authorization": f"Bearer {os.environ['LEVELSYNC_TOKEN']}"}


async def main() -> None:
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.ws_connect(f"{WINDOW}/v1/resident.v2/events?from=state") as line,
    ):
        async for message in line:
            told = json.loads(message.data)
            if told["event"] == "change":
                print(told["data"]["op"], told["data"]["key"], told["id"])
            elif told["event"] == "live":
                print("live", told["id"])
                return
        print("the window hung up:", line.close_code)


asyncio.run(main())
