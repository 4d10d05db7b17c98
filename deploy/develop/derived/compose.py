"""`docker-compose/services.yml`: one template for each Python service, with the variables of its Settings class.

The file of a container extends the template of its service, and adds the settings of this container.
"""

from collections.abc import Iterator

from deploy.catalog import Catalog, Container
from deploy.develop.derived.settings_classes import Variable, settings_of, variables_of
from services.backbone import names

_HEAD = """\
# One template for each Python service. A container's file extends it.
# `python3 tasks.py derived.write` writes this file from the Settings classes and deploy/catalog.toml.
services:
"""
_FLOWER_HEAD = """\
\"\"\"Celery's queues, for Flower. `python3 tasks.py derived.write` writes this file from deploy/catalog.toml.\"\"\"

from kombu import Queue

"""
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container, whose networks limit its clients
_SET_IN_COMMON = {"INTERNAL_HOST", "INTERNAL_PORT", "LOG_FORMAT"}
"""Variables that common.yml sets for every container."""
_NOT_SET = {"KAFKA_IDEMPOTENCE", "KAFKASTORE_REDIS_URLS"}
"""Variables that no container sets: Kafka supports idempotent producers, and each kafkastore drains one Redis."""


def services_text(listed: Catalog) -> str:
    """Return the whole file."""
    return _HEAD + "".join(
        "\n".join(_template(listed, service, containers)) + "\n" for service, containers in _by_service(listed)
    )


def containers_text(listed: Catalog) -> str:
    """Return `docker-compose/containers.yml`, which includes the file of every container."""
    files = "".join(f"  - {name}.yml\n" for name in listed.containers)
    return f"# `python3 tasks.py derived.write` writes this file from deploy/catalog.toml.\ninclude:\n{files}"


def flower_text(listed: Catalog) -> str:
    """Return `docker-compose/flower_queues.py`, since Flower can't ask our workers for their queues."""
    queues = "".join(f'    Queue("{names.action_queue(handler)}"),\n' for handler in listed.handlers)
    default = names.action_queue(listed.handlers[0])  # Flower shows it too, and Celery's own default does not exist
    return f'{_FLOWER_HEAD}task_default_queue = "{default}"\ntask_queues = [\n{queues}]\n'


def _by_service(listed: Catalog) -> Iterator[tuple[str, list[Container]]]:
    for service in listed.python_services:
        yield service, [found for found in listed.containers.values() if found.service == service]


def _template(listed: Catalog, service: str, containers: list[Container]) -> Iterator[str]:
    base = "job" if containers[0].kind == "job" else "service"
    yield f"  {service}:"
    yield f"    extends: {{file: common.yml, service: {base}}}"
    yield f"    image: push/{service}:${{PUSH_VERSION:-dev}}"
    yield f"    build: {{args: {{SERVICE: {service}}}}}"
    yield "    environment:"
    # The files of the containers that need them add these.
    of_one_container = {name for found in containers for name in found.secrets}
    for variable in variables_of(settings_of(service)):
        if variable.name not in _SET_IN_COMMON | _NOT_SET | of_one_container:
            yield f"      {variable.name}: {_value(listed, variable, _server(containers))}"


def _server(containers: list[Container]) -> Container:
    """Return the container that listens on the port of the service, else any."""
    return next((found for found in containers if found.port), containers[0])


def _value(listed: Catalog, variable: Variable, container: Container) -> str:
    name = variable.name
    if name in listed.addresses:
        return listed.addresses[name]
    if name == container.host_variable:
        return _EVERYWHERE
    if name == container.port_variable:
        return f'"{container.port}"'
    if variable.default == "<generate>":
        return f'"${{{name}:?is not set: python3 tasks.py dotenv.generate creates one}}"'
    return f"${{{name}:-}}"
