"""The lists that follow from the catalog."""

from pathlib import Path

import pytest

from deploy import catalog
from deploy.errors import OperatorError

ROWS = """
[images]
[addresses]
[containers.web]
service = "web"
kind = "server"
port = 80
[containers.count-words]
service = "consumers"
arguments = ["count_words"]
kind = "worker"
[containers.probe]
service = "probe"
kind = "worker"
synthetic = true
[containers.setup]
service = "setup"
kind = "job"
"""


def written(folder: Path) -> catalog.Catalog:
    file = folder / "catalog.toml"
    file.write_text(ROWS)
    return catalog.load(file)


def test_processes_leave_out_jobs_and_synthetic_containers(tmp_path: Path) -> None:
    assert [found.name for found in written(tmp_path).processes] == ["web", "count-words"]


def test_consumers_are_named_by_their_argument(tmp_path: Path) -> None:
    assert written(tmp_path).consumers == ("count_words",)


def test_handlers_are_the_consumers_that_act(tmp_path: Path) -> None:
    row = '[containers.act-on-words]\nservice = "consumers"\narguments = ["act_on_words"]\nkind = "worker"\n'
    file = tmp_path / "catalog.toml"
    file.write_text(f"{ROWS}{row}acts = true\nscales_by_lag = true\n")
    assert catalog.load(file).handlers == ("act_on_words",)
    assert catalog.load(file).consumers == ("count_words",)


def test_port_variable_has_the_name_of_the_service(tmp_path: Path) -> None:
    assert written(tmp_path).containers["web"].port_variable == "WEB_PORT"


def test_variables_can_have_another_prefix(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(ROWS.replace("port = 80", 'port = 80\nprefix = "SITE"'))
    web = catalog.load(file).containers["web"]
    assert (web.port_variable, web.host_variable) == ("SITE_PORT", "SITE_HOST")


def test_container_reaches_only_containers_with_an_internal_port(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(ROWS.replace("port = 80", 'port = 80\nreaches_internal = ["probe"]'))
    assert catalog.load(file).containers["web"].reaches_internal == ("probe",)
    other = tmp_path / "other.toml"
    other.write_text(ROWS.replace("port = 80", 'port = 80\nreaches_internal = ["setup"]'))
    with pytest.raises(OperatorError, match="web reaches the internal port of setup, which has no internal port"):
        catalog.load(other)
