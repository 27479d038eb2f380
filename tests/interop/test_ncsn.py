"""The authors' files: what a network made of one gives, and what is inferred."""

import pytest
import torch

import scorekit as sk
from scorekit.checkpoint import CheckpointError
from scorekit.interop import NCSNCheckpoint, convert, ncsn, read_ncsn, write_ncsn
from scorekit.networks import norm
from tests.interop.authors import (
    KINDS,
    differences,
    ema_of,
    filled,
    random,
    shapes_of,
    state_of,
    v1_list,
    v2_list,
    write,
)
from tests.networks.golden import SPLIT, Figures, check_figures, images

# kind, image shape, width, levels, labels, figures of the score
GOLDEN = {
    "NCSN 16": ("NCSN", (3, 16, 16), 8, 10, [0, 9], Figures(
        260.79933653, (-0.01058528, 0.00091973, -0.02466164), -0.21761850, (14.805433, 13.674218))),
    "NCSN 28": ("NCSN", (1, 28, 28), 8, 10, [3, 7], Figures(
        -141.01957638, (-0.02213654, -0.04087102, -0.02421485), -0.16208081, (10.343857, 11.710891))),
    "NCSNv2": ("NCSNv2", (3, 32, 32), 8, 232, [0, 231], Figures(
        -53440.57149, (-0.00041670, -0.00010311, 0.00004349), -14.53825906, (0.496781, 3043.069401))),
    "NCSNv2Deeper": ("NCSNv2Deeper", (3, 32, 32), 8, 232, [100], Figures(
        -700.50040233, (0.10018627, 0.12696871, 0.11903499), -0.14285154, (24.454299,))),
    "NCSN baseline": ("NCSN baseline", (1, 28, 28), 64, 1, [0, 0], Figures(
        -220.56595767, (0.17199820, 0.25486860, 0.29528410), 0.32050760, (10.488752, 8.290099))),
}  # fmt: skip


def golden_file(path, name, generator, dtype):
    """The filling in the place where it is looked for by default: the EMA where there is one."""
    kind, (channels, _, _), width, num_levels, _, _ = GOLDEN[name]
    shapes = shapes_of(kind, channels, width, num_levels)
    right = filled(shapes, dtype)
    if not KINDS[kind].sigmas:
        return write(path, v1_list(right, generator))
    wrong = {name: tensor if name == "sigmas" else -tensor for name, tensor in right.items()}
    return write(path, v2_list(wrong, right, generator))


def check_golden(folder, name, generator, dtype=torch.float64, tolerance=1e-6):
    """From the file through the converted checkpoint to the score."""
    _, shape, _, _, labels, figures = GOLDEN[name]
    path = golden_file(folder / "checkpoint.pth", name, generator, dtype)
    noise = read_ncsn(path).noise
    convert(path, folder / "out", image_size=shape[1:])
    model = sk.load(folder / "out")
    assert model.dtype == dtype
    x, sigma = images(shape, len(labels)).to(dtype), noise.levels()[labels].to(dtype)
    with torch.no_grad():
        y = model(x, sigma)
    assert y.shape == x.shape
    check_figures(y, figures, tolerance)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "NCSN baseline" else ()) for name in GOLDEN]
)
def test_a_converted_checkpoint_gives_the_golden_figures(name, tmp_path, generator):
    check_golden(tmp_path, name, generator)


def test_in_single_precision_it_gives_them_too(tmp_path, generator):
    check_golden(tmp_path, "NCSN 28", generator, torch.float32, 1e-3)


def _gamma_and_alpha_swapped(style):
    gamma, alpha, beta = SPLIT(style)
    return alpha, gamma, beta


def _raw_for_ema(checkpoint, weights):
    return checkpoint.parts.state if weights != "raw" else checkpoint.parts.ema


MUTANTS = {
    "gamma and alpha swapped": ("NCSN 28", norm, "split", _gamma_and_alpha_swapped),
    "EMA and raw swapped": ("NCSNv2", NCSNCheckpoint, "_weights", _raw_for_ema),
    "not centered": ("NCSN 28", ncsn.Setting, "__new__", lambda kind, *args: SETTING(kind, *args[:3], False)),
}
SETTING = ncsn.Setting.__new__


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_miss_the_golden_figures(mutant, tmp_path, generator, monkeypatch):
    name, *patch = MUTANTS[mutant]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        check_golden(tmp_path, name, generator)


