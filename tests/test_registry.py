"""The registry in one process: look-up, making by name, and what plugins may get wrong.

A law is a function that asserts; its mutant is a broken registry that the law must reject.
"""

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

from scorekit.base import GaussianProposal, Kernel, Point, Proposal, StepSize
from scorekit.component import admits, kind_of, read_parameters
from scorekit.hookspecs import KINDS, hookimpl, hookspec
from scorekit.kernels import Unadjusted
from scorekit.noise import Geometric, SingleLevel
from scorekit.plugin import DISABLE, installed_plugins
from scorekit.proposals import Langevin
from scorekit.registry import DuplicateNameError, PluginError, Registry, UnknownNameError, default_registry
from scorekit.samplers import annealed_langevin
from scorekit.starts import Matched
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.transitions import Denoise, Stay

if TYPE_CHECKING:
    from torch import Tensor

REGISTRY = sys.modules["scorekit.registry"]  # the attribute scorekit.registry is the function

BUILT_IN = {
    "noise_schedules": ["geometric", "single-level", "linear", "cosine", "karras", "levels", "log-normal"],
    "estimators": ["denoising", "implicit", "sliced", "finite-difference", "explicit"],
    "models": ["direct-score", "scaled-score", "denoiser", "energy", "round-to-levels"],
    "networks": ["refinenet", "mlp", "scalar-mlp", "inner-product"],
    "proposals": ["langevin", "hamiltonian", "random-walk"],
    "line_integrals": ["gauss-lobatto", "free-cubic"],
    "kernels": ["unadjusted", "metropolis-adjusted"],
    "step_sizes": ["constant", "sigma-squared", "table", "snr", "per-coordinate"],
    "transitions": ["stay", "denoise", "euler", "heun", "reverse-diffusion", "ancestral", "dpm-solver-multistep"],
    "starts": ["matched", "uniform"],
    "samplers": [
        "langevin", "mala", "hmc", "random-walk", "annealed-langevin", "annealed-mala", "annealed-hmc", "ancestral",
        "reverse-diffusion", "heun", "dpm-solver", "predictor-corrector", "annealed-mcmc",
    ],
    "densities": [
        "gaussian", "gaussian-mixture", "toy-mixture", "fig3-mixture", "ring", "box", "checkerboard", "two-moons",
        "banana", "funnel", "log-gamma", "exponential",
    ],
    "metrics": ["mmd", "sliced-wasserstein", "mode-weight-error"],
}  # fmt: skip


@dataclass(frozen=True)
class HalfDamped(GaussianProposal):
    damping: float = 0.5

    def mean(self, point, step_size):
        return point.x + self.damping * step_size * point.score


@dataclass(frozen=True)
class Pair(Kernel):
    """A third party's component, with annotations of its own."""

    first: Proposal
    rule: "StepSize | float | None" = None
    label: str = "langevin"

    def init(self, point, *, generator=None): ...
    def step(self, point, state, step_size, *, generator=None): ...


def plugin_with(**hooks: object) -> types.SimpleNamespace:
    """An object with one hook for each kind given, which returns what is given."""

    def hook(kind: str, value: object) -> Callable[[], object]:
        def implementation():
            return value

        implementation.__name__ = f"scorekit_{kind}"
        return hookimpl(implementation)

    return types.SimpleNamespace(**{f"scorekit_{kind}": hook(kind, value) for kind, value in hooks.items()})


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.register(plugin_with(proposals={"half-damped": HalfDamped}, kernels={"pair": Pair}), "third-party")
    return made


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """A registry whose entry points are the given modules, by the name of the entry point."""

    def make(**modules: object) -> Registry:
        points = []
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, f"module_of_{name}", module)  # None: the import fails
            points.append(EntryPoint(name, f"module_of_{name}", "scorekit"))
        return Registry(lambda: points)

    return make


# ---------------------------------------------------------------------------------------------------------- built-ins


def test_the_built_in_names_are_exactly_these():
    registry = Registry()
    assert {kind: list(registry.components(kind)) for kind in KINDS} == BUILT_IN
    assert {kind: list(names) for kind, names in registry.plugins()[0].components.items()} == BUILT_IN


