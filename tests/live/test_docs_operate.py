"""The guide to running levelsync from its first command to its last, on a real Kafka; what only root and
systemd can do is done by stand-ins that do the same here."""

import os
import re
from pathlib import Path

import pytest

from agents.demo.servers import KafkaServer, free_ports
from tests.guide import ROOT, Reader, anchors

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")

STAND_INS = {
    # sudo [-u USER] COMMAND …
    "sudo": 'if [ "$1" = -u ]; then shift 2; fi\nexec "$@"\n',
    # install, for whoever it is
    "install": """set -e
words=()
while [ $# -gt 0 ]; do
    case $1 in
    -o | -g) shift 2 ;;
    *) words+=("$1"); shift ;;
    esac
done
exec /usr/bin/install "${words[@]}"
""",
    # start, stop and restart one unit, as deploy/systemd's says
    "systemctl": """set -eu
place=PLACE
verb=$1; shift
[ "${1:-}" = --now ] && shift
node=${1#levelsync@}
stop() {
    [ -f "$place/$node.pid" ] || return 0
    kill "$(cat "$place/$node.pid")" 2>/dev/null || true
    while kill -0 "$(cat "$place/$node.pid")" 2>/dev/null; do sleep 0.1; done
    rm -f "$place/$node.pid"
}
start() {
    mkdir -p "$place/var/lib/levelsync/$node"
    CREDENTIALS_DIRECTORY=$place/etc/levelsync/$node.credentials levelsync run \
        "$place/etc/levelsync/$node.toml" >>"$place/$node.log" 2>&1 </dev/null &
    echo $! >"$place/$node.pid"
}
case $verb in
enable | start) start ;;
stop) stop ;;
restart) stop; start ;;
*) exit 1 ;;
esac
""",
}


def test_the_guide_to_running_it_works_as_it_stands(tmp_path: Path, unshared: KafkaServer) -> None:
    agent, window = free_ports(2)
    for folder in ("etc/levelsync", "var/lib/levelsync"):
        (tmp_path / folder).mkdir(parents=True)
    instead = {
        "127.0.0.1:9092": unshared.bootstrap,
        "127.0.0.1:8637": f"127.0.0.1:{agent}",
        "127.0.0.1:8737": f"127.0.0.1:{window}",
        "/etc/levelsync": f"{tmp_path}/etc/levelsync",
        "/var/lib/levelsync": f"{tmp_path}/var/lib/levelsync",
        "tar -C /etc ": f"tar -C {tmp_path}/etc ",
    }
    try:
        with Reader(tmp_path, instead) as reader:
            for name, text in STAND_INS.items():
                program = tmp_path / ".programs" / name
                program.write_text("#!/bin/bash\n" + text.replace("PLACE", str(tmp_path)))
                program.chmod(0o755)
            reader.follow(TEXT)
    finally:
        running = tmp_path / "37.pid"
        if running.exists():
            os.kill(int(running.read_text()), 15)


def test_what_the_guide_does_not_run_is_run_elsewhere_or_is_the_systems_own() -> None:
    """Blocks of ``sh`` are not run: their commands are these and no others."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S)
    assert [line.partition("#")[0].strip() for each in blocks for line in each.splitlines()] == [
        "sudo deploy/systemd/install",
        "git pull && sudo deploy/systemd/install",
        "sudo -u levelsync levelsync backfill /etc/levelsync/3701.toml resident.v2 --anew",
    ]


def test_every_link_of_the_guide_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
    assert set(re.findall(r"\]\(#([^)]*)\)", re.sub(r"\n", " ", TEXT))) <= anchors(TEXT)
