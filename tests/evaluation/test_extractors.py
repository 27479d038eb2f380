import pytest
import torch

import scorekit as sk
from scorekit.checkpoint import CheckpointError, CheckpointStore, save_network
from scorekit.evaluation import ClassifierExtractor, FunctionExtractor
from scorekit.networks.classifier import ConvClassifier
from tests.evaluation.cases import SHAPE, model, pixels

IMAGES = torch.linspace(0, 1, 5 * 64).reshape(5, *SHAPE)


def test_a_function_gives_features_or_features_and_logits():
    alone = FunctionExtractor(pixels, "pixels")(IMAGES)
    assert torch.equal(alone.features, pixels(IMAGES))
    assert alone.logits is None
    both = FunctionExtractor(lambda x: (pixels(x), x.flatten(1)), "both", weights_hash="ab")
    assert torch.equal(both(IMAGES).logits, IMAGES.flatten(1))
    assert (both.name, both.weights_hash, both.published) == ("both", "ab", False)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ((255 * IMAGES).to(torch.uint8), TypeError, "expected floating point"),
        (IMAGES[0], ValueError, r"expected \(B, C, H, W\)"),
        (IMAGES.expand(5, 2, 8, 8), ValueError, "C = 1 or 3"),
        (IMAGES[:0], ValueError, "none empty"),
        (IMAGES + 0.1, ValueError, r"values from 0.1.* to 1.1"),
        (IMAGES * torch.nan, ValueError, "nan"),
    ],
)
def test_pictures_of_another_kind_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        FunctionExtractor(pixels, "pixels")(images)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.flatten(), "a row a picture"),
        (lambda x: x.flatten(1)[1:], "a row a picture"),
        (lambda x: x.flatten(1) / 0, "not finite"),
        (lambda x: (x.flatten(1), x.flatten(1)[:2]), "logits"),
    ],
)
def test_features_of_another_kind_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        FunctionExtractor(function, "broken")(IMAGES + 0)


def test_a_function_without_a_name_is_refused():
    with pytest.raises(ValueError, match="expected a name"):
        FunctionExtractor(pixels, "")
    with pytest.raises(TypeError, match="expected a function"):
        FunctionExtractor(3, "three")


def test_a_classifier_of_ours_gives_its_features_and_logits(tmp_path):
    net = ConvClassifier(SHAPE, 10, width=4)
    save_network(tmp_path, net)
    found = ClassifierExtractor(tmp_path)
    extracted = found(IMAGES)
    assert torch.equal(extracted.features, net.eval().features(IMAGES))
    torch.testing.assert_close(extracted.logits, net(IMAGES), rtol=0, atol=1e-6)
    assert found.name == "classifier 1x8x8, 10 classes"
    assert found.weights_hash == CheckpointStore(tmp_path).entries()[0].files["model.safetensors"].sha256


def test_a_classifier_of_other_pictures_and_other_folders_are_refused(tmp_path):
    save_network(tmp_path / "net", ConvClassifier((3, 8, 8), 10, width=4))
    with pytest.raises(ValueError, match=r"expected pictures of shape \(3, 8, 8\)"):
        ClassifierExtractor(tmp_path / "net")(IMAGES)
    sk.save(tmp_path / "model", model())
    with pytest.raises(CheckpointError, match="a network"):
        ClassifierExtractor(tmp_path / "model")
    save_network(tmp_path / "mlp", sk.networks.MLP(event_shape=(2,)))
    with pytest.raises(TypeError, match="expected ConvClassifier"):
        ClassifierExtractor(tmp_path / "mlp")
