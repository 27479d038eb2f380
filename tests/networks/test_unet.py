"""The U-Net: its size, its parts against plain formulas, the laws of the whole, and conditions."""

import math
import zlib
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

import scorekit as sk
from scorekit.networks import embedding
from scorekit.networks.unet import UNet, blocks, resampling, stages
from scorekit.networks.unet.blocks import AttentionBlock, ResidualBlock
from scorekit.networks.unet.resampling import double, halve
from scorekit.networks.unet.stages import Middle, UpStage
from scorekit.testing import ConformanceError, check_network
from scorekit.testing.configuration import round_trip

SMALL = {"width": 8, "channel_multipliers": (1, 2), "num_blocks": 1, "attention_sizes": (4,)}


def awake(net: nn.Module) -> nn.Module:
    """With weights where it starts at zero: a new network is 0 everywhere, and breaks no law."""
    with torch.no_grad():
        for weight in net.parameters():
            if not weight.any():
                weight.normal_(0, 0.3)
    return net


def small(shape: tuple[int, int, int] = (2, 8, 8), **arguments: object) -> UNet:
    return awake(UNet(shape, **{**SMALL, **arguments})).double()


def inputs(shape: tuple[int, int, int] = (2, 8, 8), count: int = 4) -> tuple[Tensor, Tensor]:
    sigma = torch.tensor([0.01, 3.0, 0.3, 50.0, 1.0], dtype=torch.float64)[:count]
    return torch.randn(count, *shape, dtype=torch.float64), sigma


# ---------------------------------------------------------------------------------------------------------------- size


def size_by_formula(
    shape: tuple[int, int, int],
    width: int = 128,
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2),
    num_blocks: int = 4,
    attention_sizes: tuple[int, ...] = (16,),
    input_pyramid: bool = True,
    labels: int = 0,
) -> int:
    """How many numbers a U-Net has, frequencies included, counted block by block."""
    told, height, pyramid = 4 * width, shape[1], shape[0]

    def affine(before: int, after: int, taps: int = 1) -> int:
        return taps * before * after + after

    def residual(before: int, after: int, change: bool = False) -> int:
        convs = affine(before, after, 9) + affine(after, after, 9)
        shortcut = affine(before, after) if change or before != after else 0
        return 2 * before + 2 * after + convs + affine(told, after) + shortcut

    def attention(channels: int) -> int:
        return 2 * channels + 4 * affine(channels, channels)

    channels = width * channel_multipliers[0]
    total = width + affine(2 * width, told) + affine(told, told) + labels * told + affine(pyramid, channels, 9)
    skips = [channels]
    for stage, multiplier in enumerate(channel_multipliers):
        for _ in range(num_blocks):
            total += residual(channels, width * multiplier)
            channels = width * multiplier
            total += attention(channels) if height in attention_sizes else 0
            skips.append(channels)
        if stage < len(channel_multipliers) - 1:
            total += residual(channels, channels, change=True)
            total += affine(pyramid, channels, 9) if input_pyramid else 0
            pyramid, height = channels, height // 2
            skips.append(channels)
    total += 2 * residual(channels, channels) + attention(channels)
    for stage, multiplier in reversed(list(enumerate(channel_multipliers))):
        for _ in range(num_blocks + 1):
            total += residual(channels + skips.pop(), width * multiplier)
            channels = width * multiplier
        total += attention(channels) if height in attention_sizes else 0
        if stage:
            total += residual(channels, channels, change=True)
            height *= 2
    return total + 2 * channels + affine(channels, shape[0], 9)


def size(*arguments: object, **named: object) -> int:
    with torch.device("meta"):
        net = UNet(*arguments, **named)
    return sum(tensor.numel() for tensor in (*net.parameters(), *net.buffers()))


CIFAR10 = (3, 32, 32)


def test_with_its_own_defaults_it_has_the_size_of_the_published_network():
    """Of NCSN++ and its deep form with continuous sigma; without the pyramid, that of DDPM++, which has no table of
    frequencies: 61,804,419 numbers, and a first linear layer of 128 inputs where this one has 256."""
    assert size(CIFAR10) == 62_758_915
    assert size(CIFAR10, num_blocks=8) == 107_587_075
    assert size(CIFAR10, input_pyramid=False) == 61_804_419 + 128 + 128 * 512