def test_there_is_one_hook_for_each_kind():
    import scorekit.hookspecs as module

    hooks = {name for name, value in vars(module).items() if callable(value) and "scorekit_spec" in dir(value)}
    assert hooks == {f"scorekit_{kind}" for kind in KINDS}
    assert "scorekit_spec" in dir(hookspec(lambda: None))  # the mark that the line above looks for


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_is_documented_and_annotated(kind):
    registry = Registry()
    for name in registry.names(kind):
        component = registry.component(kind, name)
        assert (component.factory.__doc__ or "").strip(), f"{component.title} has no docstring"
        assert not [name for name, p in component.parameters.items() if p.annotation is Any], component.title


def test_the_default_registry_is_one_and_lazy(monkeypatch):
    default_registry.cache_clear()
    monkeypatch.setattr(REGISTRY, "installed_plugins", lambda: pytest.fail("loaded before its first use"))
    one = default_registry()
    assert one is default_registry()
    with pytest.raises(pytest.fail.Exception):
        one.plugins()
    default_registry.cache_clear()


def test_nothing_is_loaded_before_the_first_use_and_once_after():
    calls = []
    registry = Registry(lambda: calls.append("loaded") or ())
    assert calls == []
    registry.make("proposals", "langevin")
    registry.plugins()
    assert calls == ["loaded"]


def test_an_interrupted_load_starts_afresh():
    def interrupted(attempts: list[int]) -> Iterator[EntryPoint]:
        attempts.append(1)
        if len(attempts) == 1:
            raise KeyboardInterrupt
        yield from ()

    registry = Registry(partial(interrupted, []))
    with pytest.raises(KeyboardInterrupt):
        registry.plugins()
    assert list(registry.components("proposals")) == BUILT_IN["proposals"]


def test_the_environment_variable_blocks_entry_points(monkeypatch):
    monkeypatch.setattr("scorekit.plugin.entry_points", lambda group: [EntryPoint("a", "b", group)])
    monkeypatch.setenv(DISABLE, "")
    assert [point.name for point in installed_plugins()] == ["a"]
    monkeypatch.setenv(DISABLE, "1")
    assert list(installed_plugins()) == []
    with pytest.raises(UnknownNameError, match=f"installed plugins are left out, because {DISABLE} is set"):
        Registry(installed_plugins).make("proposals", "of-a-plugin")


# ------------------------------------------------------------------------------------------------------------ look-up


def test_a_kind_is_a_read_only_mapping(registry):
    proposals = registry.components("proposals")
    assert list(proposals) == [*BUILT_IN["proposals"], "half-damped"]
    assert (proposals["langevin"], proposals["half-damped"]) == (Langevin, HalfDamped)
    assert len(proposals) == 4
    assert "langevin" in proposals
    assert "nothing" not in proposals
    assert 3 not in proposals
    assert proposals.get("nothing") is None
    assert "__setitem__" not in dir(proposals)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda r: r.components("sampler"), UnknownNameError, ["'sampler'", "did you mean 'samplers'?", "densities"]),
        (lambda r: r.make("sampler", "langevin"), UnknownNameError, ["did you mean 'samplers'?"]),
        (lambda r: r.make("proposals", "half-dmped"), UnknownNameError, ["'half-dmped'", "mean 'half-damped'?"]),
        (lambda r: r.make("proposals", "zzz"), UnknownNameError, ["random-walk (scorekit), half-damped (third-party)"]),
        (lambda r: r.components("proposals")["lngevin"], UnknownNameError, ["did you mean 'langevin'?"]),
        (
            lambda r: r.make("proposals", "half-damped", dampng=1.0),
            TypeError,
            ["'dampng'", "mean 'damping'?", "third-"],
        ),
        (lambda r: r.make("proposals", "langevin", h=1.0), TypeError, ["'h'", "takes no parameters"]),
        (lambda r: r.make("samplers", "annealed-langevin"), TypeError, ["missing 'noise'", "takes noise, step_size"]),
        (lambda r: r.make("samplers", "langevin", num_steps="ten"), TypeError, ["sampler.num_steps = 'ten'", "int"]),
        (lambda r: r.make("samplers", "langevin", num_steps=True), TypeError, ["sampler.num_steps = True"]),
        (lambda r: r.make("samplers", "langevin", num_steps=1.5), TypeError, ["sampler.num_steps = 1.5"]),
        (lambda r: r.make("samplers", "langevin", start=Stay()), TypeError, ["sampler.start = Stay()", "Start"]),
        (
            lambda r: r.make("samplers", "langevin", start="stay"),
            UnknownNameError,
            ["sampler.start: no start is named"],
        ),
        (lambda r: r.make("samplers", "langevin", step_size="constant"), TypeError, ["sampler.step_size: missing"]),
        (
            lambda r: r.make("kernels", "pair", first={"nam": "langevin"}),
            TypeError,
            ["kernel.first = {'nam'", '"name"'],
        ),
        (lambda r: r.make("kernels", "pair", first={"name": 3}), TypeError, ["kernel.first = {'name': 3}"]),
        (
            lambda r: r.make("kernels", "pair", first={"kind": "starts", "name": "matched"}),
            TypeError,
            ["kernel.first = {'kind': 'starts'", "\"kind\": 'proposals'"],
        ),
        (lambda r: r.make("noise_schedules", "geometric", sigma_min=-1.0), ValueError, ["0 < sigma_min < sigma_max"]),
    ],
)
def test_a_wrong_name_or_parameter_is_refused_with_what_was_given_and_what_may_be(registry, call, error, parts):
    with pytest.raises(error) as caught:
        call(registry)
    for part in parts:
        assert part in str(caught.value)


