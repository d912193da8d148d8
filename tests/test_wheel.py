"""A built wheel, installed alone, has all that the package needs at run time."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARRIED = [
    *(
        f"agents/window/page/{path.name}"
        for path in sorted((ROOT / "agents" / "window" / "page").iterdir())
    ),
    "agents/demo/nodes/37.toml",
    "agents/demo/nodes/3701.toml",
    "agents/demo/nodes/370102.toml",
    "contracts/data/divisions.tsv.xz",
    "contracts/export/catalogue.css",
    "contracts/data/SOURCE.md",
    "contracts/published/SHA256SUMS",
    "contracts/published/resident.v2/2.0.json",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_carries_page_data_and_examples(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert set(CARRIED) <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "deploy/"))]


@pytest.mark.live
@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_explains_the_demo(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    locked = re.findall(r"^[a-z0-9-]+==[^ ;]+", (ROOT / "requirements.lock").read_text(), re.M)
    (tmp_path / "constraints").write_text("\n".join(locked))
    subprocess.run(
        [programs / "pip", "install", "-q", "-c", tmp_path / "constraints", wheel],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    def said(*command: object) -> str:
        return subprocess.run(
            [*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "--check" in said(programs / "levelsync", "demo", "--help")
    examples = Path(
        said(programs / "python", "-c",
             "from agents.demo.servers import node_examples; print(node_examples())").strip()
    )  # fmt: skip
    assert {path.stem for path in examples.iterdir()} == {"37", "3701", "370102", "370102001"}
    assert "right" in said(programs / "levelsync", "check", examples / "3701.toml")
    missing = subprocess.run(
        [programs / "levelsync", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert missing.returncode == 1
    assert "pip install 'levelsync[demo]'" in missing.stderr
