"""The round trip of the conformance kit, under the name that the tests know it by."""

from scorekit.testing.configuration import round_trip

__all__ = ["round_trip"]
