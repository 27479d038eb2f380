"""What a report says of each number, as a table and as JSON."""

import json
import math

import pytest

import scorekit as sk
from scorekit.evaluation import Origin, Provenance, ReferenceRecord, Report, Result
from tests.evaluation.cases import LANGEVIN

HASH = "6726825d" + "0" * 56
KNOWN = Provenance(
    "runs/x/samples",
    Origin("ab" * 32, "runs/x/checkpoint", 200, "ema"),
    sk.to_config(LANGEVIN),
    7,
    1001,
    True,
    "label 3",
)
FID = Result(
    "fid", 25.318749, None, 1024, ReferenceRecord("cifar10", "train", 50_000), "inception-v3", HASH, KNOWN,
    warnings=("FID of 1,024 samples: biased upward; not comparable with published ones at 50,000",),
)  # fmt: skip
KID = Result("kid", math.nan, 0.25, 1024, None, None, None, Provenance("x"), {"block_size": 100})
REPORT = Report((FID, KID))


def test_every_number_states_its_circumstances():
    text = str(Report((FID,)))
    for fact in (
        "fid", "25.3187", "1,024", "cifar10 train, 50,000", "inception-v3", "6726825d", "runs/x/checkpoint", "step 200",
        "ema weights abababab", "told label 3", "annealed-mcmc(kernel=unadjusted(proposal=langevin())", "seed 7",
        "steps_per_level=2", "1,001", "yes", "Warning: FID of 1,024 samples: biased upward",
    ):  # fmt: skip
        assert fact in text
    assert "yes" not in str(Report((KID,)))
    assert "kid (block_size=100)" in str(REPORT)


@pytest.mark.parametrize("field", ["num_samples", "reference", "extractor", "weights_hash", "provenance", "warnings"])
def test_no_fact_is_missing_from_the_json(field):
    document = FID.to_json()
    assert document[field]
    assert set(document["provenance"]) == {
        "where", "model", "sampler", "seed", "evaluations", "denoised", "condition",
    }  # fmt: skip
    assert document["reference"] == {"name": "cifar10", "split": "train", "count": 50_000}


def test_json_leads_back():
    document = json.loads(json.dumps(REPORT.to_json(), allow_nan=False))
    back = Report.from_json(document)
    assert back.results[0] == FID
    assert math.isnan(back.results[1].value)
    assert back.results[1].settings == KID.settings


def test_warnings_are_printed_once():
    assert str(FID and Report((FID, FID))).count("Warning") == 1
    assert Report((FID, FID)).warnings == FID.warnings
    assert Report((KID,)).warnings == ()


def test_numbers_are_found_by_name():
    assert REPORT.value("fid") == 25.318749
    assert REPORT.value("fid", denoised=True) == 25.318749
    for metric, denoised in (("is", None), ("fid", False)):
        with pytest.raises(KeyError, match="0 numbers; the report has fid, kid"):
            REPORT.value(metric, denoised=denoised)
    assert (Report((FID,)) + Report((KID,))).results == REPORT.results
