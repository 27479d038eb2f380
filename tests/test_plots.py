import json
import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

import scorekit as sk
from scorekit import metrics, plots
from scorekit.base import Info
from scorekit.samplers import Chains

mpl.use("Agg")
TOY = sk.densities.GaussianMixture(((3.0, 3.0), (-3.0, -3.0)), (0.8, 0.2))
PULLED = sk.from_score(lambda x, sigma: TOY.score(x, sigma) + 0.3)


@pytest.fixture(autouse=True)
def _closed():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def render(ax, path) -> np.ndarray:
    """The picture as (height, width, 3); it must show more than a frame."""
    ax.figure.savefig(path, dpi=60)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    return pixels


def red(pixels: np.ndarray) -> int:
    """How many pixels are about matplotlib's red, the samples' colour."""
    r, g, b = (pixels[..., i].astype(int) for i in range(3))
    return int(((r > 150) & (g < 100) & (b < 100)).sum())


def walk(streams, time: int = 60, chains: int = 6) -> Chains:
    steps = sk.base.normal(torch.empty(chains, time, 2), generator=streams).movedim(1, 0)
    sigma = torch.tensor([1.0] * (time // 2) + [0.5] * (time // 2), dtype=torch.float64)
    rate = sk.base.uniform(torch.empty(chains, time), generator=streams).T
    accepted = rate < torch.linspace(0.3, 0.9, chains)
    accepted[:, 0] = False
    moved = (steps * accepted.unsqueeze(2)).cumsum(0)
    no = torch.zeros_like(accepted)
    return Chains(moved, sigma, Info(accepted, rate.log(), no, ~no, -rate.log()))


def test_scatter_shows_samples_over_arrows_and_shades(tmp_path, streams):
    x = TOY.sample(300, generator=streams)
    ax = plots.scatter(x, score=TOY, density=TOY, sigma=0.5)
    assert ax.collections[0].N == 400  # the arrows
    assert np.allclose(ax.collections[1].get_offsets(), x.numpy())
    pixels = render(ax, tmp_path / "scatter.png")
    bare = render(plots.scatter(x), tmp_path / "bare.png")
    assert red(pixels) > 300
    assert (pixels < 200).any(2).mean() > 2 * (bare < 200).any(2).mean()


def test_arrows_point_where_the_score_points(tmp_path):
    ax = plots.scatter(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), score=sk.densities.Gaussian((0.0, 0.0)))
    arrows = ax.collections[0]
    assert np.allclose(np.stack([arrows.U, arrows.V], 1), -arrows.XY, atol=1e-6)
    feet = arrows.XY.reshape(20, 20, 2)
    assert (np.diff(feet[:, :, 0], axis=1) > 0).all()  # row by row from the bottom
    assert (np.diff(feet[:, :, 1], axis=0) > 0).all()


def test_half_precision_is_drawn(streams):
    density = sk.densities.Gaussian((0.0, 0.0))
    x = density.sample(5, generator=streams).bfloat16()
    assert plots.scatter(x, score=density, density=density).images
    left, _, _ = plots.fields(density, density, 1.0, like=x)
    assert left.images


def test_shades_are_where_the_density_is():
    off_centre = sk.densities.Gaussian((2.0, -1.0), (0.04, 0.01))
    ax = plots.scatter(torch.zeros(1, 2), density=off_centre, extent=(-4, 4, -4, 4))
    shades = ax.images[0].get_array()
    row, column = np.unravel_index(shades.argmax(), shades.shape)
    assert -4 + (column + 0.5) * 8 / 200 == pytest.approx(2, abs=0.04)
    assert -4 + (row + 0.5) * 8 / 200 == pytest.approx(-1, abs=0.04)
    assert ax.images[0].origin == "lower"


def test_fields_show_true_learned_and_difference(tmp_path):
    axes = plots.fields(TOY, PULLED, 1.0, (-6, 6, -6, 6))
    true, learned, difference = (ax.collections[0] for ax in axes)
    assert np.allclose(learned.U - true.U, 0.3, atol=1e-6)
    assert np.allclose(difference.U, 0.3, atol=1e-6)
    assert true.scale == learned.scale == difference.scale
    feet = torch.from_numpy(true.XY)
    relative = 0.3 * math.sqrt(2 * 400) / TOY.score(feet, 1.0).norm().item()
    assert axes[2].get_title() == f"difference ({relative:.1%} of the true score)"
    assert render(axes[0], tmp_path / "fields.png").shape[1] > 2 * 60 * 4


def test_fields_take_a_network_as_it_is():
    class Still(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(-0.5, dtype=torch.float64))

        def forward(self, x, sigma):
            return self.scale * x

    model = sk.DirectScore(Still())
    _, learned, _ = plots.fields(TOY, model, 1.0)
    assert np.allclose(learned.collections[0].U, -0.5 * learned.collections[0].XY[:, 0])
    assert model.training


def test_chains_in_the_plane_start_at_a_ring_and_end_at_a_dot(tmp_path, streams):
    run = walk(streams)
    ax = plots.chains(run, num_chains=3)
    assert len(ax.lines) == 9
    path, start, end = ax.lines[3:6]
    assert np.allclose(path.get_xydata(), run.x[:, 1].numpy())
    assert np.allclose(start.get_xydata(), run.x[:1, 1].numpy())
    assert np.allclose(end.get_xydata(), run.x[-1:, 1].numpy())
    assert start.get_markerfacecolor() == "none"
    render(ax, tmp_path / "chains.png")


def test_one_coordinate_is_drawn_against_the_states_with_the_levels_marked(tmp_path, streams):
    run = walk(streams)
    ax = plots.chains(run, coordinates=(1,), num_chains=4)
    assert len(ax.lines) == 4 + 1
    assert np.allclose(ax.lines[2].get_ydata(), run.x[:, 2, 1].numpy())
    assert ax.lines[4].get_xdata()[0] == 29.5
    render(ax, tmp_path / "traces.png")


def test_acceptance_shows_every_chain_and_the_stuck_ones_apart(tmp_path, streams):
    decisions = metrics.acceptance_per_level(walk(streams))
    ax = plots.acceptance(decisions)
    chains, stuck, mean = ax.lines
    assert len(chains.get_xdata()) == 10
    assert stuck.get_xydata().tolist() == [[0, 0], [1, 0]]
    assert np.allclose(mean.get_ydata(), decisions.acceptance.mean(1).numpy())
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "0.5"]
    assert red(render(ax, tmp_path / "acceptance.png")) > 5


