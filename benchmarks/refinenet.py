"""RefineNet against a plain restatement of its arithmetic: benchmarks/refinenet.py [--compile] [--rounds N].

`_Plain` below writes the network down as one would from the paper: a module for each part, an operation for each
formula. It has the parameters and the state dict of `sk.networks.RefineNet`, and is checked to give the same output
before anything is timed. Both take turns in one process, on one thread; figures are median ratios of CPU time.

    forward           width 128, 32x32x3, batch 8                            goal >= 1.2, compiled goal >= 2.0
    training step     denoising loss, backward, Adam, width 32, 32x32x3, batch 8                goal >= 1.4, compiled
    digits            the same for 8x8x1, width 16, batch 128: what the digits recipe repeats
    activations       what autograd keeps of a forward pass, each storage once, no parameters   goal <= 1 / 3.3

`--compile` compiles ours block by block (a minute or more, by load), with torch's activation memory budget halved:
without it the compiler keeps what the eager node computes again.
"""

import argparse
import copy
from collections.abc import Callable

import torch
import torch._functorch.config as functorch_config
import torch.nn.functional as F
from _memory import kept_bytes
from _timing import machine, paired_ratio
from torch import Tensor, nn

import scorekit as sk

NOISE = sk.Geometric()


# ------------------------------------------------------------------------------------------- the plain restatement


class _Norm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.instance = nn.InstanceNorm2d(channels)
        self.embed = nn.Embedding(NOISE.num_levels, 3 * channels)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3))
        deviation = torch.sqrt(means.var(dim=1, keepdim=True) + 1e-5)
        t = (means - means.mean(dim=1, keepdim=True)) / deviation
        gamma, alpha, beta = self.embed(level).unflatten(1, (-1, 1, 1)).chunk(3, dim=1)
        return gamma * (self.instance(x) + alpha * t.unflatten(1, (-1, 1, 1))) + beta


class _ConvMeanPool(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(x), 2)


def _conv(channels_in: int, channels_out: int, dilation: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=bias)


class _ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, down: bool = False, dilation: int = 1):
        super().__init__()
        pooled = down and dilation == 1
        self.conv1 = _conv(channels_in, channels_in, dilation)
        self.normalize2 = _Norm(channels_in)
        self.conv2 = (
            _ConvMeanPool(channels_in, channels_out, 3) if pooled else _conv(channels_in, channels_out, dilation)
        )
        if down:
            one = _ConvMeanPool(channels_in, channels_out, 1) if pooled else _conv(channels_in, channels_out, dilation)
            self.shortcut = one
        self.normalize1 = _Norm(channels_in)
        self.down = down

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv1(F.elu(self.normalize1(x, level)))
        h = self.conv2(F.elu(self.normalize2(h, level)))
        return (self.shortcut(x) if self.down else x) + h


class _ResidualUnits(nn.Module):
    def __init__(self, channels: int, num_blocks: int):
        super().__init__()
        self.num_blocks = num_blocks
        for block in range(1, num_blocks + 1):
            for stage in (1, 2):
                self.add_module(f"{block}_{stage}_norm", _Norm(channels))
                self.add_module(f"{block}_{stage}_conv", _conv(channels, channels, bias=False))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        for block in range(1, self.num_blocks + 1):
            h = x
            for stage in (1, 2):
                norm, conv = (self.get_submodule(f"{block}_{stage}_{kind}") for kind in ("norm", "conv"))
                h = conv(F.elu(norm(h, level)))
            x = x + h
        return x


class _ChainedPooling(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, channels, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(_Norm(channels) for _ in range(2))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        x = path = F.elu(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            path = conv(F.avg_pool2d(norm(path, level), 5, stride=1, padding=2))
            x = x + path
        return x


class _Fusion(nn.Module):
    def __init__(self, channels_in: tuple[int, ...], channels_out: int):
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, channels_out) for channels in channels_in)
        self.norms = nn.ModuleList(_Norm(channels) for channels in channels_in)

    def forward(self, inputs: list[Tensor], level: Tensor) -> Tensor:
        total = torch.zeros((), dtype=inputs[0].dtype)
        for x, norm, conv in zip(inputs, self.norms, self.convs, strict=True):
            h = conv(norm(x, level))
            total = total + F.interpolate(h, size=inputs[0].shape[2:], mode="bilinear", align_corners=True)
        return total


class _RefineBlock(nn.Module):
    def __init__(self, channels_in: tuple[int, ...], channels_out: int, num_output_blocks: int = 1):
        super().__init__()
        self.adapt_convs = nn.ModuleList(_ResidualUnits(channels, 2) for channels in channels_in)
        self.output_convs = _ResidualUnits(channels_out, num_output_blocks)
        self.msf = _Fusion(channels_in, channels_out) if len(channels_in) > 1 else None
        self.crp = _ChainedPooling(channels_out)

    def forward(self, inputs: list[Tensor], level: Tensor) -> Tensor:
        adapted = [units(x, level) for units, x in zip(self.adapt_convs, inputs, strict=True)]
        h = adapted[0] if self.msf is None else self.msf(adapted, level)
        return self.output_convs(self.crp(h, level), level)


