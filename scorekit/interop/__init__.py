"""The published checkpoints of NCSN and NCSNv2: read, converted to checkpoints of this library, and written back."""

from scorekit.interop.conversion import convert, export, stored_sampler
from scorekit.interop.ncsn import NCSNCheckpoint, read_ncsn, sampler_of, write_ncsn

__all__ = ["NCSNCheckpoint", "convert", "export", "read_ncsn", "sampler_of", "stored_sampler", "write_ncsn"]
