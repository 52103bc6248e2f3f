from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest

from seamark.market.schema import RecordKind
from twins.gateway import MemoryGateway
from unit.query_gateway.api.market_rows import rows
from unit.query_gateway.api.serving import Served, served

FRAMES = {kind: rows(kind, 2_500) for kind in RecordKind}


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("edge"), MemoryGateway(dict(FRAMES))) as running:
        yield running


@pytest.fixture
def edge(_running: Served) -> Served:
    """An edge without keys, over 2,500 rows of each table, with nothing amiss."""
    untouched = MemoryGateway(dict(FRAMES))
    for one in fields(untouched):
        setattr(_running.gateway, one.name, getattr(untouched, one.name))
    return _running
