"""One running service for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serve.client import Caller


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
    from tests.serve.client import service

    with service(tmp_path_factory.mktemp("service")) as running:
        yield running