def test_swapped_blocks_of_the_tables_miss_the_golden_figures(tmp_path, generator):
    tensors = filled(shapes_of("NCSN", 1, 8), torch.float64)
    for name, tensor in tensors.items():
        if name.endswith("embed.weight"):
            gamma, alpha, beta = tensor.chunk(3, 1)
            tensors[name] = torch.cat((alpha, gamma, beta), 1)
    model = read_ncsn(write(tmp_path / "swapped.pth", state_of(tensors))).model()
    with torch.no_grad():
        y = model(images((1, 28, 28)), sk.Geometric(1.0, 0.01, 10).levels()[[3, 7]])
    with pytest.raises(AssertionError):
        check_figures(y, GOLDEN["NCSN 28"][-1])


# ------------------------------------------------------------------------------------------------------------ inference


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "width", "num_levels"), [(1, 3, 7), (4, 2, 12)])
def test_network_width_channels_and_levels_are_read_from_names_and_shapes(
    kind, channels, width, num_levels, tmp_path, generator
):
    state = random(shapes_of(kind, channels, width, num_levels), generator)
    found = read_ncsn(write(tmp_path / "x.pth", state), image_size=(16, 24))
    model = found.model()
    assert found.architecture.name == kind
    assert model.net.image_shape == (channels, 16, 24)
    assert model.net.width == width
    assert model.net.centered
    assert len(found.noise.levels()) == (1 if kind == "NCSN baseline" else num_levels)
    assert type(model.net).__name__ == {"NCSN": "RefineNet", "NCSN baseline": "RefineNetBaseline"}.get(kind, kind)
    assert type(model) is (sk.ScaledScore if "v2" in kind else sk.DirectScore)
    for name, tensor in state.items():
        if name != "sigmas":
            assert torch.equal(model.net.state_dict()[name], tensor)


def test_the_prefix_of_data_parallel_is_no_part_of_a_name(tmp_path, generator):
    tensors = random(shapes_of("NCSN", 3, 2), generator)
    plain = read_ncsn(write(tmp_path / "plain.pth", state_of(tensors, "")))
    prefixed = read_ncsn(write(tmp_path / "prefixed.pth", state_of(tensors, "module.")))
    assert plain.parts.state.keys() == prefixed.parts.state.keys() == tensors.keys()


@pytest.mark.parametrize(
    ("kind", "channels", "num_levels", "size"),
    [
        ("NCSN", 1, 10, 28),
        ("NCSN", 3, 10, 32),
        ("NCSN baseline", 1, 1, 28),
        ("NCSN baseline", 3, 1, 32),
        ("NCSNv2", 3, 232, 32),
        ("NCSNv2", 3, 500, 64),  # CelebA
        ("NCSNv2", 3, 100, 32),
        ("NCSNv2", 1, 232, 28),
        ("NCSNv2Deeper", 3, 788, 96),  # church
        ("NCSNv2Deeper", 3, 1086, 128),
        ("NCSNv2Deeper", 3, 100, 128),
        ("NCSNv2Deepest", 3, 2311, 256),
        ("NCSNv2Deepest", 3, 100, 256),
    ],
)
def test_the_size_of_the_images_is_the_published_one_unless_it_is_given(
    kind, channels, num_levels, size, tmp_path, generator
):
    path = write(tmp_path / "x.pth", random(shapes_of(kind, channels, 2, num_levels), generator))
    assert read_ncsn(path).setting.image_shape == (channels, size, size)


def test_a_given_size_of_the_images_is_taken(file_of):
    path = file_of("NCSNv2")
    assert read_ncsn(path, image_size=40).setting.image_shape == (3, 40, 40)
    assert read_ncsn(path, image_size=(8, 24)).setting.image_shape == (3, 8, 24)


def test_the_levels_of_ncsnv2_are_kept_exactly(tmp_path, generator):
    shapes = shapes_of("NCSNv2", 3, 2, 232)
    state = filled(shapes)
    noise = read_ncsn(write(tmp_path / "x.pth", state)).noise
    assert isinstance(noise, sk.Levels)
    assert torch.equal(noise.levels().float(), state["sigmas"])
    assert torch.equal(noise.levels(), state["sigmas"].double())
    assert noise.levels()[:3].tolist() == pytest.approx([50, 48.1900253, 46.4455681], rel=1e-7)


