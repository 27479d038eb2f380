"""Checkpoints: safetensors and JSON in `step-N` folders, named by one small file that is replaced last."""

from scorekit.checkpoint.errors import CheckpointError, DamagedCheckpointWarning
from scorekit.checkpoint.model import load, load_network, save, save_network
from scorekit.checkpoint.store import CheckpointStore

__all__ = [
    "CheckpointError", "CheckpointStore", "DamagedCheckpointWarning", "load", "load_network", "save", "save_network",
]  # fmt: skip
