"""The chart, by Helm's and kubeconform's own word, and what every agent of it must have."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.sources import load
from tests.deploy.judges import ROOT, judge

CHART = ROOT / "deploy" / "helm" / "levelsync"
VALUES = ROOT / "deploy" / "helm" / "example.yaml"
STRIMZI = ROOT / "deploy" / "helm" / "strimzi"
#: The Kubernetes whose schemas the chart is held against.
KUBERNETES = "1.37.0"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [judge("helm"), *arguments], capture_output=True, text=True, check=False,
        env={"HOME": "/tmp", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def rendered() -> str:
    said = helm(
        "template", "levelsync", str(CHART), "-f", str(VALUES), "--kube-version", KUBERNETES
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.fixture(scope="module")
def objects(rendered: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(rendered) if each]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kubernetes' own schemas, each whole in itself: kubeconform fetches none here."""
    found = list(
        (ROOT / ".cache" / "tools").glob(
            f"lib/*/site-packages/kubernetes_validate/kubernetes-json-schema/v{KUBERNETES}-local-strict"
        )
    )
    if not found:
        pytest.skip("no schemas of Kubernetes here: deploy/setup installs them")
    folder = tmp_path_factory.mktemp("schemas")
    shared = _inward(json.loads((found[0] / "_definitions.json").read_text())["$defs"])
    for name in (
        "statefulset-apps-v1", "configmap-v1", "service-v1", "networkpolicy-networking-v1",
        "poddisruptionbudget-policy-v1",
    ):  # fmt: skip
        schema = _inward(json.loads((found[0] / f"{name}.json").read_text()))
        schema.pop("$schema")
        schema.pop("$id")
        (folder / f"{name}.json").write_text(json.dumps({**schema, "definitions": shared}))
    return folder


def _inward(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: f"#/definitions/{inner.rpartition('/')[2]}"
            if key == "$ref" and isinstance(inner, str)
            else _inward(inner)
            for key, inner in value.items()
        }
    return [_inward(each) for each in value] if isinstance(value, list) else value


def conforms(text: str, schemas: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [judge("kubeconform"), "-strict", "-summary", "-schema-location",
         f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    for values in ([], ["-f", str(VALUES)]):
        said = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES, *values)
        assert said.returncode == 0, said.stdout + said.stderr


def test_what_comes_of_the_chart_is_what_kubernetes_takes(rendered: str, schemas: Path) -> None:
    said = conforms(rendered, schemas)
    assert said.returncode == 0, said.stdout
    assert "10 resources found" in said.stdout
    assert "Skipped: 0" in said.stdout
    wrong = conforms(rendered.replace("maxUnavailable: 1", "maxUnavailabel: 1"), schemas)
    assert wrong.returncode == 1, "a chart with a slip in it is refused"


def test_a_node_without_a_file_is_refused() -> None:
    said = helm("template", "x", str(CHART), "--kube-version", KUBERNETES,
                "--set", "nodes.3701.window=8700")  # fmt: skip
    assert said.returncode == 1
    assert "file" in said.stderr


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in objects:
        if each["kind"] == "StatefulSet":
            assert each["spec"]["replicas"] == 1
            yield each["spec"]["template"]["spec"]


def test_pods_are_restricted_as_kubernetes_means_it(objects: list[dict[str, Any]]) -> None:
    """What the Pod Security Standard `restricted` asks for, and a read-only root."""
    found = list(pods(objects))
    assert len(found) == 2
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}
        assert container["resources"]["limits"]["memory"]


def test_no_secret_is_in_the_chart_and_files_are_right(
    objects: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [each for each in objects if each["kind"] == "Secret"]
    (tmp_path / "hall").write_text("a-secret-of-the-test")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    files = [each["data"]["node.toml"] for each in objects if each["kind"] == "ConfigMap"]
    assert len(files) == 2
    for text in files:
        file = tmp_path / "node.toml"
        file.write_text(text, encoding="utf-8")
        config = load(file)
        assert config.agent.listen == "0.0.0.0:8600"
        assert str(config.agent.state) == "/var/lib/levelsync"


def test_every_agent_has_a_policy_of_its_own_that_names_both_ways(
    objects: list[dict[str, Any]],
) -> None:
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert policy["podSelector"]["matchLabels"]["levelsync/node"]
        for rule in policy["ingress"]:
            assert rule["from"], "a rule without peers lets everybody in"


def test_strimzis_resources_hang_together() -> None:
    """Their definitions are in no registry: what is looked at is what levelsync needs of them."""
    found = [
        each
        for file in sorted(STRIMZI.glob("*.yaml"))
        for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]
    assert {each["apiVersion"] for each in found} == {"kafka.strimzi.io/v1"}
    (kafka,) = (each for each in found if each["kind"] == "Kafka")
    for each in found:
        if each is not kafka:
            labels = each["metadata"]["labels"]
            assert labels["strimzi.io/cluster"] == kafka["metadata"]["name"]
    config = kafka["spec"]["kafka"]["config"]
    assert config["auto.create.topics.enable"] is False
    assert config["unclean.leader.election.enable"] is False
    assert config["min.insync.replicas"] == 2
    for user in (each for each in found if each["kind"] == "KafkaUser"):
        node = user["metadata"]["name"].removeprefix("node-")
        for rule in user["spec"]["authorization"]["acls"]:
            operations, resource = set(rule["operations"]), rule["resource"]
            assert operations <= {
                "Read", "Write", "Create", "Describe", "DescribeConfigs", "Alter", "AlterConfigs",
            }  # fmt: skip
            if resource["type"] == "transactionalId":
                assert resource["name"] == f"levelsync-{node}-"
            if node == "370102" and "Write" in operations and resource["type"] == "topic":
                shared = resource["name"] == "levelsync.contracts"  # contracts are signed
                assert shared or resource["name"].endswith(".from.370102"), "its own name alone"
