"""kubernetes.secrets and kubernetes.namespace: what they write and print, and values that they never print."""

import base64
from pathlib import Path

import pytest

from deploy.cluster import namespaces, secrets
from deploy.cluster.api import Api, Manifest
from deploy.errors import OperatorError
from tests.cluster.api_server import ApiServer
from tests.cluster.state import Key

SECRET = Key("v1", "secrets", "push", "push-secrets")


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def inside(client: Api, local: list[Manifest]) -> Api:
    namespaces.create(client, local, print)
    return client


def test_only_variables_of_containers_are_loaded(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path, secret_names: list[str]
) -> None:
    reported: list[str] = []
    secrets.load(inside, local, dotenv, reported.append)
    stored = dict.fromkeys(secret_names, base64.b64encode(b"not-to-be-seen").decode())
    assert {"KAFIDX_PASSWORD", "STORAGE_PASSWORD"} < stored.keys()
    assert cluster.state.objects[SECRET]["data"] == stored
    assert reported == [f"Secret push-secrets: {', '.join(secret_names)}"]


def test_missing_key_is_named_and_nothing_is_written(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path
) -> None:
    complete = dotenv.read_text()
    for line in ("", "KAFIDX_PASSWORD=\n", "KAFIDX_PASSWORD=<generate>\n"):
        dotenv.write_text(complete.replace("KAFIDX_PASSWORD=not-to-be-seen\n", line))
        with pytest.raises(OperatorError, match=r"\.env has no KAFIDX_PASSWORD: `python3 tasks.py dotenv.generate`"):
            secrets.load(inside, local, dotenv, print)
    assert SECRET not in cluster.state.objects


def test_optional_variables_are_loaded_if_they_have_a_value(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path, secret_names: list[str]
) -> None:
    assert not {"ONESIGNAL_API_KEY", "SENDBIRD_API_TOKEN"} & set(secret_names)
    with dotenv.open("a") as file:
        file.write("ONESIGNAL_API_KEY=\nSENDBIRD_API_TOKEN=of the provider\n")
    secrets.load(inside, local, dotenv, print)
    stored = cluster.state.objects[SECRET]["data"]
    assert stored.keys() == {*secret_names, "SENDBIRD_API_TOKEN"}
    assert base64.b64decode(stored["SENDBIRD_API_TOKEN"]) == b"of the provider"


def test_missing_dotenv_is_reported_with_its_task(inside: Api, local: list[Manifest], tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"nowhere does not exist: `python3 tasks.py dotenv.generate` writes it"):
        secrets.load(inside, local, tmp_path / "nowhere", print)


def test_missing_namespace_is_reported_with_its_task(client: Api, local: list[Manifest], dotenv: Path) -> None:
    with pytest.raises(OperatorError, match=r"`python3 tasks.py kubernetes.namespace.create` creates it"):
        secrets.load(client, local, dotenv, print)


def test_server_message_about_a_secret_is_not_printed(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path
) -> None:
    cluster.forbidden.add("secrets")
    with pytest.raises(OperatorError) as raised:
        secrets.load(inside, local, dotenv, print)
    assert str(raised.value) == "can't write Secret push-secrets: forbidden"


def test_names_are_shown_and_values_are_not(
    inside: Api, local: list[Manifest], dotenv: Path, secret_names: list[str], reported: list[str]
) -> None:
    secrets.show(inside, "push", reported.append)
    assert (
        reported.pop()
        == "namespace push has no secrets of Push: `python3 tasks.py kubernetes.secrets.load` writes them"
    )
    secrets.load(inside, local, dotenv, print)
    secrets.show(inside, "push", reported.append)
    assert reported == [f"Secret push-secrets: {', '.join(secret_names)}"]


def test_secret_keeps_its_values_when_it_is_applied_without_them(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path
) -> None:
    secrets.load(inside, local, dotenv, print)
    empty = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "push-secrets", "namespace": "push"}}
    inside.apply(empty)
    inside.apply(empty)
    assert cluster.state.objects[SECRET]["data"]


def test_delete_removes_all_secrets_of_push(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path
) -> None:
    secrets.load(inside, local, dotenv, print)
    secrets.delete(inside, "push", print)
    assert SECRET not in cluster.state.objects


def test_namespace_is_created_once_and_restricted(
    client: Api, cluster: ApiServer, local: list[Manifest], reported: list[str]
) -> None:
    namespaces.create(client, local, reported.append)
    namespaces.create(client, local, reported.append)
    assert reported == ["Namespace push created", "Namespace push exists"]
    found = cluster.state.objects[Key("v1", "namespaces", "", "push")]
    assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_deleting_a_namespace_deletes_its_objects(
    inside: Api, cluster: ApiServer, local: list[Manifest], dotenv: Path, reported: list[str]
) -> None:
    secrets.load(inside, local, dotenv, print)
    namespaces.delete(inside, "push", reported.append, ask=None)
    assert cluster.state.objects == {}
    namespaces.delete(inside, "push", reported.append, ask=None)
    assert reported == ["deleted   Namespace push", "namespace push does not exist"]


@pytest.mark.parametrize("reply", ["yes", "", "pushy"])
def test_namespace_is_kept_unless_its_name_is_entered(inside: Api, cluster: ApiServer, reply: str) -> None:
    with pytest.raises(OperatorError, match="nothing was deleted"):
        namespaces.delete(inside, "push", print, ask=lambda _: reply)
    assert Key("v1", "namespaces", "", "push") in cluster.state.objects


def test_namespace_is_deleted_when_its_name_is_entered(inside: Api, cluster: ApiServer) -> None:
    namespaces.delete(inside, "push", print, ask=lambda _: "push")
    assert cluster.state.objects == {}