def test_a_constructors_error_says_where(registry):
    with pytest.raises(ValueError, match="sigma_min") as caught:
        registry.make("samplers", "annealed-langevin", noise={"name": "geometric", "params": {"sigma_min": 2.0}})
    assert "at sampler.noise" in "".join(caught.value.__notes__)


# ------------------------------------------------------------------------------------------------------------- making


@pytest.mark.parametrize(
    ("kind", "name", "params", "expected"),
    [
        ("proposals", "langevin", {}, Langevin()),
        ("noise_schedules", "geometric", {"num_levels": 3}, Geometric(num_levels=3)),
        ("kernels", "unadjusted", {"proposal": "langevin"}, Unadjusted(Langevin())),
        ("kernels", "unadjusted", {"proposal": HalfDamped(0.1)}, Unadjusted(HalfDamped(0.1))),
        ("kernels", "pair", {"first": "half-damped"}, Pair(HalfDamped())),
        ("kernels", "pair", {"first": "langevin", "rule": "sigma-squared"}, Pair(Langevin(), SigmaSquared())),
        ("kernels", "pair", {"first": "langevin", "rule": 0.5}, Pair(Langevin(), 0.5)),
        ("kernels", "pair", {"first": "langevin", "label": "langevin"}, Pair(Langevin(), label="langevin")),
        (
            "kernels",
            "pair",
            {"first": {"kind": "proposals", "name": "half-damped", "params": {"damping": 2}}, "rule": None},
            Pair(HalfDamped(2)),
        ),
        (
            "samplers",
            "annealed-langevin",
            {"noise": {"name": "single-level", "params": {"sigma": 0.5}}, "step_size": 0.1, "final": "denoise"},
            annealed_langevin(SingleLevel(0.5), step_size=Constant(0.1), final=Denoise()),
        ),
    ],
)
def test_making_by_name_equals_making_by_hand(registry, kind, name, params, expected):
    assert registry.make(kind, name, **params) == expected


def test_a_factory_must_make_its_kind(registry):
    def langevin_by_mistake() -> Proposal:
        return Matched()

    registry.register(plugin_with(proposals={"mistaken": langevin_by_mistake}), "mistaken")
    with pytest.raises(TypeError, match=r"mistaken.* made Matched\(\): expected a Proposal"):
        registry.make("proposals", "mistaken")


def test_a_partial_is_a_factory(registry):
    registry.register(plugin_with(proposals={"weak": partial(HalfDamped, damping=0.1)}), "weak")
    assert registry.make("proposals", "weak") == HalfDamped(0.1)


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (Proposal, "proposals"),
        (Kernel[Any], "kernels"),
        (StepSize | float | None, "step_sizes"),
        (Langevin, "proposals"),
        (nn.Module, "networks"),
        (str, None),
        (str | StepSize, None),
        (tuple[Proposal, ...], None),
        (Any, None),
        (None, None),
    ],
)
def test_the_kind_that_a_string_names(hint, kind):
    assert kind_of(hint) == kind


