"""The manifests by Kubernetes' own schemas, and by what no schema sees: that they refer to one another rightly."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.commands import parses
from deploy.files import KUBERNETES, image, manifests
from syncd.settings import Settings, load
from syncd.supervise import GRACE_S

RELEASES = ("1.33", "1.37")  # the oldest and the newest that they are judged by
ALL = manifests()


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [each for _, each in ALL if each["kind"] in kinds]


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """(name, labels, pod, its container) of everything that runs."""
    for each in of_kind("Deployment", "Job"):
        template = each["spec"]["template"]
        (container,) = template["spec"]["containers"]
        yield each["metadata"]["name"], template["metadata"]["labels"], template["spec"], container


PODS = {name: (labels, pod, container) for name, labels, pod, container in pods()}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("file", "each"), ALL, ids=lambda value: value if isinstance(value, str) else value["kind"])
def test_each_is_what_kubernetes_accepts(file: str, each: dict[str, Any], release: str) -> None:
    assert kubernetes_validate.validate(each, release, strict=True)


def test_the_schemas_judge() -> None:
    wrong = {**of_kind("Service")[0], "spec": {"port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


def test_kustomization_names_every_file_but_the_example_of_a_secret() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == files
    (changed,) = kustomization["images"]
    assert {container["image"] for _, _, container in PODS.values()} == {changed["name"]}
    assert changed["newTag"] == version("syncd")
    assert kustomization["namespace"] == of_kind("Namespace")[0]["metadata"]["name"]


def test_every_pod_is_restricted() -> None:
    for name, (_, pod, container) in PODS.items():
        assert pod["serviceAccountName"] == of_kind("ServiceAccount")[0]["metadata"]["name"], name
        assert pod["automountServiceAccountToken"] is False, name
        asked = pod["securityContext"]
        assert asked["runAsNonRoot"] is True and asked["runAsUser"] == asked["runAsGroup"] == image().uid, name
        assert asked["seccompProfile"] == {"type": "RuntimeDefault"}, name
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"], name
        assert "env" not in container, f"{name}: secrets come as files"
    labels = of_kind("Namespace")[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert of_kind("ServiceAccount")[0]["automountServiceAccountToken"] is False


def test_every_selector_finds_what_it_means() -> None:
    for each in of_kind("Deployment"):
        name = each["metadata"]["name"]
        assert chosen(each["spec"]["selector"]["matchLabels"]) == [name]
        (spread,) = PODS[name][1]["topologySpreadConstraints"]
        assert chosen(spread["labelSelector"]["matchLabels"]) == [name]
    (service,), (budget,) = of_kind("Service"), of_kind("PodDisruptionBudget")
    assert chosen(service["spec"]["selector"]) == ["syncd-web"]
    assert chosen(budget["spec"]["selector"]["matchLabels"]) == ["syncd-web"]
    web = next(each for each in of_kind("Deployment") if each["metadata"]["name"] == "syncd-web")
    assert budget["spec"]["minAvailable"] < web["spec"]["replicas"]
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("NetworkPolicy")}
    assert chosen(policies["syncd"]["podSelector"]["matchLabels"]) == sorted(PODS)
    assert chosen(policies["syncd-web"]["podSelector"]["matchLabels"]) == ["syncd-web"]


def chosen(labels: dict[str, str]) -> list[str]:
    return sorted(name for name, (has, _, _) in PODS.items() if labels.items() <= has.items())


def test_every_port_is_the_one_that_the_image_listens_on() -> None:
    _, _, container = PODS["syncd-web"]
    (port,) = container["ports"]
    assert image().env["SYNCD_BIND"].endswith(f":{port['containerPort']}")
    (service,) = of_kind("Service")
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [port["name"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
    assert [container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")] == [
        "/readyz",
        "/healthz",
    ]
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("NetworkPolicy")}
    assert policies["syncd-web"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port["name"]}]


def test_every_volume_exists_and_what_is_mounted_has_a_place() -> None:
    names = {kind: {each["metadata"]["name"] for each in of_kind(kind)} for kind in ("ConfigMap", "Secret")}
    for name, (_, pod, container) in PODS.items():
        volumes = {each["name"]: each for each in pod["volumes"]}
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert volumes.keys() == mounts.keys(), name
        assert volumes["configuration"]["configMap"]["name"] in names["ConfigMap"], name
        assert volumes["secrets"]["secret"]["secretName"] in names["Secret"], name
        assert image().env["SYNCD_CONFIG"] == f"{mounts['configuration']}/syncd.yaml", name
        # Owned by root, read through fsGroup: its user must not be able to change it.
        assert volumes["secrets"]["secret"]["defaultMode"] == 0o440 and pod["securityContext"]["fsGroup"], name
        assert {"/tmp", "/var/lib/syncd"} <= {mounts[each] for each, what in volumes.items() if "emptyDir" in what}, (
            name
        )


def settings(tmp_path: Path) -> Settings:
    """configuration.yaml as the pods read it, the secrets in a folder."""
    text = of_kind("ConfigMap")[0]["data"]["syncd.yaml"]
    for path in re.findall(r"_file: (/run/secrets/syncd/\S+)", text):
        secret = of_kind("Secret")[0]["stringData"][Path(path).name]
        (tmp_path / Path(path).name).write_text(secret, encoding="utf-8")
        text = text.replace(path, str(tmp_path / Path(path).name))
    (tmp_path / "syncd.yaml").write_text(text, encoding="utf-8")
    return load(tmp_path / "syncd.yaml", image().env)


def test_the_configuration_is_one_and_uses_every_key_of_the_secret(tmp_path: Path) -> None:
    assert settings(tmp_path).database.startswith("postgresql://syncd:")
    text = of_kind("ConfigMap")[0]["data"]["syncd.yaml"]
    assert all(f"/run/secrets/syncd/{key}" in text for key in of_kind("Secret")[0]["stringData"])


def test_commands_are_ours_and_probes_ask_what_is_there(tmp_path: Path) -> None:
    for name, (_, _, container) in PODS.items():
        assert "command" not in container, f"{name}: the image's entry point"
        parses(container["args"])
    worker = PODS["syncd-worker"][2]
    for probe in ("startupProbe", "livenessProbe"):
        command = worker[probe]["exec"]["command"]
        assert command[0] == f"{Path(image().entrypoint[0]).parent}/python"
        assert f"'{settings(tmp_path).worker.beat_file}'" in command[-1]
    assert PODS["syncd-migrate"][2]["args"] == shlex.split("db upgrade")


def test_a_pod_has_the_time_that_it_takes_to_end() -> None:
    for name in ("syncd-web", "syncd-worker"):
        _, pod, container = PODS[name]
        before = float(
            container.get("lifecycle", {}).get("preStop", {"exec": {"command": ["0"]}})["exec"]["command"][-1]
        )
        assert pod["terminationGracePeriodSeconds"] > before + max(30, GRACE_S), name