ROWS = [
    {
        "step": step,
        "loss": 3 * math.exp(-step / 30) + 1 + 0.2 * math.sin(7 * step),
        **({"held_out": {"1": 2 + 1 / step, "0.1": None if step == 40 else 1 + 2 / step}} if step % 20 == 0 else {}),
    }
    for step in range(1, 101)
]


def test_losses_have_a_curve_for_each_sigma(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"step": 101, "lo')
    ax = plots.losses(path)
    training, first, second = ax.lines
    assert training.get_ydata().tolist() == [row["loss"] for row in ROWS]
    assert first.get_xdata().tolist() == [20, 40, 60, 80, 100]
    assert first.get_label() == "held out, sigma = 1"
    assert np.isnan(second.get_ydata()).tolist() == [False, True, False, False, False]  # a loss that was not finite
    render(ax, tmp_path / "losses.png")
    same = plots.losses(ROWS)
    assert [line.get_xydata().shape for line in same.lines] == [line.get_xydata().shape for line in ax.lines]


def test_plots_draw_on_the_axes_they_are_given(streams):
    from matplotlib import pyplot

    _, (one, two, three) = pyplot.subplots(1, 3)
    assert plots.scatter(torch.zeros(3, 2), ax=one) is one
    assert plots.chains(walk(streams), ax=two) is two
    assert plots.losses(ROWS, ax=three) is three
    assert plots.acceptance(metrics.acceptance_per_level(walk(streams)), ax=one) is one
    assert plots.fields(TOY, PULLED, 1.0, axes=[one, two, three]) == (one, two, three)
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.scatter(torch.zeros(3, 4)), r"x of shape \(3, 4\)"),
        (lambda: plots.scatter(torch.full((3, 2), torch.nan)), "finite points"),
        (lambda: plots.scatter(torch.zeros(3, 2), extent=(1, 0, 0, 1)), r"extent = \(1, 0, 0, 1\)"),
        (lambda: plots.scatter(torch.zeros(3, 2), density=PULLED), "knows its score only"),
        (lambda: plots.fields(TOY, sk.from_score(lambda x, sigma: x / 0), 1.0), "not finite everywhere"),
        (lambda: plots.fields(TOY, PULLED, 1.0, axes=[]), "expected three"),
        (lambda: plots.chains(Chains(torch.zeros(4, 2, 3), torch.ones(4), None), coordinates=(0, 3)), "below 3"),
        (lambda: plots.losses([]), "no rows"),
        (lambda: plots.losses([{"step": 1, "loss": "much"}]), "'much' for 'loss'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_a_broken_line_of_a_log_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\nnot json\n{"step": 2, "loss": 1.0}\n')
    with pytest.raises(ValueError, match="line 2 is not a row of a training log: 'not json"):
        plots.losses(path)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'scorekit\[plots\]'"):
        plots.scatter(torch.zeros(3, 2))


def test_importing_plots_metrics_and_diagnostics_loads_none_of_their_extras():
    code = "import sys, scorekit.plots, scorekit.diagnostics; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={"OMP_NUM_THREADS": "1"}
    )
    loaded = set(done.stdout.split())
    assert {"scorekit.metrics.mixing", "scorekit.plots", "scorekit.diagnostics.trust"} <= loaded, done.stderr
    assert loaded & {"matplotlib", "arviz_stats", "scipy.stats", "sklearn", "PIL", "accelerate", "pooch"} == set()
