"""Requests made up from the OpenAPI document: no server error, and only answers that the document knows."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.simulations.serve.conftest import listening

schemathesis = pytest.importorskip("schemathesis", reason="comes with the extra [test]")

EXAMPLES = 25


@pytest.fixture(scope="module")
def fuzzed(trained):
    with listening(trained) as client:
        document = dict(client.document)
        schema = schemathesis.openapi.from_dict(document)
        schema.config.base_url = str(client.base_url)
        yield client, [operation.ok() for operation in schema.get_all_operations()]


PLACES = ["GET /api/runs/{run}", "GET /api/runs/{run}/partition", "GET /api/runs/{run}/journal"]
PLACES += ["GET /api/runs/{run}/samples/{round}.png", "POST /api/runs/{run}/generate", "GET /api/searches/{search}"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("right", [True, False], ids=["fitting", "wrong"])
def test_no_request_is_answered_by_a_server_error_or_by_what_the_document_does_not_know(fuzzed, place, right):
    client, operations = fuzzed
    [operation] = [found for found in operations if f"{found.method.upper()} {found.path}" == place]
    mode = schemathesis.GenerationMode.POSITIVE if right else schemathesis.GenerationMode.NEGATIVE

    @settings(
        max_examples=4 * EXAMPLES if operation.method == "post" else EXAMPLES, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def ask(case, of_a_run):
        if of_a_run and "run" in (case.path_parameters or {}):
            case.path_parameters["run"] = "digits"
        case.headers.pop("Accept", None)  # a stream has no end
        answer = case.call()
        case.validate_response(
            answer,
            checks=[
                schemathesis.checks.not_a_server_error,
                schemathesis.specs.openapi.checks.status_code_conformance,
                schemathesis.specs.openapi.checks.content_type_conformance,
                schemathesis.specs.openapi.checks.response_schema_conformance,
            ],
        )

    ask()
    assert client.get("/healthz").json() == {"status": "ok"}
