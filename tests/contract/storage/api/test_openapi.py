"""Requests that schemathesis makes from the OpenAPI description, valid and invalid ones, on a real MongoDB."""

from collections.abc import Mapping
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.storage.api.serving import DEVICE, SERVICE, offer

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
MODES: Final = list(schemathesis.GenerationMode)


def address_of(environ: Mapping[str, str]) -> str:
    return f"http://127.0.0.1:{environ['STORAGE_PORT']}"


def description_of(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{address_of(environ)}/openapi.json", auth=SERVICE).json()
    return found


def run_schemathesis(environ: Mapping[str, str], *, examples: int, but: str = "-") -> None:
    """Send `examples` requests to each operation but those of a path, half of them with ids and owners that exist."""
    base_url = address_of(environ)
    with httpx.Client(base_url=base_url, auth=SERVICE) as client:
        ids = [client.post(f"/{kind}", json=offer()).json()["_id"] for kind in ("offers", "searches")]
    known = {"object_id": ids, "offer_id": ids, "search_id": ids, "owner": [DEVICE], "device": [DEVICE]}
    for result in schemathesis.openapi.from_dict(description_of(environ)).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.path.startswith(but):
            continue
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES])

        @seed(14)
        @settings(
            max_examples=examples,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, exists=st.booleans(), choice=st.integers(0, 1))
        def send(case: Any, exists: bool, choice: int) -> None:  # noqa: FBT001 - hypothesis passes it by name
            if exists:
                for name in case.path_parameters or {}:
                    if name in known:
                        case.path_parameters[name] = known[name][choice % len(known[name])]
            response = case.call(base_url=base_url, auth=SERVICE)
            case.validate_response(response, checks=CHECKS)

        send()


def test_generated_requests_have_documented_responses(running: dict[str, str]) -> None:
    run_schemathesis(running, examples=2, but="/searches")  # the code of offers serves them


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [20, pytest.param(60, marks=pytest.mark.endurance)])
def test_many_generated_requests_have_documented_responses(running: dict[str, str], examples: int) -> None:
    run_schemathesis(running, examples=examples)


def test_examples_of_the_description_validate_and_are_accepted(running: dict[str, str]) -> None:
    count = 0
    with httpx.Client(base_url=address_of(running), auth=SERVICE) as client:
        for path, operations in description_of(running)["paths"].items():
            for method, operation in operations.items():
                contents = [each.get("content", {}) for each in operation["responses"].values()]
                body = operation.get("requestBody", {}).get("content", {})
                for content in (*contents, body):
                    for media in content.values():
                        validator_for(media["schema"]).validate(media["example"])
                        count += 1
                if method == "post" and body and path != "/channels":
                    sent = client.post(path, json=body["application/json"]["example"])
                    assert sent.is_success, (path, sent.text)
    assert count > 100