class _Plain(nn.Module):
    def __init__(self, channels: int, n: int):
        super().__init__()
        self.register_buffer("noise_levels", NOISE.levels().float())
        self.begin_conv, self.normalizer, self.end_conv = _conv(channels, n), _Norm(n), _conv(n, channels)
        self.res1 = nn.ModuleList([_ResidualBlock(n, n), _ResidualBlock(n, n)])
        self.res2 = nn.ModuleList([_ResidualBlock(n, 2 * n, down=True), _ResidualBlock(2 * n, 2 * n)])
        self.res3 = nn.ModuleList(_ResidualBlock(2 * n, 2 * n, down, 2) for down in (True, False))
        self.res4 = nn.ModuleList(_ResidualBlock(2 * n, 2 * n, down, 4) for down in (True, False))
        self.refine1 = _RefineBlock((2 * n,), 2 * n)
        self.refine2 = _RefineBlock((2 * n, 2 * n), 2 * n)
        self.refine3 = _RefineBlock((2 * n, 2 * n), n)
        self.refine4 = _RefineBlock((n, n), n, num_output_blocks=3)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = (sigma.log().unsqueeze(1) - self.get_buffer("noise_levels").log()).abs().argmin(dim=1)
        h, maps = self.begin_conv(2 * x - 1), []
        for stage in (self.res1, self.res2, self.res3, self.res4):
            for block in stage:
                h = block(h, level)
            maps.append(h)
        h = self.refine1([maps[3]], level)
        h = self.refine2([maps[2], h], level)
        h = self.refine3([maps[1], h], level)
        h = self.refine4([maps[0], h], level)
        return self.end_conv(F.elu(self.normalizer(h, level)))


# ------------------------------------------------------------------------------------------------------ what is timed


def pair(shape: tuple[int, int, int], width: int) -> tuple[nn.Module, nn.Module]:
    """Ours and the plain network, with the same weights and the same output."""
    torch.manual_seed(0)
    ours, plain = sk.networks.RefineNet(shape, NOISE, width=width), _Plain(shape[0], width)
    plain.load_state_dict(ours.state_dict())
    with torch.no_grad():
        x, sigma = batch(shape, 2)
        torch.testing.assert_close(ours(x, sigma), plain(x, sigma), rtol=1e-4, atol=1e-4)
    return ours, plain


def batch(shape: tuple[int, int, int], size: int) -> tuple[Tensor, Tensor]:
    return torch.rand(size, *shape), NOISE.levels().float()[torch.arange(size) % NOISE.num_levels]


def forward(net: nn.Module, shape: tuple[int, int, int], size: int) -> Callable[[], Tensor]:
    return torch.no_grad()(lambda inputs=batch(shape, size): net(*inputs))


def training_step(net: nn.Module, shape: tuple[int, int, int], size: int) -> Callable[[], None]:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x, sigma = batch(shape, size)

    def step() -> None:
        scale, eps = sigma.reshape(-1, 1, 1, 1), torch.randn_like(x)
        loss = (scale * net(x + scale * eps, sigma) + eps).square().sum() / (2 * size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def activation_mib(net: nn.Module, shape: tuple[int, int, int], size: int) -> float:
    """MiB an image that a forward pass leaves for the backward one."""
    return kept_bytes(lambda: net(*batch(shape, size)), net) / 2**20 / size


def report(name: str, ours: Callable[[], object], plain: Callable[[], object], rounds: int, goal: str = "") -> None:
    a, b, ratio = paired_ratio(plain, ours, rounds=rounds)
    print(f"{name}: plain {1e3 * a:.1f} ms, ours {1e3 * b:.1f} ms; median ratio {ratio:.2f}{goal}", flush=True)


def report_memory(ours: nn.Module, plain: nn.Module, shape: tuple[int, int, int], size: int) -> None:
    a, b = activation_mib(plain, shape, size), activation_mib(ours, shape, size)
    print(f"  activations: plain {a:.2f} MiB an image, ours {b:.2f}; ratio {a / b:.2f} (goal 3.3)", flush=True)


def compiled(net: nn.Module) -> nn.Module:
    """A copy whose residual and refine blocks are compiled one by one."""
    net = copy.deepcopy(net)
    stages = (module for name, module in net.named_children() if name.startswith(("res", "refine")))
    for block in (b for stage in stages for b in (stage if isinstance(stage, nn.ModuleList) else [stage])):
        block.compile(dynamic=False)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())

    shape = (3, 32, 32)
    ours, plain = pair(shape, 128)
    report(
        "forward, width 128, batch 8",
        *(forward(net, shape, 8) for net in (ours, plain)),
        arguments.rounds,
        " (goal 1.2)",
    )
    if arguments.compile:
        fast = [forward(net, shape, 8) for net in (compiled(ours), plain)]
        report("forward, width 128, batch 8, compiled", *fast, arguments.rounds, " (goal 2.0)")

    for name, shape, width, size in (("width 32", (3, 32, 32), 32, 8), ("digits", (1, 8, 8), 16, 128)):
        ours, plain = pair(shape, width)
        steps = [training_step(net, shape, size) for net in (ours, plain)]
        report(f"training step, {name}, batch {size}", *steps, arguments.rounds)
        report_memory(ours, plain, shape, size)
        if arguments.compile:
            torch.compiler.reset()  # both widths together exceed the compiler's limit of recompilations
            with functorch_config.patch(activation_memory_budget=0.5):
                fast = compiled(ours)
                steps = [training_step(net, shape, size) for net in (fast, plain)]
                report(f"training step, {name}, batch {size}, compiled", *steps, arguments.rounds, " (goal 1.4)")
                report_memory(fast, plain, shape, size)


if __name__ == "__main__":
    main()
