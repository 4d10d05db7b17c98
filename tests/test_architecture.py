"""Check what import contracts cannot express: each service is complete, and each name is written once."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from deploy import catalog
from deploy.develop import derived
from deploy.develop.dotenv import read_dotenv
from services.backbone import names
from services.backbone.settings import PLACEHOLDER, EnvSettings

ROOT = Path(__file__).parents[1]
SERVICES = sorted(
    directory.name
    for directory in (ROOT / "services").iterdir()
    if (directory / "__main__.py").exists() or (directory / "Dockerfile").exists()
)
PYTHON_SERVICES = [name for name in SERVICES if (ROOT / "services" / name / "__main__.py").exists()]
SOURCES = sorted((ROOT / "services").rglob("*.py"))


# The modules that a service may have (design: the same few file names in every service). A large one is a package.
MODULES = {
    *("__init__", "__main__", "app", "worker", "tasks", "routes", "handlers", "importers"),
    *("store", "lookups", "providers", "pixels", "metrics", "core", "settings"),
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def template_variables() -> list[str]:
    lines = (ROOT / ".env.template").read_text().splitlines()
    return [match[1] for line in lines if (match := re.match(r"#?([A-Z][A-Z0-9_]*)=", line))]


def settings_of(service: str) -> type[EnvSettings]:
    settings: type = importlib.import_module(f"services.{service}.settings").Settings
    assert issubclass(settings, EnvSettings)
    return settings


def settings_variables() -> set[str]:
    return {variable for service in PYTHON_SERVICES for variable in settings_of(service).variables()}


def deploy_variables() -> set[str]:
    """Variables that only operators' tools or compose files read."""
    tools = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z][A-Z0-9_]*)"', _text_of_deploy())) & set(template_variables())
    files = (path.read_text() for path in (ROOT / "docker-compose").glob("*.yml"))
    return tools.union(*(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", text) for text in files))


def _text_of_deploy() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "deploy").rglob("*.py"))


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_a_readme_in_the_table(service: str) -> None:
    assert (ROOT / "services" / service / "README.md").exists()
    assert f"[{service}](" in (ROOT / "services" / "README.md").read_text(), "not in the table of services/README.md"


@pytest.mark.parametrize("service", PYTHON_SERVICES)
def test_package_docstring_states_purpose_reads_writes_promise(service: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / "services" / service / "__init__.py").read_text()))
    assert docstring is not None
    for word in ("Reads:", "Writes:", "Promise:"):
        assert word in docstring


@pytest.mark.parametrize("service", PYTHON_SERVICES)
def test_modules_of_a_service_have_only_the_names_of_the_architecture(service: str) -> None:
    sources = (path.relative_to(ROOT / "services" / service) for path in SOURCES if service in path.parts)
    assert {source.parts[0].removesuffix(".py") for source in sources} <= MODULES


@pytest.mark.parametrize("service", PYTHON_SERVICES)
def test_service_has_an_extra_and_a_lock(service: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert service in project["optional-dependencies"]
    assert (ROOT / "deploy" / "locks" / f"{service}.txt").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_a_manifest(service: str) -> None:
    rows = [row for row in catalog.load().containers.values() if row.service == service]
    assert rows, "not in deploy/catalog.toml"
    for row in rows:
        homes = [ROOT / "kubernetes" / "base" / home for home in (service, catalog.load().pod_of(row.name))]
        texts = [path.read_text() for home in homes for path in home.glob("*.yaml")]
        assert any(f"image: push/{service}\n" in text or f"value: push/{service}\n" in text for text in texts)
        assert any(f"name: {row.name}\n" in text for text in texts), f"no manifest runs {row.name}"


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_a_container_with_a_compose_file(service: str) -> None:
    containers = [row.name for row in catalog.load().containers.values() if row.service == service]
    assert containers, "not in deploy/catalog.toml"
    for container in containers:
        assert (ROOT / "docker-compose" / f"{container}.yml").exists()


def test_system_tests_import_nothing_of_the_platform() -> None:
    for path in sorted((ROOT / "tests" / "system").glob("*.py")):
        assert not re.search(r"^\s*(?:from|import) (?:services|deploy)\b", path.read_text(), re.MULTILINE), relative(
            path
        )


def test_template_has_exactly_the_settings() -> None:
    variables = template_variables()
    assert len(variables) == len(set(variables)), "a variable is twice in .env.template"
    assert set(variables) == settings_variables() | deploy_variables()


def test_derived_files_are_what_settings_and_catalog_make_of_them() -> None:
    assert derived.errors() == []


@pytest.mark.parametrize("service", PYTHON_SERVICES)
def test_template_contains_the_defaults(service: str) -> None:
    settings = settings_of(service)
    template = read_dotenv(ROOT / ".env.template")
    # A secret has no default. The template contains a mark in its place, which no service accepts as a value.
    values = {name: value for name, value in template.items() if value != PLACEHOLDER}
    assert settings.from_env(values) == settings.from_env({})


def test_template_explains_each_variable() -> None:
    lines = (ROOT / ".env.template").read_text().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            assert before.startswith("# "), f"no comment right above {line}"


def test_unit_tests_mirror_source_files() -> None:
    for test in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        place = test.relative_to(ROOT / "tests" / "unit")
        source = place.with_name(place.name.removeprefix("test_"))
        homes = [ROOT / "services" / source, ROOT / source, ROOT / source.with_suffix("")]
        homes.append(ROOT / "services" / source.with_suffix(""))
        assert any(home.exists() for home in homes), f"{relative(test)} mirrors no source file"


def _string_literals(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_topics_and_keys_are_literals_only_in_names() -> None:
    constants = {
        value
        for name, value in vars(names).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("HEADER_")
    }
    prefixes = ("events:", "counters:", "notify:", "actions:", "schedule:", "offers:")
    for path in SOURCES:
        if path.name == "names.py":
            continue
        for line, literal in _string_literals(path):
            # "events" is also an English word, so this test cannot detect it. Reviews must.
            named = literal in constants - {names.EVENTS_TOPIC} or literal.startswith(prefixes)
            assert not named, f"{relative(path)}:{line}: {literal!r} belongs to backbone/names.py"


def test_environment_is_read_only_in_main() -> None:
    for path in SOURCES:
        if path.name != "__main__.py":
            assert not re.search(r"\bos\.environ\b|\bgetenv\b", path.read_text()), relative(path)


def test_services_import_neither_deploy_nor_tests() -> None:
    for path in SOURCES:
        assert not re.search(r"^\s*(?:from|import) (?:deploy|tests|tasks)\b", path.read_text(), re.MULTILINE), relative(
            path
        )


_SHARED_NAMES = {
    *("Settings", "Metrics"),  # every service has its own
}


def _public_types(directory: str) -> Iterator[tuple[str, str]]:
    """Yield each public class and type alias of a source tree, with its file."""
    for path in sorted((ROOT / directory).rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [node]
            for target in targets:
                name = target.name if isinstance(target, ast.ClassDef) else getattr(target, "id", "")
                if re.match(r"[A-Z]\w*[a-z]", name):
                    yield name, relative(path)


def test_public_types_have_unique_names() -> None:
    homes: dict[str, list[str]] = {}
    for directory in ("deploy", "services"):
        for name, home in _public_types(directory):
            homes.setdefault(name, []).append(home)
    shared = {name: files for name, files in homes.items() if len(files) > 1}
    assert {name: files for name, files in shared.items() if name not in _SHARED_NAMES} == {}
