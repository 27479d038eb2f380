import pytest

from scorekit.checkpoint import CheckpointStore
from tests.checkpoint.stores import contents


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    """Two checkpoints, of steps 10 and 20."""
    made = CheckpointStore(tmp_path / "run" / "checkpoint")
    for number in (10, 20):
        made.write(number, contents(number))
    return made
