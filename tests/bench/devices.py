"""Devices that publish at a steady rate with QoS 1, each message with a number of its own:

python -m tests.bench.devices PORT RATE COUNT OUT

OUT becomes a JSON object once the broker has answered for every message: the seconds it took. What the
broker has not answered for is published again after a lost line, as QoS 1 wants it.
"""

import json
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

#: Keys that change again and again.
KEYS = 1_000
#: Messages that may wait for the broker here.
_MOST = 50_000


def topic_of(number: int) -> str:
    """Where message ``number`` is published."""
    return f"divisions/{370_102_000 + number % KEYS}"


def payload_of(number: int) -> bytes:
    """What it says: about 170 bytes."""
    return (
        b'{"name":"%-50s","level":"township","parent":"370102","n":%d,"volt":220.5,"state":"in order"}'
        % (b"v%d" % number, number)
    )


def main(port: int, rate: int, count: int, out: Path) -> None:
    """Publish, and wait for the broker's answers."""
    client = paho.Client(
        callback_api_version=CallbackAPIVersion.VERSION2, client_id="devices", clean_session=False
    )
    client.max_inflight_messages_set(2_000)
    client.reconnect_delay_set(1, 1)
    answered = 0

    def published(*_: object) -> None:
        nonlocal answered
        answered += 1

    client.on_publish = published
    client.connect("127.0.0.1", port)
    client.loop_start()
    began = time.monotonic()
    for number in range(count):
        early = began + number / rate - time.monotonic()
        if early > 0.002:
            time.sleep(early)
        while number - answered > _MOST:
            time.sleep(0.01)
        client.publish(topic_of(number), payload_of(number), qos=1)
    while answered < count:
        time.sleep(0.02)
    out.write_text(json.dumps({"seconds": time.monotonic() - began}))
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:4]]
    main(given[0], given[1], given[2], Path(sys.argv[4]))
