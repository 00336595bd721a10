"""What the tests share: see packages.py for where packages come from."""

from __future__ import annotations

from types import ModuleType

import pytest
from packages import load


@pytest.fixture(scope="session")
def gla() -> ModuleType:
    """GLA in f32 with K = 8 and V = 12."""
    return load("gla")


def pytest_report_header() -> str:
    from packages import command

    return f"sluice: {command() or 'none, stand-ins'}"
