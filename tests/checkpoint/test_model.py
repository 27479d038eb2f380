"""Tensors and models come back as they were; what cannot be loaded says why."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import scorekit as sk
from scorekit.checkpoint import (
    CheckpointError,
    CheckpointStore,
    DamagedCheckpointWarning,
    load_network,
    save_network,
    tensors,
)
from scorekit.networks import MLP, ConvClassifier, InnerProduct, RefineNet, ScalarMLP
from tests.checkpoint.stores import flip


def test_views_shared_and_strange_tensors_come_back():
    base = torch.arange(24.0).view(4, 6)
    state = {"whole": base, "again": base, "view": base[1:, ::2], "transposed": base.T}
    state |= {"empty": torch.empty(0, 3), "number": torch.tensor(3.5), "bool": base > 3, "int": base.long()}
    state |= {"half": base.half(), "brain": base.bfloat16(), "double": base.double()}
    back = tensors.decode(Path("x"), tensors.encode(state))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    with pytest.raises(TypeError, match=r"state 'extra': .*got dict"):
        tensors.encode({"extra": {"a": 1}})


def model(width: int = 8) -> sk.DirectScore:
    return sk.DirectScore(sk.networks.MLP(event_shape=(2,), width=width))


X, SIGMA = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.full((5,), 0.3)


def same(one, two) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first
    )


def test_a_model_comes_back_with_its_configuration_its_moments_and_its_types(tmp_path):
    for number, change in enumerate((lambda m: m, lambda m: m.double(), lambda m: m.bfloat16())):
        saved = change(model())
        if number < 2:
            saved.set_moments(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.1]))
        path = sk.save(tmp_path / str(number), saved)
        assert path.name == "step-0"
        torch.manual_seed(1)
        before = torch.get_rng_state()
        loaded = sk.load(tmp_path / str(number))
        assert torch.equal(torch.get_rng_state(), before)
        assert same(loaded, saved)
        x = X.to(saved.dtype)
        assert torch.equal(loaded(x, SIGMA.to(x.dtype)), saved(x, SIGMA.to(x.dtype)))
        assert sk.to_config(loaded) == sk.to_config(saved)
        assert same(sk.load(path), saved)


def test_saving_again_keeps_the_model_before_in_case(tmp_path):
    first, second = model(), model()
    sk.save(tmp_path, first)
    path = sk.save(tmp_path, second)
    assert same(sk.load(tmp_path), second)
    assert same(sk.load(tmp_path, step=0), first)
    flip(path / "model.safetensors", 777)
    with pytest.warns(DamagedCheckpointWarning, match=r"step-1.*step-0 instead"):
        assert same(sk.load(tmp_path), first)


def test_tied_weights_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

        def forward(self, x, sigma):
            return self.b(self.a(x))

    saved, fresh = sk.DirectScore(Tied()), sk.DirectScore(Tied())
    path = CheckpointStore(tmp_path).write(0, {"model.safetensors": tensors.encode(saved.state_dict())})
    loaded = sk.load(path, into=fresh)
    assert torch.equal(loaded(X, SIGMA), saved(X, SIGMA))
    assert loaded.net.a.weight is loaded.net.b.weight


def test_a_model_that_no_configuration_describes_is_refused_and_can_be_filled(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x, sigma):
            return self.layer(x)

    with pytest.raises(TypeError, match=r"model.net = Own"):
        sk.save(tmp_path, sk.DirectScore(Own()))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_loaded_says_why(tmp_path):
    sk.save(tmp_path, model())
    with pytest.raises(CheckpointError, match=r"expected ema.safetensors for weights='ema'; the checkpoint has none"):
        sk.load(tmp_path, weights="ema")
    with pytest.raises(ValueError, match="weights='best'"):
        sk.load(tmp_path, weights="best")
    with pytest.raises(CheckpointError, match=r"expected the weights of this DirectScore; [\s\S]*size mismatch"):
        sk.load(tmp_path, into=model(width=9))
    with pytest.raises(CheckpointError, match="found none"):
        sk.load(tmp_path / "nowhere" / "at all")
    config = json.loads((tmp_path / "step-0" / "config.json").read_text())
    store, files = CheckpointStore(tmp_path / "other"), CheckpointStore(tmp_path).read().files
    other = {"version": 9}, {"model": None, "reason": "because"}, {"model": sk.to_config(sk.Geometric())}
    for number, (change, message) in enumerate(zip(other, ("newer", "because", "Geometric"), strict=True)):
        store.write(number, files | {"config.json": json.dumps(config | change).encode()})
        with pytest.raises(CheckpointError, match=message):
            sk.load(store.folder)


def test_nothing_is_saved_over_a_training_run(tmp_path):
    CheckpointStore(tmp_path).write(5, {"training.json": b"{}"})
    with pytest.raises(CheckpointError, match=r"^save\(.*holds the checkpoints of a training run"):
        sk.save(tmp_path, model())
    with pytest.raises(CheckpointError, match=r"^save_network\(.*holds the checkpoints of a training run"):
        save_network(tmp_path, MLP((2,)))


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    path = sk.save(tmp_path, model())
    for file in path.iterdir():
        assert file.suffix in (".json", ".safetensors")
        assert not file.read_bytes().startswith((b"\x80", b"PK"))


# ---------------------------------------------------------------------------------------------- networks by themselves

NETWORKS = [
    lambda: MLP((2,), width=8),
    lambda: ScalarMLP((2,), width=8, depth=1),
    lambda: InnerProduct(MLP((2,), width=8, activation="silu")),
    lambda: RefineNet((1, 8, 8), sk.Geometric(1.0, 0.1, 3), width=4),
    lambda: ConvClassifier((3, 9, 12), 5, width=8, data_std=0.25),
]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: type(make()).__name__)
def test_a_registered_network_comes_back_with_its_configuration_and_its_types(make, tmp_path):
    for number, change in enumerate((lambda net: net, lambda net: net.double(), lambda net: net.bfloat16())):
        saved = change(make())
        path = save_network(tmp_path / str(number), saved)
        assert path.name == "step-0"
        torch.manual_seed(1)
        before = torch.get_rng_state()
        loaded = load_network(tmp_path / str(number))
        assert torch.equal(torch.get_rng_state(), before)
        assert type(loaded) is type(saved)
        assert same(loaded, saved)
        assert not same(change(make()), saved)  # the weights are those saved, not drawn anew
        assert sk.to_config(loaded) == sk.to_config(saved)
        assert same(load_network(path), saved)


def test_a_classifier_that_comes_back_says_what_it_said(tmp_path):
    saved = ConvClassifier((1, 8, 8), 3, width=8)
    save_network(tmp_path, saved)
    x, sigma = torch.rand(4, 1, 8, 8), torch.tensor([0.0, 0.1, 1.0, 20.0])
    loaded = load_network(tmp_path)
    assert torch.equal(loaded(x, sigma), saved(x, sigma))
    assert torch.equal(loaded.features(x), saved.features(x))
    assert not torch.allclose(ConvClassifier((1, 8, 8), 3, width=8)(x, sigma), saved(x, sigma))


def test_saving_a_network_again_keeps_the_one_before_in_case(tmp_path):
    first, second = MLP((2,), width=8), MLP((2,), width=9)
    save_network(tmp_path, first)
    path = save_network(tmp_path, second)
    assert same(load_network(tmp_path), second)
    assert same(load_network(tmp_path, step=0), first)
    assert load_network(tmp_path, device="meta").layers[0].weight.device.type == "meta"
    flip(path / "model.safetensors", 777)
    with pytest.warns(DamagedCheckpointWarning, match=r"step-1.*step-0 instead"):
        assert same(load_network(tmp_path), first)


def test_a_model_and_a_network_are_told_apart(tmp_path):
    sk.save(tmp_path / "model", model())
    save_network(tmp_path / "net", MLP((2,)))
    with pytest.raises(CheckpointError, match=r"found that of MLP: this holds a network, not a score .*load_network$"):
        sk.load(tmp_path / "net")
    with pytest.raises(CheckpointError, match=r"found that of DirectScore: this holds a score model, .*use load$"):
        load_network(tmp_path / "model")
    with pytest.raises(TypeError, match=r"save\(model=MLP.*save_network saves a network by itself"):
        sk.save(tmp_path / "other", MLP((2,)))
    with pytest.raises(TypeError, match=r"save_network\(net=DirectScore.*not a network by itself; use save"):
        save_network(tmp_path / "other", model())
    assert not (tmp_path / "other").exists()


def test_what_is_no_network_or_has_no_configuration_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"save_network\(net=<class .*MLP'>\): expected Module .*the class MLP itself"):
        save_network(tmp_path, MLP)
    with pytest.raises(TypeError, match=r"config = Linear.* is not configuration"):
        save_network(tmp_path, nn.Linear(2, 2))
    assert not list(tmp_path.iterdir())
    config = {"format": "scorekit-checkpoint", "version": 1, "model": sk.to_config(sk.Geometric())}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": tensors.encode({})}
    CheckpointStore(tmp_path).write(0, files)
    for load, expected in ((sk.load, "a score model"), (load_network, "a network")):
        with pytest.raises(CheckpointError, match=f"configuration of {expected}; found that of Geometric$"):
            load(tmp_path)
    with pytest.raises(CheckpointError, match="found none"):
        load_network(tmp_path / "nowhere" / "at all")


def test_a_network_of_other_weights_is_refused(tmp_path):
    save_network(tmp_path, MLP((2,), width=8))
    files = CheckpointStore(tmp_path).read().files
    other = files | {"model.safetensors": tensors.encode(MLP((2,), width=9).state_dict())}
    CheckpointStore(tmp_path / "other").write(0, other)
    with pytest.raises(CheckpointError, match=r"expected the weights of this MLP; [\s\S]*size mismatch"):
        load_network(tmp_path / "other")