@pytest.mark.parametrize(
    ("hint", "value", "admitted"),
    [
        (float, 1, True),
        (float, 1.5, True),
        (float, True, False),
        (int, 1.0, False),
        (bool, True, True),
        (bool, 1, False),
        (str, "a", True),
        (str | None, None, True),
        (str | None, 1, False),
        (Proposal, Langevin(), True),
        (Kernel[Any], Langevin(), False),
        (StepSize | float | None, Langevin(), False),
        (tuple[int, ...], "anything", True),
        (Any, "anything", True),
        (Point, "anything", True),
    ],
)
def test_what_an_annotation_admits(hint, value, admitted):
    assert admits(hint, value) is admitted


def test_inherited_annotations_resolve_in_the_module_that_wrote_them(monkeypatch):
    """A dataclass's __init__ belongs to the module of the class, which need not know the names of its base's module."""
    base = types.ModuleType("the_base")
    monkeypatch.setitem(sys.modules, "the_base", base)
    exec_in(base, "from dataclasses import dataclass\nfrom scorekit.base import Proposal as Hidden\n")
    exec_in(base, "@dataclass(frozen=True)\nclass Base:\n    inner: 'Hidden'\n")

    @dataclass(frozen=True)
    class Derived(base.Base):
        pass

    assert read_parameters(Derived)["inner"].annotation is Proposal


def exec_in(module: types.ModuleType, source: str) -> None:
    exec(compile(source, f"{module.__name__}.py", "exec"), vars(module))


# ------------------------------------------------------------------------------------------------------- wrong plugins


class Abstract(Proposal):
    pass


def positional(a, /) -> Proposal: ...
def variable(*args: float) -> Proposal: ...
def keywords(**kwargs: float) -> Proposal: ...
def unresolved(x: "Tensor") -> Proposal: ...


class Unmarked:
    def scorekit_proposals(self):
        return {"half-damped": HalfDamped}


class Misspelt:
    @hookimpl
    def scorekit_proposal(self):
        return {"half-damped": HalfDamped}


class WithArgument:
    @hookimpl
    def scorekit_proposals(self, x):
        return {"half-damped": HalfDamped}


class Wrapper:
    @hookimpl(wrapper=True)
    def scorekit_proposals(self):
        yield
        return {}


class Twice:
    @hookimpl
    def scorekit_proposals(self):
        return {"half-damped": HalfDamped}

    @hookimpl(specname="scorekit_proposals")
    def more(self):
        return {"half-damped": HalfDamped}


class Raising:
    @hookimpl
    def scorekit_proposals(self):
        raise RuntimeError("out of luck")


