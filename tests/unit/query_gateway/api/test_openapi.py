"""The document says what the API does: requests made from it, good and bad, against the running edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry
from schemathesis.specs.openapi.checks import positive_data_acceptance

from seamark.market.schema import RecordKind
from seamark.query_gateway.access import Access
from seamark.query_gateway.audit import Audit
from seamark.query_gateway.auth import Keys, Role, new_key
from seamark.query_gateway.errors import QueryError
from seamark.query_gateway.http.api import Api
from seamark.query_gateway.http.app import create_app
from seamark.query_gateway.quotas import Quota, Quotas
from seamark.query_gateway.refusals import refusal_of
from seamark.query_gateway.running import Registry
from seamark.telemetry.metrics import GatewayMetrics
from twins.gateway import MemoryGateway
from unit.query_gateway.api.market_rows import rows
from unit.query_gateway.api.serving import BODY_BYTES, LIMITS, served

_KEY, _LINE = new_key("tester", list(Role))


def _document() -> dict[str, Any]:
    """Of an application that never serves."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    access = Access(None, Quotas(), Registry(), Audit(None, metrics.audit_dropped), metrics)
    try:
        return create_app(Api(MemoryGateway(), access, LIMITS), registry, BODY_BYTES).openapi()
    finally:
        access.audit.close()


DOCUMENT = _document()
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "keys").write_text(_LINE)
    gateway = MemoryGateway({kind: rows(kind, 20) for kind in RecordKind})
    with served(folder, gateway, Keys(folder / "keys", Quota(1e9, 1e9, 100)), body_bytes=1 << 26) as edge:
        yield edge.url


@schema.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_as_documented(case: schemathesis.Case, url: str):
    # Not every request of the right form has an answer: start may be after end.
    case.call_and_validate(
        url,
        headers={"Authorization": f"Bearer {_KEY}"},
        excluded_checks=[positive_data_acceptance],
        timeout=20,
    )


def test_every_operation_has_an_example_and_the_form_of_its_errors():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            if not path.startswith("/v1/"):
                continue
            answers = operation["responses"]
            assert "422" not in answers
            assert answers["200"]["content"]["application/json"]["example"], path
            for status in ("400", "401", "403", "429", "503"):
                content = answers[status]["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


def test_the_reference_names_every_path_and_code():
    text = (Path(__file__).parents[4] / "docs/reference/http-api.md").read_text()
    for path in DOCUMENT["paths"]:
        assert f"{path}`" in text, path
    for error in QueryError.__subclasses__():
        refusal = refusal_of(error.__new__(error))
        assert f"`{refusal.code}`" in text and str(refusal.http) in text, refusal


def test_no_page_of_documentation_loads_anything_from_elsewhere(url: str):
    for path in ("/docs", "/redoc"):
        assert requests.get(url + path, timeout=20).status_code == 404
