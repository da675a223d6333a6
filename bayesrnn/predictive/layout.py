"""How the lines of a table become rows and steps."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """A table with its lines in order.

    Attributes:
        table: The table, lines sorted by row and then by step.
        shape: (rows,) or (rows, steps, ...).
        ids: Sequence id of each row, if the table has them.
    """

    table: Any
    shape: tuple[int, ...]
    ids: Tensor | None = None

    def values(self, column: Hashable) -> Tensor:
        """Return the numbers of a column, (rows, ...).

        Raises:
            ValueError: If they are no numbers, or the table has no such column.
        """
        if column not in self.table.columns:
            raise ValueError(f"the table has no column {column!r}; it has {list(self.table.columns)[:20]}.")
        try:
            values = np.array(self.table[column], dtype=float)
        except (TypeError, ValueError):
            raise ValueError(
                f"the column {column!r} must hold numbers, but it holds {self.table[column].dtype}."
            ) from None
        return torch.as_tensor(values).reshape(self.shape)


def laid_out(table: Any) -> Layout:
    """Return the table sorted by series and time, or by row and step, or unchanged.

    Raises:
        ValueError: If there are no lines, several cutoffs, a line is there twice, or series differ in length.
    """
    if len(table) == 0:
        raise ValueError("the table has no lines.")
    if table.columns.nlevels == 1 and "cutoff" in table.columns and table["cutoff"].nunique() > 1:
        raise ValueError(
            f"the table holds {table['cutoff'].nunique()} cutoffs: forecasts of one time from several origins would be "
            "mixed. Choose one: frame[frame['cutoff'] == cutoff]."
        )
    if table.columns.nlevels == 1 and "row" in table.columns:
        return _rows(table)
    if table.index.nlevels > 1 or table.index.name in ("unique_id", "ds"):
        return _indexed(table)
    names = [name for name in ("unique_id", "ds") if table.columns.nlevels == 1 and name in table.columns]
    if names:
        return _grouped(table, [table[name] for name in names], "unique_id" in names)
    import pandas as pd

    is_series = isinstance(table.index, pd.DatetimeIndex | pd.PeriodIndex) or table.columns.name is not None
    return Layout(table, (1, len(table)) if is_series else (len(table),))


def _indexed(table: Any) -> Layout:
    """Read series from the index: all its levels but the last say which, and the last the time."""
    if table.index.nlevels > 1:
        levels = [table.index.get_level_values(k) for k in range(table.index.nlevels)]
        names = ["/".join(map(str, key)) for key in zip(*levels[:-1])] if len(levels) > 2 else levels[0]
        return _grouped(table, [names, levels[-1]], True)
    if table.index.name == "unique_id" and "ds" in table.columns:
        return _grouped(table, [table.index, table["ds"]], True)
    return _grouped(table, [table.index], table.index.name == "unique_id")


def _grouped(table: Any, keys: list[Any], by_series: bool) -> Layout:
    """Sort by the keys (series, time), (time,) or (series,)."""
    import pandas as pd

    order = pd.DataFrame({str(k): pd.Series(np.asarray(key, dtype=object)) for k, key in enumerate(keys)})
    if len(order.columns) > 1 or not by_series:
        twice = order.duplicated()
        if bool(twice.any()):
            line = order[twice].iloc[0].tolist()
            raise ValueError(
                f"the table holds {line} twice: forecasts of one time from several origins or models would be mixed. "
                "Keep one line for each series and time."
            )
    sizes = order.groupby("0", sort=False).size() if by_series else None
    if sizes is not None and sizes.nunique() > 1:
        raise ValueError("the series of the table have different numbers of rows: take them one by one.")
    place = order.sort_values(list(order.columns), kind="stable").index
    return Layout(table.iloc[place], (1 if sizes is None else len(sizes), -1))


def _rows(table: Any) -> Layout:
    """Read what to_frame() wrote: row, step, axis_2, ... and perhaps sequence_id."""
    axes = ["row", *(n for n in ("step", *(f"axis_{k}" for k in range(2, 9))) if n in table.columns)]
    ordered = table.sort_values(axes, kind="stable")
    shape = tuple(ordered[name].nunique() for name in axes)
    if ordered.duplicated(axes).any() or len(ordered) != np.prod(shape):
        raise ValueError(
            f"the table has {len(ordered)} lines, but {' x '.join(f'{n} {a}s' for n, a in zip(shape, axes))}: some are "
            "missing or there twice (several tables in one?). Give whole rows of one predictive."
        )
    ids = None
    if "sequence_id" in ordered.columns:
        ids = torch.as_tensor(np.array(ordered["sequence_id"])).reshape(shape[0], -1)[:, 0]
    return Layout(ordered, shape, ids)