WRONG = {
    "misspelt": (Misspelt(), "unknown hook 'scorekit_proposal'; did you mean 'scorekit_proposals'?"),
    "argument": (WithArgument(), r"\{'x'\} are declared in the hookimpl but can not be found in the hookspec"),
    "wrapper": (Wrapper(), "hook scorekit_proposals is a wrapper"),
    "unmarked": (Unmarked(), "scorekit_proposals is not marked as a hook; .*@scorekit.hookimpl"),
    "empty": (types.SimpleNamespace(), "has no hook"),
    "twice": (Twice(), "gives one name twice: proposals half-damped"),
    "none": (plugin_with(proposals=None), "hook scorekit_proposals returned None: expected a mapping"),
    "list": (plugin_with(proposals=[HalfDamped]), r"returned \[<class.*: expected a mapping"),
    "camel": (plugin_with(proposals={"HalfDamped": HalfDamped}), "'HalfDamped'.* kebab case"),
    "snake": (plugin_with(proposals={"half_damped": HalfDamped}), "'half_damped'.* kebab case"),
    "hyphens": (plugin_with(proposals={"half--damped": HalfDamped}), "'half--damped'.* kebab case"),
    "newline": (plugin_with(proposals={"half-damped\n": HalfDamped}), "kebab case"),
    "number": (plugin_with(proposals={3: HalfDamped}), "3.* kebab case"),
    "instance": (
        plugin_with(proposals={"half-damped": HalfDamped()}),
        "cannot be called: expected a class or a factory",
    ),
    "wrong_kind": (plugin_with(proposals={"matched": Matched}), "does not derive from Proposal"),
    "abstract": (plugin_with(proposals={"abstract": Abstract}), "is abstract: it lacks log_q_ratio, propose"),
    "positional": (plugin_with(proposals={"a": positional}), "parameter 'a' is positional-only"),
    "variable": (plugin_with(proposals={"a": variable}), "parameter 'args' is variadic positional"),
    "keywords": (plugin_with(proposals={"a": keywords}), "parameter 'kwargs' is variadic keyword"),
    "unresolved": (plugin_with(proposals={"a": unresolved}), "signature cannot be read: NameError: name 'Tensor'"),
}
GOOD = plugin_with(proposals={"good": HalfDamped})


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_is_refused_by_register_and_leaves_nothing(registry, name):
    plugin, reason = WRONG[name]
    before = {kind: list(registry.components(kind)) for kind in KINDS}, registry.plugins()
    with pytest.raises(PluginError, match=f"plugin {name!r}: .*{reason}"):
        registry.register(plugin, name)
    assert ({kind: list(registry.components(kind)) for kind in KINDS}, registry.plugins()) == before


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_among_the_entry_points_is_reported_and_harms_nobody(install, name):
    plugin, reason = WRONG[name]
    plugin_is_reported_and_harms_nobody(install(**{"good": GOOD, name: plugin, "later": other_good()}), name, reason)


def other_good() -> types.SimpleNamespace:
    return plugin_with(starts={"other": Matched})


def plugin_is_reported_and_harms_nobody(registry: Registry, name: str, reason: str) -> None:
    """The law: its record alone has an error, with the reason; the others' components are there; a miss names it."""
    records = {record.name: record for record in registry.plugins()}
    assert [each for each, record in records.items() if record.error] == [name]
    assert records[name].components == {}
    assert records[name].entry_point == f"module_of_{name}"
    with pytest.raises(UnknownNameError, match=rf"broken plugins: {name!r} \(module_of_{name}\): .*{reason}"):
        registry.make("proposals", "missing")
    assert list(registry.components("proposals")) == [*BUILT_IN["proposals"], "good"]
    assert list(registry.components("starts")) == ["matched", "uniform", "other"]


def test_the_law_rejects_a_registry_that_stops_at_the_first_broken_plugin(install):
    first = install(good=GOOD, misspelt=Misspelt(), later=other_good())
    stopped = install(good=GOOD, misspelt=Misspelt())
    reason = WRONG["misspelt"][1]
    plugin_is_reported_and_harms_nobody(first, "misspelt", reason)
    with pytest.raises(AssertionError):
        plugin_is_reported_and_harms_nobody(stopped, "misspelt", reason)


def test_the_law_rejects_a_registry_that_keeps_half_of_a_plugin(install, monkeypatch):
    half = plugin_with(proposals={"half": HalfDamped}, starts=None)
    plugin_is_reported_and_harms_nobody(install(good=GOOD, half=half, later=other_good()), "half", "returned None")
    read = REGISTRY.read_plugin

    def mutant(plugin: object, name: str):
        return read(plugin_with(proposals={"half": HalfDamped}) if plugin is half else plugin, name)

    monkeypatch.setattr(REGISTRY, "read_plugin", mutant)
    with pytest.raises(AssertionError):
        plugin_is_reported_and_harms_nobody(install(good=GOOD, half=half, later=other_good()), "half", "returned None")


def test_a_hook_that_raises_is_reported_with_its_line(install):
    registry = install(good=GOOD, raising=Raising(), later=other_good())
    plugin_is_reported_and_harms_nobody(
        registry, "raising", r"RuntimeError: out of luck \(test_registry.py, line \d+\)"
    )
    with pytest.raises(RuntimeError, match="out of luck"):
        Registry().register(Raising(), "raising")


def test_a_plugin_that_fails_to_import_is_reported(install):
    registry = install(good=GOOD, gone=None, later=other_good())
    plugin_is_reported_and_harms_nobody(registry, "gone", "ModuleNotFoundError: .*module_of_gone")


