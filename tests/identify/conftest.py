"""The study of identification, whose models the tests share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "studies" / "identification.py"


@pytest.fixture(scope="session")
def study() -> ModuleType:
    """``studies/identification.py`` as a module."""
    spec = importlib.util.spec_from_file_location("identification_study", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