SIZES = [
    (CIFAR10, {}),
    ((1, 28, 28), {"width": 16, "channel_multipliers": (1, 2, 4), "num_blocks": 1, "attention_sizes": (7,)}),
    ((1, 8, 8), SMALL),
    ((3, 64, 32), {"width": 20, "channel_multipliers": (2, 1, 3), "num_blocks": 2, "attention_sizes": (32,)}),
    ((3, 256, 256), {"channel_multipliers": (1, 1, 2, 2, 2, 2, 2), "num_blocks": 2, "input_pyramid": False}),
]


@pytest.mark.parametrize(("shape", "arguments"), SIZES)
def test_the_number_of_parameters_by_formula(shape, arguments):
    count = size_by_formula(shape, **arguments)
    assert size(shape, **arguments) == count
    told = 4 * arguments.get("width", 128)
    assert size(shape, **arguments, num_classes=10) == count + 10 * told
    assert size(shape, **arguments, condition_dim=9) == count + 9 * told + told
    for other in ({"input_pyramid": not arguments.get("input_pyramid", True)}, {"attention_sizes": ()}):
        assert size_by_formula(shape, **{**arguments, **other}) != count


def test_sizes_of_small_networks():
    assert [size(shape, **arguments) for shape, arguments in SIZES[1:3]] == [750_049 + 16, 48_329]


# ---------------------------------------------------------------------------------------------------------- resampling


