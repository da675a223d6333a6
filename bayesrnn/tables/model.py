"""A trained network for the sequences of files, with all that a prediction from a new file needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bayesrnn._checks import check_level
from bayesrnn.data.files import column_names
from bayesrnn.data.labelled import Labelled
from bayesrnn.inference import predict
from bayesrnn.models import SequenceClassifier
from bayesrnn.recalibration import AbstractRecalibrator, ConformalSets
from bayesrnn.storage import load, load_recalibration, save
from bayesrnn.tables.abstention import least_confidence, rows_missing
from bayesrnn.tables.inputs import Inputs
from bayesrnn.tables.parts import content_keys
from bayesrnn.training import History

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class SequenceRun:
    """A classifier or regressor of sequences, and how to read, recalibrate and refuse.

    Attributes:
        kind: "classify" or "regress".
        model: The network.
        inputs: From sequences to tensors.
        columns: Arguments of `read_labelled` that the training file was read with.
        draws: Draws of a prediction.
        seed: Seed of the masks.
        recalibration: Fitted on held-out rows, or None.
        sets: Conformal sets fitted on other held-out rows, or None.
        held_out: Confidence and error of the calibration rows, most confident first: {"confidence": ..., "wrong": ...}.
        watched: The same of the rows that the recalibration was fitted on.
        history: Losses of the training.
        notes: What is missing, and why.
    """

    kind: str
    model: nn.Module
    inputs: Inputs
    columns: dict[str, Any]
    draws: int = 100
    seed: int = 0
    recalibration: AbstractRecalibrator | None = None
    sets: ConformalSets | None = None
    held_out: dict[str, list[float]] | None = None
    watched: dict[str, list[float]] | None = None
    history: History | None = None
    notes: tuple[str, ...] = ()

    def raw(self, data: Labelled, draws: int | None = None) -> Any:
        """Return the predictive of sequences as the draws give it; `draws=0` is the deterministic pass.

        The masks of a row follow from its content, so its prediction does not depend on the rows it comes with.
        """
        x, lengths = self.inputs.tensors(data)
        device = next(self.model.parameters()).device
        result = predict(
            self.model,
            x.to(device),
            draws=self.draws if draws is None else draws,
            seed=self.seed,
            sequence_ids=torch.from_numpy(content_keys(data)),
            lengths=lengths,
        ).to("cpu")
        return result.with_class_names(self.labels) if self.kind == "classify" else result

    def predictive(self, data: Labelled) -> Any:
        """Return the predictive of sequences, recalibrated where a recalibration was fitted."""
        raw = self.raw(data)
        return raw if self.recalibration is None else self.recalibration.apply(raw)

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return [str(label) for label in self.model.labels or ()] if isinstance(self.model, SequenceClassifier) else []

    def targets(self, data: Labelled) -> Tensor:
        """Return the targets as metrics take them: numbers of classes, or numbers.

        Raises:
            ValueError: If there are none, or one is a class that the model does not know.
        """
        if data.target is None:
            raise ValueError("the file has no targets to judge by: name their column with target= (--target).")
        if self.kind == "regress":
            return torch.tensor(checked_numbers(data).astype(np.float64)).float()
        names = [str(label) for label in data.target]
        unknown = sorted(set(names) - set(self.labels))
        if unknown:
            raise ValueError(
                f"the classes {column_names(unknown)} are unknown to the model, which knows "
                f"{column_names(self.labels)}. Leave those rows out, or train anew with them."
            )
        return torch.tensor([self.labels.index(name) for name in names])

    def frame(self, data: Labelled, predictive: Any = None, *, level: float = 0.9, risk: float = 0.05) -> "DataFrame":
        """Return one line per sequence: what it is predicted to be, how sure, and of which kind the doubt is.

        Args:
            data: The sequences.
            predictive: What `predictive(data)` gave, if it was computed already.
            level: Probability with which a set of classes holds the true one.
            risk: Share of wrong answers that is accepted: less certain rows are marked `abstain` (`threshold`).
        """
        predictive = self.predictive(data) if predictive is None else predictive
        table = predictive.to_frame() if self.kind == "classify" else predictive.to_frame((0.5, 0.8, 0.95))
        table = table.drop(columns=["row", "sequence_id", "variation_ratio", "standard_error"], errors="ignore")
        table.insert(0, "id", data.names)
        if self.kind == "regress":
            return table
        table = table.rename(columns={"mode": "predicted"})
        confidence = predictive.probabilities.amax(-1).numpy()
        table.insert(2, "confidence", confidence)
        if self.held_out is not None:
            table.insert(3, "abstain", confidence < self.threshold(risk))
        if self.sets is not None:
            sets = self.sets.apply(predictive, data.groups, level=level)
            table.insert(4, f"set_{100 * level:g}", sets.texts())
        return table

    def threshold(self, risk: float) -> float:
        r"""Return the least confidence with which an answer is given, infinite where no answer is safe enough.

        With k calibration rows of at least that confidence and w wrong ones among them, the upper bound
        $p: P(\mathrm{Bin}(k, p) \le w) = 0.1$ is at most `risk`: with probability 90 % over calibration rows, so is
        the error of the answers.
        """
        check_level(risk, "risk")
        if self.held_out is None:
            raise ValueError("this run has no calibration rows from which to choose when to abstain.")
        return least_confidence(self.held_out, self.watched, risk)

    def shortage(self, risk: float) -> str:
        """Return how many calibration rows would be needed where every row abstains; else an empty text."""
        if self.held_out is None or np.isfinite(self.threshold(risk)):
            return ""
        return rows_missing(self.held_out, self.watched, risk)

    def details(self) -> dict[str, Any]:
        """Return all but the model and its recalibration as JSON values."""
        return {
            "inputs": self.inputs.to_dict(),
            "columns": self.columns,
            "draws": self.draws,
            "seed": self.seed,
            "sets": None if self.sets is None else self.sets.to_dict(),
            "held_out": self.held_out,
            "watched": self.watched,
            "notes": list(self.notes),
        }

    def save(self, folder: Path) -> None:
        """Write the network and its recalibration to the folder `model`; `details` go into the run's manifest."""
        save(self.model, folder, recalibration=self.recalibration, seed=self.seed)

    @classmethod
    def load(
        cls, folder: Path, kind: str, details: dict[str, Any], device: torch.device | str = "cpu"
    ) -> "SequenceRun":
        """Read what `save` and `details` gave."""
        return cls(
            kind,
            load(folder).to(device),
            Inputs.from_dict(details["inputs"]),
            details["columns"],
            details["draws"],
            details["seed"],
            load_recalibration(folder),
            None if details["sets"] is None else ConformalSets.from_dict(details["sets"]),
            details["held_out"],
            details.get("watched"),
            notes=tuple(details["notes"]),
        )


def checked_numbers(data: Labelled) -> NDArray[Any]:
    """Return the targets as float64 in an array of objects.

    Raises:
        ValueError: If one is no finite number.
    """
    values = np.empty(len(data))
    for k, cell in enumerate(data.target if data.target is not None else ()):
        try:
            values[k] = float(cell)
        except (TypeError, ValueError):
            values[k] = np.nan
        if not np.isfinite(values[k]):
            raise ValueError(
                f"the target of {data.names[k]!r} is {cell!r}, no number. Is it a class? Then use `bayesrnn classify`; "
                "else correct it."
            )
    return values.astype(object)
