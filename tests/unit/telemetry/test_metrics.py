"""Names of metrics keep Prometheus's rules, and every one says what it is."""

import re

import pytest
from prometheus_client import CollectorRegistry

from seamark.telemetry import metrics

GROUPS = {"ingestor": metrics.IngestorMetrics, "writer": metrics.WriterMetrics}


@pytest.mark.parametrize("service", GROUPS)
def test_names_units_and_help_keep_the_rules(service):
    registry = CollectorRegistry()
    GROUPS[service](registry)
    families = list(registry.collect())
    assert families
    for family in families:
        assert re.fullmatch(rf"seamark_{service}_[a-z_]+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name


def test_groups_of_different_services_can_share_a_registry():
    registry = CollectorRegistry()
    for group in GROUPS.values():
        group(registry)
