"""The published network: what is asked of its file, and, where torch-fidelity can be imported, what it gives.

The development environment has no torch-fidelity (it needs a torchvision that matches torch). Its place is taken by a
module with a small network of the same interface, which loads its file as torch-fidelity does: by `torch.load` with
`weights_only=False`.
"""

import hashlib
import os
import sys
import types

import pytest
import torch
from torch import nn

from scorekit.evaluation import InceptionExtractor, evaluate

MODULE = "torch_fidelity.feature_extractor_inceptionv3"
IMAGES = torch.linspace(0, 1, 4 * 64).reshape(4, 1, 8, 8)


class Network(nn.Module):
    """In the place of torch-fidelity's."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        if name != "inception-v3-compat" or features_list != ["2048", "logits_unbiased"]:
            raise ValueError(name)
        self.fc = nn.Linear(3, 5, bias=False)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))
        self.requires_grad_(False)

    def forward(self, x):
        if x.dtype != torch.uint8 or x.shape[1] != 3:
            raise ValueError(f"expected uint8 RGB, got {x.dtype} {tuple(x.shape)}")
        features = x.float().mean((2, 3))
        return features, self.fc(features)


@pytest.fixture
def stand_in(monkeypatch):
    package, module = types.ModuleType("torch_fidelity"), types.ModuleType(MODULE)
    module.FeatureExtractorInceptionV3 = Network
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, MODULE, module)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.arange(15.0).reshape(5, 3)}, path)
    return path


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_grey_pictures_are_rounded_and_repeated(stand_in, weights):
    by = InceptionExtractor(weights, sha256=digest(weights))
    features, logits = by(IMAGES)
    expected = (255 * IMAGES).round().mean((1, 2, 3)).unsqueeze(1).expand(4, 3)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(logits, expected @ torch.arange(15.0).reshape(5, 3).T)
    truncated = (255 * IMAGES).to(torch.uint8).float().mean((1, 2, 3)).unsqueeze(1).expand(4, 3)  # the mutant
    assert not torch.allclose(features, truncated, atol=1e-3)


def test_other_weights_are_named_so_and_their_hash_is_reported(stand_in, weights):
    by = InceptionExtractor(weights, sha256=digest(weights)[:8])
    assert (by.name, by.weights_hash, by.published) == ("inception-v3, other weights", digest(weights), False)
    result = evaluate(IMAGES.expand(-1, -1, -1, -1), "embedded", extractor=by).results[0]
    assert result.weights_hash == digest(weights)
    assert any("not of the published network" in each for each in result.warnings)


def test_the_published_weights_are_known_by_their_hash(stand_in, weights, monkeypatch):
    import scorekit.evaluation.inception as inception

    monkeypatch.setattr(inception, "PUBLISHED", digest(weights)[:8])
    by = InceptionExtractor(weights)
    assert (by.name, by.published) == ("inception-v3 2015-12-05", True)


def test_a_file_with_another_hash_is_refused_before_anything_is_loaded(stand_in, weights):
    with pytest.raises(ValueError, match=f"begins with 6726825d; found {digest(weights)}"):
        InceptionExtractor(weights)
    with pytest.raises(ValueError, match="begins with 0123456789; found"):
        InceptionExtractor(weights, sha256="0123456789")
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits"):
        InceptionExtractor(weights, sha256="67")
    with pytest.raises(ValueError, match=r"weights-inception-2015-12-05-6726825d\.pth; it cannot be read"):
        InceptionExtractor(weights.with_name("nothing.pth"))


class Dangerous:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_pickle_is_run_whatever_the_file(stand_in, tmp_path, monkeypatch):
    weights, trap = tmp_path / "weights.pth", tmp_path / "sprung"
    torch.save({"fc.weight": torch.zeros(5, 3), "more": Dangerous(str(trap))}, weights)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    with pytest.raises(ValueError, match="expected Inception-v3's weights"):
        InceptionExtractor(weights, sha256=digest(weights))
    assert not trap.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    with pytest.raises(RuntimeError, match="Unexpected key"):  # the mutant: the network's own way springs the trap
        Network("inception-v3-compat", ["2048", "logits_unbiased"], weights)
    assert trap.exists()


def test_other_weights_are_refused(stand_in, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(4, 3)}, path)
    with pytest.raises(ValueError, match=r"expected Inception-v3's weights .*size mismatch"):
        InceptionExtractor(path, sha256=digest(path))
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="expected Inception-v3's weights"):
        InceptionExtractor(path, sha256=digest(path))


def test_a_missing_package_is_an_error_with_the_line_that_installs_it(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r"pip install 'scorekit\[eval\]'"):
        InceptionExtractor(weights, sha256=digest(weights))


def test_a_torchvision_that_does_not_match_is_explained(weights, monkeypatch):
    import scorekit.evaluation.inception as inception

    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(inception, "import_module", broken)
    with pytest.raises(ImportError, match=r"torchvision::nms does not exist.*the build that belongs to torch"):
        InceptionExtractor(weights, sha256=digest(weights))


def test_the_real_network_takes_random_weights_in_its_format(tmp_path):
    """24 million weights drawn at random; features and logits have the network's sizes, and rows are independent."""
    reason = "torch-fidelity cannot be imported here: it needs a torchvision that matches torch"
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{reason} ({error})")
    path = tmp_path / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *arguments, **options: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *arguments, **options: None)
        drawn = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], "nothing")
    for weight in drawn.parameters():
        if weight.ndim == 4:
            nn.init.kaiming_normal_(weight)  # with torch's own draws nothing would be left after 40 layers
    torch.save(drawn.state_dict(), path)
    by = InceptionExtractor(path, sha256=digest(path))
    features, logits = by(IMAGES)
    assert (features.shape, logits.shape) == ((4, 2048), (4, 1008))
    scale = features.std().item()
    torch.testing.assert_close(by(IMAGES[2:3]).features, features[2:3], rtol=0, atol=1e-4 * scale)
    assert (features[0] - features[3]).abs().max().item() > 1e-2 * scale
    torch.testing.assert_close(logits, features @ drawn.fc.weight.T, rtol=1e-4, atol=1e-4 * logits.std().item())