def fir_by_sums(x: Tensor, taps: tuple[float, ...] = (1 / 8, 3 / 8, 3 / 8, 1 / 8), edge: float = 1.0) -> Tensor:
    """Pixel by pixel: sum_{a, b} t_a t_b x_{2 i - 1 + a, 2 j - 1 + b}, the edge repeated (or, with edge=0, zeros)."""
    height, width = x.shape[2:]
    y = x.new_zeros(*x.shape[:2], height // 2, width // 2)
    for i, j, a, b in torch.cartesian_prod(*map(torch.arange, (height // 2, width // 2, 4, 4))).tolist():
        row, column = 2 * i - 1 + a, 2 * j - 1 + b
        inside = 0 <= row < height and 0 <= column < width
        pixel = x[:, :, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
        y[:, :, i, j] += taps[a] * taps[b] * pixel * (1.0 if inside else edge)
    return y


def test_fir_halves_by_the_sum_over_its_kernel():
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(halve(x, "fir"), fir_by_sums(x))
    for broken in (partial(fir_by_sums, edge=0.0), partial(fir_by_sums, taps=(1 / 6, 1 / 3, 1 / 3, 1 / 6))):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(halve(x, "fir"), broken(x))


def test_fir_doubles_by_bilinear_interpolation_and_mean_by_copies():
    x = torch.randn(2, 3, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(double(x, "fir"), F.interpolate(x, scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(double(x, "mean"), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(halve(double(x, "mean"), "mean"), x)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            double(x, "fir"), F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        )


Resample = Callable[[Tensor], Tensor]


def ways(way: resampling.Resampling) -> tuple[Resample, Resample]:
    return partial(halve, resampling=way), partial(double, resampling=way)


def check_constants(halve: Resample, double: Resample) -> None:
    x = torch.tensor([2.0, -3.0], dtype=torch.float64).reshape(1, 2, 1, 1).expand(1, 2, 6, 2)
    torch.testing.assert_close(halve(x), x[:, :, :3, :1])
    torch.testing.assert_close(double(x), x.repeat(1, 1, 2, 2))


def check_adjoint(halve: Resample, double: Resample) -> None:
    """<double(y), x> = 4 <y, halve(x)>."""
    x, y = torch.randn(1, 2, 6, 8, dtype=torch.float64), torch.randn(1, 2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close((double(y) * x).sum(), 4 * (y * halve(x)).sum())


def check_convolution_commutes(halve: Resample, double: Resample) -> None:
    """Why the shortcut of a block that doubles may convolve first."""
    x, conv = torch.randn(1, 2, 6, 8, dtype=torch.float64), nn.Conv2d(2, 3, 1).double()
    for resample in (halve, double):
        torch.testing.assert_close(conv(resample(x)), resample(conv(x)))


@pytest.mark.parametrize("way", resampling.RESAMPLINGS)
@pytest.mark.parametrize("check", [check_constants, check_adjoint, check_convolution_commutes])
def test_laws_of_resampling(way, check):
    check(*ways(way))


ZEROS_BEYOND = partial(fir_by_sums, edge=0.0)


@pytest.mark.parametrize(
    ("check", "halve", "double"),
    [
        (check_constants, ZEROS_BEYOND, ways("fir")[1]),
        (check_constants, ways("fir")[0], lambda x: 4 * ways("fir")[1](x)),
        (check_adjoint, ZEROS_BEYOND, ways("fir")[1]),
        (check_adjoint, ways("fir")[0], ways("mean")[1]),
        (check_convolution_commutes, ZEROS_BEYOND, ways("fir")[1]),
    ],
    ids=["zeros beyond the edge", "times 4", "zeros beyond the edge", "of different kinds", "zeros beyond the edge"],
)
def test_laws_of_resampling_reject(check, halve, double):
    with pytest.raises(AssertionError):
        check(halve, double)


# -------------------------------------------------------------------------------------------------------------- blocks


def shuffled(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(2)[:, :, order].unflatten(2, x.shape[2:])


def check_pixels_have_no_order(block: Callable[[Tensor], Tensor]) -> None:
    x, order = torch.randn(2, 8, 3, 4, dtype=torch.float64), torch.randperm(12)
    torch.testing.assert_close(block(shuffled(x, order)), shuffled(block(x), order))


def test_attention_commutes_with_a_permutation_of_the_pixels():
    block = awake(AttentionBlock(8)).double()
    check_pixels_have_no_order(block)
    place = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    for broken in (lambda x: block(x + place), awake(nn.Conv2d(8, 8, 3, padding=1)).double()):
        with pytest.raises(AssertionError):
            check_pixels_have_no_order(broken)


def check_attention(block: AttentionBlock, scale: float | None = None) -> None:
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    query, key, value = block.query_key_value(block.norm(x).flatten(2).mT).chunk(3, dim=2)
    found = block.project(F.scaled_dot_product_attention(query, key, value, scale=scale)).mT.unflatten(2, (3, 4))
    torch.testing.assert_close(block(x), (x + found) / math.sqrt(2))


def test_attention_is_that_of_torch():
    block = awake(AttentionBlock(8)).double()
    check_attention(block)
    with pytest.raises(AssertionError):
        check_attention(block, scale=1.0)


def check_residual_block(block: ResidualBlock, resample: Callable[[Tensor], Tensor]) -> None:
    """The formula, every convolution at the place where it is written."""
    h, told = torch.randn(2, 8, 4, 6, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    inner = block.conv0(resample(F.silu(block.norm0(h)))) + block.linear(told).reshape(2, -1, 1, 1)
    inner = block.conv1(F.silu(block.norm1(inner)))
    torch.testing.assert_close(block(h, told), (block.shortcut(resample(h)) + inner) / math.sqrt(2))


@pytest.mark.parametrize("way", resampling.RESAMPLINGS)
@pytest.mark.parametrize("change", [None, "down", "up"])
def test_a_residual_block_is_its_formula(change, way):
    block = awake(ResidualBlock(8, 12, 5, change=change, resampling=way)).double()
    resample = {None: lambda h: h, "down": partial(halve, resampling=way), "up": partial(double, resampling=way)}
    check_residual_block(block, resample[change])
    wrong = resample["down" if change == "up" else "up"]
    with pytest.raises((AssertionError, RuntimeError)):
        check_residual_block(block, wrong)


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (5, 1), (6, 1), (24, 6), (128, 32), (144, 24), (384, 32)])
def test_groups_divide_the_channels(channels, groups):
    assert blocks.norm(channels).num_groups == groups


# ------------------------------------------------------------------------------------------------------------ the whole

SHAPES = [
    ((1, 28, 28), {"channel_multipliers": (1, 1, 1), "attention_sizes": (7,)}),
    ((3, 8, 8), {"channel_multipliers": (1, 2, 1, 1)}),  # down to one pixel
    ((2, 4, 12), {"channel_multipliers": (1, 1, 2), "resampling": "mean"}),
    ((5, 3, 3), {"channel_multipliers": (2,), "num_blocks": 2}),
    ((1, 6, 2), {"width": 10, "input_pyramid": False}),
]


@pytest.mark.parametrize(("shape", "arguments"), SHAPES)
def test_any_size_that_can_be_halved_and_sigma_from_zero_on(shape, arguments):
    net = small(shape, **arguments)
    sigma = torch.tensor([0.0, 1e-12, 0.1, 1.0, 5000.0], dtype=torch.float64)
    x, _ = inputs(shape, 5)
    y = net(x, sigma)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert net.float()(x.float(), sigma.float()).dtype == torch.float32
    torch.testing.assert_close(net(x.float(), sigma.float()).double(), y, rtol=0, atol=1e-3)
    assert net.bfloat16()(x.bfloat16(), sigma.bfloat16()).dtype == torch.bfloat16


def test_images_of_256_pixels():
    with torch.device("meta"):
        net = UNet((3, 256, 256), channel_multipliers=(1, 1, 2, 2, 4, 4), num_blocks=2)
        assert net(torch.zeros(2, 3, 256, 256), torch.ones(2)).shape == (2, 3, 256, 256)
    assert [stage.attention for stage in net.up if isinstance(stage.attention, AttentionBlock)]


def test_a_new_network_is_zero():
    x, sigma = inputs()
    assert not UNet((2, 8, 8), **SMALL).double()(x, sigma).any()


@pytest.mark.parametrize("way", resampling.RESAMPLINGS)
def test_the_laws_of_a_network(way):
    check_network(lambda: small(resampling=way), event_shape=(2, 8, 8), levels=(3.0, 0.1))
    check_network(lambda: small(data_std=0.5, dropout=0.3, num_blocks=2), event_shape=(2, 8, 8))


def attend_over_the_batch(self: AttentionBlock, h: Tensor) -> Tensor:
    return h + self.project(self.query_key_value(self.norm(h).mean((0, 2, 3)))[: h.shape[1]]).reshape(-1, 1, 1)


def untold(self: ResidualBlock, h: Tensor, embedding: Tensor) -> Tensor:
    return FORWARD(self, h, embedding.detach())


FORWARD = ResidualBlock.forward


@pytest.mark.parametrize(
    ("part", "broken", "law"),
    [
        (AttentionBlock, attend_over_the_batch, "a row depends on no other row"),
        (ResidualBlock, untold, "the gradient reaches every parameter"),
    ],
)
def test_the_laws_of_a_network_reject(part, broken, law, monkeypatch):
    monkeypatch.setattr(part, "forward", broken)
    with pytest.raises(ConformanceError, match=law):
        check_network(small, event_shape=(2, 8, 8))


def steps_until_all_move(net: UNet, limit: int = 5) -> int:
    """How many gradient steps until every parameter has a gradient other than 0."""
    x, sigma = inputs()
    target = torch.randn_like(x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for step in range(limit):
        optimizer.zero_grad()
        (net(x, sigma) - target).square().sum().backward()
        if all(weight.grad is not None and weight.grad.any() for weight in net.parameters()):
            return step
        optimizer.step()
    return limit


def test_every_parameter_moves_once_the_layers_that_start_at_zero_have(monkeypatch):
    """The head first, then the last layers of the blocks, then all: step by step."""
    assert steps_until_all_move(UNet((2, 8, 8), **SMALL).double()) == 2
    monkeypatch.setattr(ResidualBlock, "forward", untold)
    assert steps_until_all_move(UNet((2, 8, 8), **SMALL).double()) == 5


def filled(**arguments: object) -> UNet:
    """Tensor k of shape S, entries j = 1..n in C order: u_j = sin(12.9898 j + crc32(k) mod 1000), times sqrt(2 / (S1 S2
    ...)) for a matrix or a kernel; 1 + .1 u for the weights of norms, .1 u for any other vector."""
    net = small(**arguments)
    for name, value in net.state_dict().items():
        u = torch.sin(12.9898 * torch.arange(1, value.numel() + 1).double() + zlib.crc32(name.encode()) % 1000)
        norm = "norm" in name and name.endswith("weight")
        scale = math.sqrt(2 / value[0].numel()) if value.ndim > 1 else 0.1
        value.copy_(u.reshape(value.shape) * scale + (1 if norm else 0))
    return net


def check_golden() -> None:
    """Figures of our own, from the first version: how the parts hang together must not change under old weights."""
    x = (0.5 + 0.5 * torch.sin(0.37 * torch.arange(256).double() + 1)).reshape(2, 2, 8, 8)
    y = filled()(x, torch.tensor([0.1, 2.0], dtype=torch.float64)).detach()
    figures = torch.stack((y.sum(), y[0, 0, 0, 0], y[1, 1, 7, 7], y[0].norm(), y[1].norm()))
    torch.testing.assert_close(figures, torch.tensor(GOLDEN, dtype=torch.float64), rtol=1e-6, atol=0)


GOLDEN = (68.059381544154, -0.205887969302, -0.187513227300, 6.347926658548, 4.554964757531)


def test_golden_figures():
    check_golden()


def other_way_round(self: UpStage, h: Tensor, maps: list[Tensor], embedding: Tensor) -> Tensor:
    for block in self.blocks:
        h = block(torch.cat((maps.pop(), h), 1), embedding)
    h = self.attention(h)
    return h if self.change is None else self.change(h, embedding)


@pytest.mark.parametrize(
    ("place", "name", "broken"),
    [
        (UpStage, "forward", other_way_round),
        (stages, "halve", lambda x, way: halve(x, "mean")),
        (blocks, "double", lambda x, way: double(x, "mean")),
        (Middle, "forward", lambda self, h, told: self.attention(self.second(self.first(h, told), told))),
        (embedding, "_SMALLEST_SIGMA", 0.5),
    ],
    ids=["side by side", "pyramid", "doubling", "middle", "sigma"],
)
def test_golden_figures_reject(place, name, broken, monkeypatch):
    monkeypatch.setattr(place, name, broken)
    with pytest.raises(AssertionError):
        check_golden()


def test_sigma_is_told_row_by_row():
    net = small()
    x = inputs()[0][:1].expand(3, -1, -1, -1)
    y = net(x, torch.tensor([0.1, 1.0, 0.1], dtype=torch.float64))
    torch.testing.assert_close(y[0], y[2])
    assert (y[0] - y[1]).abs().max() > 1e-3


def check_scaled_input(net: UNet, data_std: float) -> None:
    x, sigma = inputs()
    scaled = small(data_std=data_std)
    scaled.load_state_dict(net.state_dict())
    torch.testing.assert_close(scaled(x, sigma), net(x / (sigma**2 + 0.25).sqrt().reshape(4, 1, 1, 1), sigma))


def test_with_data_std_it_sees_inputs_of_one_size():
    net = small()
    check_scaled_input(net, 0.5)
    with pytest.raises(AssertionError):
        check_scaled_input(net, 0.25)


def test_dropout_is_for_training_only():
    net, (x, sigma) = small(dropout=0.5), inputs()
    assert not torch.equal(net(x, sigma), net(x, sigma))
    net.eval()
    assert torch.equal(net(x, sigma), net(x, sigma))
    same = small()
    same.load_state_dict(net.state_dict())
    assert torch.equal(same(x, sigma), net(x, sigma))


# --------------------------------------------------------------------------------------------------------- derivatives


def check_derivatives(f: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Forward mode, reverse mode, and reverse over reverse, each against a difference quotient.

    Central differences in double precision, step 1e-5: their error is near 1e-9 of the values.
    """
    u, v = torch.randn_like(x), torch.randn_like(x)

    def close(a: Tensor, b: Tensor) -> None:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

    def slope(g: Callable[[Tensor], Tensor]) -> Tensor:
        return (g(x + 1e-5 * u) - g(x - 1e-5 * u)) / 2e-5

    def pulled(y: Tensor) -> Tensor:
        return vjp(f, y)[1](v)[0]

    close(jvp(f, (x,), (u,))[1], slope(f).detach())
    close((pulled(x) * u).sum(), (slope(f) * v).sum())
    close(jvp(pulled, (x,), (u,))[1], slope(pulled))
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((f(y) * v).sum(), y, create_graph=True)
    close(torch.autograd.grad((gradient * u).sum(), y)[0], slope(pulled))


@pytest.mark.parametrize("way", resampling.RESAMPLINGS)
def test_derivatives_of_every_kind(way):
    net, (x, sigma) = small(resampling=way), inputs(count=2)
    check_derivatives(lambda x: net(x, sigma), x)
    with pytest.raises(AssertionError):
        check_derivatives(lambda x: net(x, sigma) + x.detach() ** 2, x)


def test_one_image_at_a_time_by_vmap():
    net, (x, sigma) = small(num_classes=3), inputs()
    labels = torch.tensor([2, 0, 1, 2])

    def one(x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        rows = (each.unsqueeze(0) for each in (x, sigma, label))
        return functional_call(net, dict(net.named_parameters()), tuple(rows))[0]

    torch.testing.assert_close(vmap(one)(x, sigma, labels), net(x, sigma, labels))


# ---------------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("kinds", "condition"),
    [({"num_classes": 3}, torch.tensor([2, 0, 2, 1])), ({"condition_dim": 2}, torch.arange(8.0).reshape(4, 2) - 4)],
    ids=["labels", "vectors"],
)
def test_each_row_has_its_own_condition(kinds, condition):
    net, (x, sigma), order = small(**kinds), inputs(), [3, 1, 0, 2]
    y = net(x, sigma, condition)
    torch.testing.assert_close(net(x[order], sigma[order], condition[order]), y[order])
    changed = (condition[order] != condition).reshape(4, -1).any(1)
    gap = (net(x, sigma, condition[order]) - y).abs().amax((1, 2, 3))
    assert changed.sum() >= 2
    assert ((gap > 1e-3) == changed).all()
    twin = round_trip(net).double()
    twin.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin(x, sigma, condition), y)


def test_conditions_that_do_not_fit_are_refused():
    x, sigma = inputs()
    with pytest.raises(TypeError, match="UNet takes no condition"):
        small()(x, sigma, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"UNet was called without a condition: expected labels"):
        small(num_classes=3)(x, sigma)
    with pytest.raises(ValueError, match=r"UNet: a condition of labels from 0 to 3: expected labels .* 0 to 2"):
        small(num_classes=3)(x, sigma, torch.arange(4))
    with pytest.raises(ValueError, match=r"UNet: a condition of shape \(4, 3\) for B = 4: expected vectors \(B, 2\)"):
        small(condition_dim=2)(x, sigma, torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"UNet\(num_classes=3, condition_dim=2\): .* exactly one"):
        small(num_classes=3, condition_dim=2)


def landed(told: Tensor, labels: Tensor, num_steps: int = 40) -> float:
    """The share of samples, drawn for `labels`, with the sign of their class, after training with the labels `told`.

    Class 0 is an image of -1 everywhere, class 1 of +1, with noise of .1 on each pixel.
    """
    x = (2.0 * labels - 1).reshape(-1, 1, 1, 1) + 0.1 * torch.randn(len(labels), 1, 4, 4)
    net = UNet((1, 4, 4), width=8, channel_multipliers=(1, 1), num_blocks=1, fourier_scale=1.0, num_classes=2)
    model = sk.ScaledScore(net)
    noise = sk.Geometric(4.0, 0.1, 10)
    objective = sk.Objective(model, sk.DenoisingScoreMatching(), noise)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(num_steps):
        rows = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        objective(x[rows], told[rows]).loss.backward()
        optimizer.step()
    family = sk.from_score(lambda x, sigma: model(x, x.new_full((len(x),), sigma), labels), moments=(0.0, 1.0))
    drawn = sk.sample(sk.dpm_solver(noise), family, x.shape)
    return ((drawn.mean((1, 2, 3)) > 0) == (labels == 1)).float().mean().item()


def test_samples_of_a_class_are_of_that_class_unless_training_mixed_the_labels_up():
    """256 samples. Of labels in another order nothing can be learned but chance correlations, of .06 each."""
    labels = torch.arange(256) % 2
    assert landed(labels, labels) > 0.95
    assert landed(labels[torch.randperm(256)], labels) < 0.8


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"image_shape": (3, 32)}, ValueError, r"image_shape=\(3, 32\)\): expected \(channels, height, width\)"),
        ({"image_shape": (0, 32, 32)}, ValueError, r"each >= 1"),
        ({"image_shape": 32}, TypeError, r"expected Sequence \(\(3, 32, 32\), say\)"),
        ({"image_shape": (1, 28, 28)}, ValueError, r"4 sizes halve the image 3 times, so .* divisible by 8: use fewer"),
        ({"image_shape": (1, 32, 28)}, ValueError, r"divisible by 8"),
        ({"channel_multipliers": ()}, ValueError, r"multipliers >= 1"),
        ({"channel_multipliers": (1, 0)}, ValueError, r"multipliers >= 1"),
        ({"channel_multipliers": 2}, TypeError, r"channel_multipliers=2.*expected Sequence"),
        ({"attention_sizes": 16}, TypeError, r"attention_sizes=16.*expected Sequence"),
        ({"width": 3}, ValueError, r"width=3.*expected width >= 4"),
        ({"num_blocks": 0}, ValueError, r"num_blocks=0.*num_blocks >= 1"),
        ({"dropout": 1.0}, ValueError, r"dropout=1.0\): expected a probability in \[0, 1\)"),
        ({"dropout": -0.1}, ValueError, r"dropout=-0.1"),
        ({"resampling": "nearest"}, ValueError, r"resampling='nearest'\): expected one of 'fir', 'mean'"),
        ({"data_std": 0.0}, ValueError, r"data_std=0.0\): expected None, or 0 < data_std < inf"),
        ({"data_std": math.inf}, ValueError, r"data_std=inf"),
        ({"fourier_scale": 0.0}, ValueError, r"scale=0.0"),
        ({"num_classes": 0}, ValueError, r"num_classes=0.*>= 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with torch.device("meta"), pytest.raises(error, match=match):
        UNet(**{"image_shape": CIFAR10, **arguments})


def test_bad_inputs_are_refused():
    net, (x, sigma) = small(), inputs()
    with pytest.raises(ValueError, match=r"UNet: x of shape \(4, 2, 8, 4\), expected \(B, 2, 8, 8\)"):
        net(x[..., :4], sigma)
    for bad in (sigma[:3], sigma[0], sigma.unsqueeze(1)):
        with pytest.raises(ValueError, match=r"UNet: sigma of shape .*, expected \(B,\) = \(4,\)"):
            net(x, bad)


def test_a_level_whose_square_is_beyond_float16_is_a_level_like_any_other(generator):
    """300^2 is infinite in float16, and the network then saw an image of zeros."""
    net = small(data_std=0.5)
    x, sigma = 300 * torch.empty(2, 2, 8, 8, dtype=torch.float64).normal_(generator=generator), torch.full((2,), 300.0)
    exact = net(x, sigma.double())
    rough = net.half()(x.half(), sigma.half())
    assert (rough - exact).norm() < 0.05 * exact.norm()
    assert (net(torch.zeros_like(x.half()), sigma.half()) - exact).norm() > 0.2 * exact.norm()


@pytest.mark.parametrize("data_std", [None, 0.5])
def test_forward_mode_takes_images_with_the_channels_last_in_memory(data_std):
    net, (x, sigma) = small(data_std=data_std), inputs(count=2)
    last, direction = x.contiguous(memory_format=torch.channels_last), torch.ones_like(x)
    found = jvp(lambda y: net(y, sigma), (last,), (direction,))[1]
    torch.testing.assert_close(found, jvp(lambda y: net(y, sigma), (x,), (direction,))[1])