def test_the_levels_of_ncsn_are_the_papers_unless_they_are_given(tmp_path, generator):
    path = write(tmp_path / "x.pth", random(shapes_of("NCSN", 3, 2), generator))
    assert read_ncsn(path).noise == sk.Geometric(1.0, 0.01, 10)
    other = sk.Geometric(2.0, 0.02, 10)
    found = read_ncsn(path, noise=other)
    assert found.noise == other
    torch.testing.assert_close(found.model().noise_levels, other.levels(), check_dtype=False)
    baseline = write(tmp_path / "baseline.pth", random(shapes_of("NCSN baseline", 3, 2), generator))
    assert read_ncsn(baseline).noise == sk.SingleLevel(0.01)
    assert read_ncsn(baseline, noise=sk.SingleLevel(0.1)).model().noise_levels.tolist() == [0.1]


def test_wrong_arguments_are_refused(tmp_path, generator):
    path = write(tmp_path / "x.pth", random(shapes_of("NCSN", 3, 2), generator))
    second = write(tmp_path / "y.pth", random(shapes_of("NCSNv2", 3, 2), generator))
    with pytest.raises(ValueError, match=r"as many levels as .*x.pth has, 10; it has 9"):
        read_ncsn(path, noise=sk.Geometric(1.0, 0.01, 9))
    with pytest.raises(ValueError, match=r"expected None, since .*y.pth has its own levels, in 'sigmas'"):
        read_ncsn(second, noise=sk.Geometric(1.0, 0.01, 10))
    with pytest.raises(TypeError, match=r"read_ncsn\(noise=10\): expected NoiseSchedule"):
        read_ncsn(path, noise=10)
    for size in ((32,), "32", (1, 2, 3), 32.0, True, ("8", "8"), (8.0, 8.0), (8, None)):
        with pytest.raises(ValueError, match="expected one number of pixels, or"):
            read_ncsn(path, image_size=size)
    with pytest.raises(ValueError, match="even height and width"):
        read_ncsn(path, image_size=31)
    with pytest.raises(FileNotFoundError):
        read_ncsn(tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match="weights='best'"):
        read_ncsn(path).model("best")
    with pytest.raises(CheckpointError, match="expected a moving average for weights='ema'; the file has none"):
        read_ncsn(path).model("ema")
    with pytest.raises(TypeError, match=r"write_ncsn\(checkpoint=1\): expected NCSNCheckpoint"):
        write_ncsn(tmp_path / "z.pth", 1)


def test_ema_and_raw_weights_step_and_optimiser_are_told_apart(tmp_path, generator):
    shapes = shapes_of("NCSNv2", 3, 2)
    raw, ema = random(shapes, generator), random(shapes, generator)
    document = v2_list(raw, ema, generator)
    found = read_ncsn(write(tmp_path / "x.pth", document))
    assert found.step == 300_000
    for weights, tensors in (("raw", raw), ("ema", ema), (None, ema)):
        state = found.model(weights).net.state_dict()
        assert list(differences(ema_of(tensors), {name: state[name] for name in ema_of(tensors)})) == []
    assert list(differences(found.optimizer, document[1])) == []
    without = read_ncsn(write(tmp_path / "y.pth", document[:4]))
    assert (without.step, without.parts.ema) == (300_000, None)
    assert torch.equal(without.model().net.begin_conv.weight, raw["begin_conv.weight"])


def test_the_step_of_ncsn_is_its_number_of_updates(file_of):
    assert read_ncsn(file_of("NCSN")).step == 200_000


def test_steps_in_tensors_count_and_nonsense_does_not(tmp_path, generator):
    state = state_of(random(shapes_of("NCSN", 3, 2), generator))
    for states, step in (
        ({0: {"step": torch.tensor(7.0)}, 1: {"step": torch.tensor(5)}}, 7),
        ({}, None),
        ([], None),
        ({0: {"step": -3}, 1: {"step": "x"}, 2: None, 3: {"step": torch.ones(2)}}, None),
        ({0: {"step": torch.tensor(float("nan"))}}, None),
    ):
        path = write(tmp_path / "x.pth", [state, {"state": states, "param_groups": []}])
        assert read_ncsn(path).step == step


def test_neither_reading_nor_making_a_model_moves_torchs_generator(file_of):
    path, before = file_of("NCSN"), torch.get_rng_state()
    read_ncsn(path).model()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_model_has_weights_of_its_own(file_of):
    found = read_ncsn(file_of("NCSN"))
    with torch.no_grad():
        found.model().net.begin_conv.weight.zero_()
    assert found.parts.state["begin_conv.weight"].abs().min() > 0
    assert "tensor(" not in repr(found)
    assert len(repr(found)) < 400
