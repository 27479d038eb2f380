"""What an evaluation says: numbers, each with all that it takes to compare it with another one.

A report prints as a table, the warnings of its numbers below it, and is JSON for what comes after.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

from scorekit.config import Json
from scorekit.evaluation.origin import Origin
from scorekit.evaluation.reference import ReferenceRecord
from scorekit.evaluation.samples import Provenance

PUBLISHED_COUNT = 50_000
"""How many samples published FIDs and Inception scores take."""


@final
@dataclass(frozen=True)
class Result:
    """One number.

    Args:
        metric: what was measured: "fid", "kid", "is", "loss", "neighbours".
        value: the number; NaN where it could not be measured.
        error: its uncertainty, None if there is none; `settings` says of what kind.
        num_samples: how many samples were judged; None where none were (the loss).
        reference: the real pictures; None where none are needed (the Inception score).
        extractor: the name of the feature extractor; None without one.
        weights_hash: the SHA-256 of its weights; None without any.
        provenance: where the samples come from.
        settings: block size, number of splits, noise level, ...
        warnings: what forbids which comparison.
    """

    metric: str
    value: float
    error: float | None
    num_samples: int | None
    reference: ReferenceRecord | None
    extractor: str | None
    weights_hash: str | None
    provenance: Provenance
    settings: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """All of it, as JSON values; a number that is not finite is null."""
        document = asdict(self)
        document |= {name: _finite(document[name]) for name in ("value", "error")}
        return document | {"settings": dict(self.settings), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Result":
        """The inverse of `to_json`."""
        known, reference = dict(document["provenance"]), document["reference"]
        model = known.pop("model")
        return cls(
            document["metric"],
            math.nan if document["value"] is None else document["value"],
            document["error"],
            document["num_samples"],
            None if reference is None else ReferenceRecord(**reference),
            document["extractor"],
            document["weights_hash"],
            Provenance(model=None if model is None else Origin(**model), **known),
            document["settings"],
            tuple(document["warnings"]),
        )


@final
@dataclass(frozen=True, repr=False)
class Report:
    """The numbers of an evaluation.

    Args:
        results: each with its circumstances.
    """

    results: tuple[Result, ...]

    def __add__(self, other: "Report") -> "Report":
        """Both reports in one."""
        return Report(self.results + other.results)

    def value(self, metric: str, *, denoised: bool | None = None) -> float:
        """The number of a metric.

        Args:
            metric: its name.
            denoised: which set of samples, where there are two; None where there is one.

        Raises:
            KeyError: if there is no such number, or there are several.
        """
        found = [
            each.value
            for each in self.results
            if each.metric == metric and denoised in (None, each.provenance.denoised)
        ]
        if len(found) != 1:
            known = ", ".join(sorted({each.metric for each in self.results}))
            raise KeyError(f"{metric!r} with denoised={denoised}: {len(found)} numbers; the report has {known}")
        return found[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of all numbers, each once."""
        return tuple(dict.fromkeys(warning for each in self.results for warning in each.warnings))

    def to_json(self) -> dict[str, Json]:
        """All of it, as JSON values, for `json.dumps(..., allow_nan=False)`."""
        return {"format": "scorekit-report", "version": 1, "results": [each.to_json() for each in self.results]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Report":
        """The inverse of `to_json`."""
        return cls(tuple(map(Result.from_json, document["results"])))

    def __repr__(self) -> str:
        notes = _Notes()
        rows = [_row(each, notes) for each in self.results]
        lines = [_table(HEADS, rows), "", *notes.lines()]
        return "\n".join(lines + [f"Warning: {each}" for each in self.warnings])


HEADS = (
    "metric", "value", "error", "samples", "reference", "extractor", "weights", "model", "sampler", "evaluations",
    "denoised",
)  # fmt: skip


@final
class _Notes:
    """Long texts, each named once: "model 1", "sampler 1", and written out below the table."""

    def __init__(self):
        self._texts: dict[str, list[str]] = {}

    def name(self, kind: str, text: str | None) -> str:
        if text is None:
            return "-"
        known = self._texts.setdefault(kind, [])
        if text not in known:
            known.append(text)
        return str(known.index(text) + 1)

    def lines(self) -> list[str]:
        return [f"{kind} {i + 1}: {text}" for kind, texts in self._texts.items() for i, text in enumerate(texts)]


def _row(result: Result, notes: _Notes) -> tuple[str, ...]:
    known = result.provenance
    model = known.where if known.model is None else f"{known.model} ({known.where})"
    model += "" if known.condition is None else f", told {known.condition}"
    sampler = None if known.sampler is None else f"{_called(known.sampler)}, seed {known.seed}"
    return (
        _label(result),
        _number(result.value),
        "-" if result.error is None else _number(result.error),
        "-" if result.num_samples is None else f"{result.num_samples:,}",
        "-" if result.reference is None else str(result.reference),
        result.extractor or "-",
        "-" if result.weights_hash is None else result.weights_hash[:8],
        notes.name("model", model),
        notes.name("sampler", sampler),
        "-" if known.evaluations is None else f"{known.evaluations:,}",
        {None: "-", True: "yes", False: "no"}[known.denoised],
    )


def _called(config: Json) -> str:
    """A configuration as the call that makes it: annealed-mcmc(kernel=unadjusted(...), ...)."""
    if isinstance(config, dict) and "params" in config:
        params = config["params"]
        told = params.items() if isinstance(params, dict) else ()
        return f"{config['name']}({', '.join(f'{name}={_called(value)}' for name, value in told)})"
    return config if isinstance(config, str) else json.dumps(config)


def _label(result: Result) -> str:
    told = ", ".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in result.settings.items()
    )
    return f"{result.metric} ({told})" if told else result.metric


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6g}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads, texts to the left and numbers to the right."""
    cells = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = {"value", "error", "samples", "evaluations"}
    lines = [
        "  ".join(
            cell.rjust(width) if head in right else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)
