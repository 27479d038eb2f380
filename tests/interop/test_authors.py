"""The list of names and shapes that the other tests go by is the authors': their counts of entries and parameters."""

import math

import pytest

from scorekit.interop.architectures import ARCHITECTURES, Measures, expected
from tests.interop.authors import KINDS, shapes_of

# kind, channels, width, levels, parameters
COUNTS = [
    ("NCSN", 1, 64, 10, 7_638_657),
    ("NCSN", 3, 128, 10, 30_117_635),
    ("NCSN", 3, 8, 10, 143_795),
    ("NCSN baseline", 1, 64, 1, 7_443_393),
    ("NCSN baseline", 3, 128, 1, 29_727_107),
    ("NCSNv2", 3, 128, 232, 29_694_083),
    ("NCSNv2", 3, 8, 232, 117_323),
    ("NCSNv2Deeper", 3, 128, 1086, 83_445_379),
    ("NCSNv2Deeper", 3, 8, 232, 327_979),
    ("NCSNv2Deepest", 3, 128, 2311, 94_132_611),
]


@pytest.mark.parametrize(("kind", "channels", "width", "num_levels", "parameters"), COUNTS)
def test_the_list_has_the_counted_entries_and_parameters_and_is_what_is_expected(
    kind, channels, width, num_levels, parameters
):
    shapes = shapes_of(kind, channels, width, num_levels)
    assert len(shapes) == KINDS[kind].entries
    assert sum(math.prod(shape) for name, shape in shapes.items() if name != "sigmas") == parameters
    (architecture,) = (each for each in ARCHITECTURES if each.name == kind)
    assert expected(architecture, Measures(channels, width, num_levels)) == shapes