def test_an_optional_hook_is_for_another_version(registry):
    class Ahead:
        @hookimpl
        def scorekit_starts(self):
            return {"ahead": Matched}

        @hookimpl(optionalhook=True)
        def scorekit_telepathy(self):
            return {"no": None}

    registry.register(Ahead(), "ahead")
    assert registry.make("starts", "ahead") == Matched()


def test_a_plugin_may_use_the_registry_while_it_is_loaded(install):
    class Reentrant:
        @hookimpl
        def scorekit_starts(self):
            return {"reentrant": partial(type(registry.make("starts", "matched")))}

    registry = install(reentrant=Reentrant())
    assert registry.make("starts", "reentrant") == Matched()


# ------------------------------------------------------------------------------------------------------ contested names


def contested(install: Callable[..., Registry]) -> Registry:
    return install(
        one=plugin_with(proposals={"twin": HalfDamped}, starts={"alone": Matched}),
        two=plugin_with(proposals={"twin": Langevin}),
        three=plugin_with(transitions={"stay": Denoise}),
    )


def no_contested_name_is_answered(registry: Registry) -> None:
    """The law: both plugins are named, whatever way one asks; unrelated look-ups work."""
    both = "'twin' of a proposal is given by the plugins 'one' and 'two'"
    for ask in (
        lambda: registry.make("proposals", "twin"),
        lambda: registry.components("proposals")["twin"],
        lambda: "twin" in registry.components("proposals"),
        lambda: list(registry.components("proposals")),
        lambda: len(registry.components("proposals")),
        lambda: registry.make("kernels", "unadjusted", proposal="twin"),
    ):
        with pytest.raises(DuplicateNameError, match=both):
            ask()
    with pytest.raises(
        DuplicateNameError, match="'stay' of a transition is given by the plugins 'scorekit' and 'three'"
    ):
        registry.make("transitions", "stay")
    assert registry.make("proposals", "langevin") == Langevin()
    assert registry.make("starts", "alone") == Matched()
    errors = {record.name: record.error or "" for record in registry.plugins()}
    assert both in errors["one"]
    assert both in errors["two"]
    assert "'scorekit' and 'three'" in errors["scorekit"]
    assert "'scorekit' and 'three'" in errors["three"]


def test_a_contested_name_belongs_to_nobody(install):
    no_contested_name_is_answered(contested(install))


@pytest.mark.parametrize("winner", [0, -1])
def test_the_law_rejects_a_registry_where_the_first_or_the_last_wins(install, monkeypatch, winner):
    monkeypatch.setattr(REGISTRY, "_only", lambda given: given[winner])
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        no_contested_name_is_answered(contested(install))


def test_register_refuses_a_name_that_is_taken(registry):
    before = registry.plugins()
    for plugin in (plugin_with(proposals={"half-damped": Langevin}), plugin_with(proposals={"langevin": HalfDamped})):
        with pytest.raises(DuplicateNameError, match=r"plugins '(third-party|scorekit)' and 'late'"):
            registry.register(plugin, "late")
    assert registry.plugins() == before


def test_register_refuses_a_plugins_name_that_is_taken(registry):
    for name in ("third-party", "scorekit"):
        with pytest.raises(PluginError, match=f"the name {name!r} is taken by a plugin of"):
            registry.register(plugin_with(starts={"other": Matched}), name)


def test_an_entry_point_with_a_taken_name_is_broken(install):
    registry = install(scorekit=plugin_with(starts={"other": Matched}))
    own, broken = registry.plugins()
    assert own.error is None
    assert broken.error == "the name 'scorekit' is taken by a plugin of scorekit"
    assert list(registry.components("starts")) == ["matched", "uniform"]


def test_find_takes_the_first_name_that_is_not_contested(install):
    registry = install(
        one=plugin_with(proposals={"twin": HalfDamped}),
        two=plugin_with(proposals={"twin": Langevin, "half-damped": HalfDamped}),
        three=plugin_with(proposals={"alias": Langevin}),
    )
    assert registry.find(Langevin).name == "langevin"
    assert registry.find(HalfDamped).name == "half-damped"
    assert registry.find(int) is None
    with pytest.raises(DuplicateNameError):
        contested(install).find(HalfDamped)
