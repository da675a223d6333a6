"""What every recalibrator does: learn a map on held-out predictives, apply it to others, save as JSON."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive
from bayesrnn.recalibration.parameters import check_keys

FEWEST = 30


class AbstractRecalibrator(ABC):
    """A map fitted on held-out predictives and targets; `apply` returns a predictive.

    Fit on data that neither trained the model nor will judge it; for series take a later stretch, with a gap.
    """

    name: ClassVar[str]
    kind: ClassVar[type[Predictive]]
    legal: ClassVar[dict[str, Any]]
    """By parameter, what it may be: `check(value, name)` refuses the rest."""
    parameters: dict[str, Any] | None = None

    def fit(
        self,
        predictive: Predictive,
        target: Any,
        *,
        training_ids: Any = None,
        mask: Tensor | None = None,
        nan: str = "raise",
    ) -> Self:
        """Learn the map on held-out data.

        Args:
            predictive: Of held-out rows.
            target: What happened, (B, ...).
            training_ids: Sequence ids that the model was trained on: refused if they occur in `predictive`.
            mask: (B, ...) bool, True where a target is used.
            nan: "raise" refuses NaN targets, "drop" leaves them out.

        Raises:
            ValueError: If there are fewer than 30 targets, or training rows among them.
        """
        self._check_kind(predictive)
        check_held_out(predictive, training_ids)
        pairs = pair(predictive, target, {"mask": mask, "nan": nan})
        count = int(pairs.keep.sum())
        if count < FEWEST:
            raise ValueError(
                f"{type(self).__name__} needs at least {FEWEST} held-out targets, but {count} were given: a map fitted "
                "on so few would be noise. Hold out more rows."
            )
        self.parameters = self._fit(pairs)
        return self

    def apply(self, predictive: Predictive) -> Any:
        """Return the recalibrated predictive of other rows.

        Raises:
            ValueError: If the recalibrator was not fitted, or the predictive is of another kind.
        """
        self._check_kind(predictive)
        return self._apply(predictive, self.fitted)

    def to_dict(self) -> dict[str, Any]:
        """Return name, settings and fitted parameters as JSON values, so that they can be saved with a model."""
        return {"name": self.name, "settings": self.settings(), "parameters": self.parameters}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the recalibrator that `to_dict` described.

        Raises:
            ValueError: If keys are missing or unknown, or a fit could not have given a setting or parameter.
        """
        if not isinstance(values, dict) or values.get("name") != cls.name:
            name = values.get("name") if isinstance(values, dict) else type(values).__name__
            raise ValueError(
                f"these are not the values of a {cls.__name__}: the name should be {cls.name!r}, not {name!r}."
            )
        title = cls.__name__
        check_keys(values, ("name", "settings", "parameters"), title)
        check_keys(values["settings"], cls().settings(), f"settings of {title}")
        try:
            recalibrator = cls(**values["settings"])
        except TypeError as error:
            raise ValueError(f"settings of {title}: {error}") from None
        if recalibrator.settings() != values["settings"]:
            raise ValueError(f"settings of {title} must be what to_dict gave, but are {values['settings']!r:.200}.")
        if values["parameters"] is not None:
            check_keys(values["parameters"], cls.legal, f"parameters of {title}")
            for name, legal in cls.legal.items():
                legal.check(values["parameters"][name], f"{name} of {title}")
            recalibrator.check_together(values["parameters"])
        recalibrator.parameters = values["parameters"]
        return recalibrator

    def check_together(self, parameters: dict[str, Any]) -> None:  # noqa: B027
        """Refuse parameters that are legal each, but not together.

        Raises:
            ValueError: That says why.
        """

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}

    @property
    def fitted(self) -> dict[str, Any]:
        """The learned parameters."""
        if self.parameters is None:
            raise ValueError(
                f"this {type(self).__name__} was not fitted: call fit(predictive, target) on held-out data."
            )
        return self.parameters

    @abstractmethod
    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        """Learn the parameters, JSON values."""

    @abstractmethod
    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> Any:
        """Apply them."""

    def _check_kind(self, predictive: Any) -> None:
        if not isinstance(predictive, self.kind):
            raise ValueError(
                f"{type(self).__name__} recalibrates a {self.kind.__name__}, but a {type(predictive).__name__} was "
                f"given. {_advice(predictive)}"
            )


def _advice(predictive: Any) -> str:
    """Say what recalibrates a predictive of another kind."""
    if isinstance(predictive, TokenPredictive):
        return (
            "It keeps no distributions over the vocabulary that a map could act on: choose a temperature on "
            "validation text with tune_perplexity(model, tokens), and judge with perplexity(model, tokens, "
            "temperature=...)."
        )
    if isinstance(predictive, ContinuousPredictive):
        return "For that use VarianceScaling, QuantileRecalibration or SplitConformal."
    if isinstance(predictive, ClassPredictive):
        return "For that use Temperature, VectorScaling or Isotonic."
    return "Pass what bayesrnn.predict returned, or a Predictive made with one of its from_... functions."


def check_held_out(predictive: Predictive, training_ids: Any) -> None:
    """Refuse rows that the model was trained on, where their sequence ids tell."""
    if training_ids is None:
        return
    ids = predictive.sequence_ids
    if ids is None:
        raise ValueError("training_ids can be checked only if the predictive knows its sequence_ids: pass them.")
    shared = ids[torch.isin(ids, torch.as_tensor(training_ids, device=ids.device))]
    if len(shared):
        raise ValueError(
            f"{len(shared)} of the {len(ids)} rows (ids {shared[:5].tolist()}) were trained on: the model fits them "
            "too well, and a map learned there makes intervals too narrow. Fit on held-out rows."
        )
