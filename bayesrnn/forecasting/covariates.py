"""Covariates as numbers: numeric ones standardized, one column per level of a categorical one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_MOST_LEVELS = 200


@dataclass(frozen=True)
class Encoding:
    """How each covariate becomes columns: `scales` (center, width) of numbers, `levels` of categories.

    A network that maps the columns of a category linearly embeds it.
    """

    kinds: Mapping[str, Sequence[str]]
    scales: Mapping[str, tuple[float, float]]
    levels: Mapping[str, Sequence[str]]

    @staticmethod
    def learn(frame: Any, kinds: Mapping[str, Sequence[str]]) -> "Encoding":
        """Return the encoding of the covariates of a table."""
        scales, levels = {}, {}
        for name in [name for names in kinds.values() for name in names]:
            column = frame[name]
            if _is_number(column):
                values = column.to_numpy(np.float64, na_value=np.nan)
                if not np.isfinite(values).any() or np.isinf(values).any():
                    raise ValueError(f"the covariate {name!r} holds no or infinite values. Correct or leave it out.")
                width = float(np.nanstd(values))
                scales[name] = (float(np.nanmean(values)), width if width > 0 else 1.0)
            else:
                levels[name] = sorted(column.dropna().astype(str).unique())
                if len(levels[name]) > _MOST_LEVELS:
                    raise ValueError(
                        f"the covariate {name!r} has {len(levels[name])} different texts, too many for a category "
                        f"(at most {_MOST_LEVELS}). If it holds numbers, convert it with pandas.to_numeric."
                    )
        return Encoding({kind: list(names) for kind, names in kinds.items()}, scales, levels)

    def width(self, kind: str) -> int:
        """Return the columns of a kind of covariates."""
        return sum(len(self.levels[name]) if name in self.levels else 1 for name in self.kinds[kind])

    def encode(self, frame: Any, kind: str) -> NDArray[np.float64]:
        """Return the covariates of a kind, (rows, columns); missing ones are at their mean, or in no category.

        Raises:
            ValueError: If a category was never seen, or texts stand where numbers were.
        """
        columns = []
        for name in self.kinds[kind]:
            if name in self.levels:
                text = frame[name].astype("string")
                unseen = sorted(set(text.dropna()) - set(self.levels[name]))
                if unseen:
                    raise ValueError(
                        f"the covariate {name!r} has {', '.join(map(repr, unseen[:5]))}, never seen in training; known "
                        f"are {', '.join(map(repr, list(self.levels[name])[:10]))}. Fit again with such rows, or leave "
                        "the value empty."
                    )
                columns += [(text == level).fillna(False).to_numpy(np.float64) for level in self.levels[name]]
            else:
                if not _is_number(frame[name]):
                    raise ValueError(
                        f"the covariate {name!r} held numbers in training, but now it holds {frame[name].dtype}."
                    )
                center, width = self.scales[name]
                values = (frame[name].to_numpy(np.float64, na_value=np.nan) - center) / width
                columns.append(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
        return np.stack(columns, 1) if columns else np.zeros((len(frame), 0))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kinds": dict(self.kinds), "scales": dict(self.scales), "levels": dict(self.levels)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Encoding":
        """Return what `to_dict` described."""
        scales = {name: (float(pair[0]), float(pair[1])) for name, pair in values["scales"].items()}
        return Encoding(values["kinds"], scales, values["levels"])


def _is_number(column: Any) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
