"""What all tests share: repeatable examples, one thread, the data folder."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same global random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def native_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in bfloat16 also where the processor has no units for them: slow, and right."""
    monkeypatch.setattr("bayesrnn.nn.precision.multiplies_bfloat16", lambda device="cpu": True)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the data sets that do not ship with the package, named by BAYESRNN_DATA."""
    name = os.environ.get("BAYESRNN_DATA")
    if not name or not Path(name).is_dir():
        pytest.skip("BAYESRNN_DATA names no folder: the data sets (PTB, IMDB, ...) are not here")
    return Path(name)
