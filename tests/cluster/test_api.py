"""Errors for an operator when the cluster does not exist, does not respond or denies access."""

import base64
import socket
import threading
from pathlib import Path

import pytest
import yaml

from deploy.cluster import api
from deploy.cluster.api import reference
from deploy.errors import OperatorError
from tests.cluster.api_server import TOKEN, ApiServer, make_certificate

NAMESPACE = reference("v1", "Namespace", "push")


def test_missing_kubeconfig_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"no kubeconfig at .*/nowhere: start a cluster .* or set KUBECONFIG"):
        api.connect(environ={"KUBECONFIG": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("text", ["", "no: config", "{broken", "[1, 2]"])
def test_invalid_kubeconfig_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(OperatorError, match=r"the kubeconfig at .* can't be used: \S"):
        api.connect(environ={"KUBECONFIG": str(path)})


def test_unknown_context_is_reported(kubeconfig: Path) -> None:
    with pytest.raises(OperatorError, match=r"can't be used: .*nobody"):
        api.connect("nobody", environ={"KUBECONFIG": str(kubeconfig)})


def test_unreachable_api_server_is_reported(cluster: ApiServer, tmp_path: Path) -> None:
    kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kubeconfig.write_text(kubeconfig.read_text().replace(cluster.url, f"http://127.0.0.1:{port}"))
    with (
        api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as client,
        pytest.raises(OperatorError, match=rf"the API server at 127.0.0.1:{port} \(context test\) does not respond"),
    ):
        client.get(NAMESPACE)


def test_hanging_api_server_is_reported_at_the_timeout(
    cluster: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_RESPONSE_S", 0.3)
    kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kubeconfig.write_text(
            kubeconfig.read_text().replace(cluster.url, f"http://127.0.0.1:{silent.getsockname()[1]}")
        )
        with (
            api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as client,
            pytest.raises(OperatorError, match=r"does not respond \(.*timed out.*\): does the cluster run\?"),
        ):
            client.get(NAMESPACE)


def test_server_without_the_kubernetes_api_is_reported(cluster: ApiServer, tmp_path: Path) -> None:
    kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    with socket.create_server(("127.0.0.1", 0)) as other:
        kubeconfig.write_text(kubeconfig.read_text().replace(cluster.url, f"http://127.0.0.1:{other.getsockname()[1]}"))

        def respond() -> None:
            while True:
                connection, _ = other.accept()
                with connection:
                    if not connection.recv(65536):
                        return
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")

        thread = threading.Thread(target=respond)
        thread.start()
        with (
            api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as client,
            pytest.raises(OperatorError, match="is not a Kubernetes API server: check its address"),
        ):
            client.get(NAMESPACE)
        socket.create_connection(other.getsockname()).close()
        thread.join()


def test_untrusted_certificate_is_reported(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = make_certificate(tmp_path_factory.mktemp("other")).read_bytes()
    described = yaml.safe_load(kubeconfig.read_text())
    described["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(other).decode()
    kubeconfig.write_text(yaml.safe_dump(described))
    with (
        api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as client,
        pytest.raises(OperatorError, match="certificate verify failed"),
    ):
        client.get(NAMESPACE)


def test_unknown_credentials_are_reported(kubeconfig: Path) -> None:
    kubeconfig.write_text(kubeconfig.read_text().replace(TOKEN, "of-nobody"))
    with (
        api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as client,
        pytest.raises(OperatorError, match="can't read Namespace push: the cluster does not know these credentials"),
    ):
        client.get(NAMESPACE)
