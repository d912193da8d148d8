"""The image, and one level in containers: judged by the tools themselves, and run as far as that goes
without an engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agents.demo.servers import free_ports
from agents.sources import load
from tests.deploy.judges import ROOT, judge

FOLDER = ROOT / "deploy" / "container"
TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    """What Compose makes of the file."""
    said = subprocess.run(
        [judge("docker-compose"), "-f", str(FOLDER / "compose.yaml"), "--profile", "devices",
         "config", "--format", "json"],
        capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "HOME": "/tmp"},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_hadolint_finds_nothing_wrong_with_the_image() -> None:
    said = subprocess.run(
        [judge("hadolint"), str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "")


def test_what_the_image_copies_is_there_and_let_through() -> None:
    through = [
        line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]  # fmt: skip
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.M)
        for name in shlex.split(line)
    }
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
    assert copied == set(through)


def test_the_image_runs_as_nobody_in_particular_with_what_is_locked() -> None:
    assert "\nUSER 10001:10001\n" in TEXT
    assert TEXT.count("--require-hashes") == 2
    assert re.search(r"^HEALTHCHECK ", TEXT, re.M)


def test_every_container_has_a_read_only_root_and_no_rights(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        # Kafka's own image writes its settings into itself.
        assert service.get("read_only") or name == "kafka", name
        assert service["mem_limit"], name
    assert composed["services"]["agent"]["user"] == "10001:10001"


def test_only_this_machine_reaches_the_containers_and_nobody_but_the_agent_kafka(
    composed: dict[str, Any],
) -> None:
    for service in composed["services"].values():
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}
    assert "ports" not in composed["services"]["kafka"]
    assert list(composed["services"]["kafka"]["networks"]) == ["level"]
    assert composed["networks"]["level"]["internal"] is True


def test_the_node_file_of_the_containers_is_right_with_their_secrets(
    composed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for secret in composed["services"]["agent"]["secrets"]:
        (tmp_path / Path(secret["target"]).name).write_text("a-secret-of-the-test")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = load(FOLDER / "node.toml")
    assert config.window
    assert not config.window.open
    assert config.kafka
    assert config.kafka.bootstrap == "kafka:9092"


@pytest.mark.live
def test_the_images_command_works_where_nothing_but_its_state_can_be_written(
    tmp_path: Path,
) -> None:
    """Without an engine: the image's own command and health check, in a mount namespace with a read-only
    root."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, to make a mount namespace")
    (listen,) = free_ports(1)
    state, secrets = tmp_path / "state", tmp_path / "secrets"
    for each in (state, secrets):
        each.mkdir()
    file = tmp_path / "node.toml"
    file.write_text(
        '[node]\nid = "370102"\nname = "x"\nlevel = "county"\n'
        f'[agent]\nlisten = "127.0.0.1:{listen}"\nstate = "{state}"\n'
        '[kafka]\nbootstrap = "127.0.0.1:1"\n'
    )
    check = json.loads(re.findall(r"^    CMD (\[.*\])$", TEXT, re.M)[0])
    command = json.loads(re.findall(r"^CMD (\[.*\])$", TEXT, re.M)[0])
    assert json.loads(re.findall(r"^ENTRYPOINT (\[.*\])$", TEXT, re.M)[0]) == ["levelsync"]
    inner = shlex.join([sys.executable, "-m", "agents.cli", *command[:-1], str(file)])
    script = (
        f"mount --bind {state} {state} && mount -o remount,ro,bind / && cd {state}"
        f" && ! touch {tmp_path}/here 2>/dev/null && exec {inner}"
    )
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
        "CREDENTIALS_DIRECTORY": str(secrets), "LEVELSYNC_LISTEN": f"127.0.0.1:{listen}",
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], env=env, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 60
        while True:
            found = subprocess.run(
                [sys.executable, *check[1:]], env=env, capture_output=True, check=False
            )
            if found.returncode == 0:
                break
            said = (tmp_path / "log").read_text()
            assert agent.poll() is None and time.monotonic() < until, said  # noqa: PT018
            time.sleep(0.2)
    finally:
        agent.terminate()
        agent.wait(30)
    assert agent.returncode == 0
    said = (tmp_path / "log").read_text()
    assert "agent ends" in said
    assert "Read-only" not in said
