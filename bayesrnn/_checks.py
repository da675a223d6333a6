"""Checks shared by the public functions: each error says what was given, what is legal and the fix."""

import math
import numbers
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_number(value: Any) -> int | float | None:
    """Return `value` as Python's own number if it is one, a numpy scalar or a numpy array without dimensions.

    None for what is no number: booleans, texts, and tensors, whose gradient would be lost on the way.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else None


def as_values(values: Any, name: str) -> Tensor:
    """Return numbers as a tensor: of a tensor, an array, nested lists, or a Series or DataFrame of pandas.

    The rows are taken in the order in which they lie, whatever the index says.

    Raises:
        TypeError: If they are no numbers, as texts and dates are not.
        ValueError: If nested lists have unequal lengths.

    Example:
        >>> as_values([[1, 2], [3, 4]], "target").shape
        torch.Size([2, 2])
    """
    if isinstance(values, Tensor):
        return values
    if isinstance(values, list | tuple) and values and all(isinstance(value, Tensor) for value in values):
        return torch.stack(list(values))
    try:
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
        if array.dtype == object and array.size and all(as_number(value) is not None for value in array.flat):
            array = array.astype(np.float64)
    except ValueError:
        raise ValueError(
            f"{name} holds rows of unequal lengths. Pad them to one tensor, any number behind the end of each row, "
            "and pass the lengths as well."
        ) from None
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must be numbers (a tensor, an array, a list or a pandas Series), but a {type(values).__name__} of "
            f"{array.dtype} was given. For classes with names pass their numbers 0, 1, ..., for missing values NaN."
        )
    kind = {"u": np.int64, "f": np.float64 if array.dtype.itemsize > 8 else array.dtype}.get(array.dtype.kind)
    return torch.from_numpy(np.array(array, dtype=kind, order="C"))


def _fix(value: Any, kind: str = "float") -> str:
    if isinstance(value, Tensor):
        return " For a tensor of one number pass value.item()."
    return f" For a text of digits convert it first, {kind}(value)." if isinstance(value, str) else ""


def check_rate(rate: float, name: str = "rate") -> float:
    """Return `rate` as a float if it is a dropout rate in [0, 1)."""
    number = as_number(rate)
    if number is None:
        raise TypeError(
            f"{name} must be a number in [0, 1), but {rate!r} ({type(rate).__name__}) was given.{_fix(rate)}"
        )
    value = float(number)
    if not (math.isfinite(value) and 0.0 <= value < 1.0):
        raise ValueError(
            f"{name} is the probability of DROPPING a unit and must lie in [0, 1); {value!r} was given. "
            "A rate of 1 drops everything and 1/(1-rate) is infinite. If you meant a keep probability k, pass 1 - k; "
            "if you meant a percentage, divide it by 100."
        )
    return value


def check_level(level: float, name: str = "level") -> float:
    """Return `level` as a float if it is a probability strictly between 0 and 1."""
    number = as_number(level)
    if number is None:
        raise TypeError(
            f"{name} must be a number in (0, 1), but {level!r} ({type(level).__name__}) was given.{_fix(level)}"
        )
    value = float(number)
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        raise ValueError(f"{name} must lie strictly between 0 and 1, but {value!r} was given. For 95 % pass 0.95.")
    return value


def check_levels(levels: float | Iterable[float], name: str = "levels") -> list[float]:
    """Return the levels in rising order, each once: one number, or several, strictly between 0 and 1."""
    several = isinstance(levels, Iterable) and not isinstance(levels, str | bytes) and getattr(levels, "ndim", 1) > 0
    checked = sorted({check_level(level, name) for level in (levels if several else [levels])})  # type: ignore
    if not checked:
        raise ValueError(f"{name} is empty: give at least one level in (0, 1), e.g. 0.9 or (0.5, 0.95).")
    return checked


def check_rising(levels: Iterable[float], name: str = "levels") -> list[float]:
    """Return levels that rise; the order is part of what they mean."""
    checked = check_levels(levels, name)
    given = list(levels) if isinstance(levels, Iterable) else levels
    if given != checked:
        raise ValueError(f"{name} must be distinct and increase, such as {checked}, but {given!r} was given.")
    return checked


def check_number(
    value: Any, name: str, legal: str, low: float, high: float = math.inf, *, above: bool = False, fix: str = ""
) -> float:
    """Return `value` as a float if it is a number in [low, high), or in (low, high) with `above`."""
    number = as_number(value)
    if number is None:
        raise TypeError(f"{name} must be {legal}, but {value!r} ({type(value).__name__}) was given.{_fix(value)}{fix}")
    if not low <= number < high or (number == low and above):
        raise ValueError(f"{name} must be {legal}, but {value!r} was given.{fix}")
    return float(number)


def check_path(path: Any, name: str = "path") -> Path:
    """Return `path` as a Path if it is a text or a path."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be a text or a pathlib.Path, but {path!r:.60} ({type(path).__name__}) was given.")
    return Path(path)


def check_whole(value: int, name: str, minimum: int = 1) -> int:
    """Return `value` as an int if it is a whole number of at least `minimum`."""
    number = as_number(value)
    if not isinstance(number, int):
        raise TypeError(
            f"{name} must be a whole number, but {value!r} ({type(value).__name__}) was given.{_fix(value, 'int')}"
        )
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but {number} was given.")
    return number


def check_flag(value: bool, name: str) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, but {value!r:.60} ({type(value).__name__}) was given.")
    return bool(value)


def check_seed(seed: int) -> int:
    """Return `seed` if it is a whole number in [0, 2**63)."""
    value = check_whole(seed, "seed", 0)
    if value >= 2**63:
        raise ValueError(f"seed must be below 2**63, but {value} was given.")
    return value


def check_choice(value: str, name: str, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        legal = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{name} must be one of {legal}, but {value!r} was given.")
    return value


def check_finite(tensor: Tensor, name: str) -> Tensor:
    """Return `tensor` if it holds neither NaN nor infinite values; the error names the rows that do."""
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        bad = ~torch.isfinite(tensor)
        raise ValueError(
            f"{name} holds {int(bad.sum())} NaN or infinite values (rows {some(rows_of(bad))}). "
            "Every value must be finite: drop or impute the missing ones first."
        )
    return tensor


def narrowed(statistic: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Return float64 statistics (rows, ...) in the dtype of the results, if that can hold them.

    Raises:
        ValueError: That names the rows whose finite values it cannot.
    """
    result = statistic.to(dtype)
    if bool(torch.isnan(result).any()):
        raise ValueError(
            f"{name} of rows {some(rows_of(torch.isnan(result)))} is not a number: the distribution reaches to "
            "infinity there, as recalibrated intervals with infinite ends do. Use quantile(q) and interval(level), or "
            "recalibrate on more targets."
        )
    lost = ~torch.isfinite(result) & torch.isfinite(statistic)
    if bool(lost.any()):
        largest, kind = float(statistic[lost].abs().max()), str(dtype).removeprefix("torch.")
        raise ValueError(
            f"{name} reaches {largest:.3g} (rows {some(rows_of(lost))}), beyond {torch.finfo(dtype).max:.3g}, the "
            f"largest {kind}. Give the model targets of moderate size (standardize them), or take results in float64: "
            "predictive.to(torch.float64), or model.double()."
        )
    return result


def check_ids(ids: Tensor, rows: int) -> Tensor:
    """Return the ids of sequences if there is one for each row."""
    if ids.shape != (rows,):
        raise ValueError(f"sequence_ids must hold one id for each of the {rows} rows; its shape is {tuple(ids.shape)}.")
    return ids


def is_exporting() -> bool:
    """True while `torch.export` traces a model: no number may be read from a tensor, and only plain operators are left.

    torch 2.6 does not tell.
    """
    return bool(getattr(torch.compiler, "is_exporting", bool)())


def check_lengths(lengths: Tensor | Iterable[int], rows: int, steps: int) -> Tensor:
    """Return `lengths` as an int64 CPU tensor if each row's length lies in 1..steps."""
    values = torch.as_tensor(lengths if isinstance(lengths, Tensor) else list(lengths)).cpu()
    if values.dim() != 1 or values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(
            f"lengths must be one whole number per row, but a {values.dtype} of shape {tuple(values.shape)} was given."
        )
    if values.numel() != rows:
        raise ValueError(f"lengths has {values.numel()} entries for {rows} rows. Give one length per row.")
    values = values.long()
    if is_exporting():
        return values
    if rows and (int(values.min()) < 1 or int(values.max()) > steps):
        bad = int(((values < 1) | (values > steps)).nonzero()[0])  # a batch of draws repeats its rows behind the first
        raise ValueError(
            f"lengths must lie between 1 and the {steps} steps of the tensor, but row {bad} has {int(values[bad])}. "
            "Drop empty sequences, and check which dimension holds the steps (batch_first)."
        )
    return values


def rows_of(wrong: Tensor, dim: int = 0) -> list[int]:
    """Return the numbers of the rows, along `dim`, that hold a True."""
    if not wrong.dim():
        return [0]
    return wrong.movedim(dim, 0).reshape(wrong.shape[dim], -1).any(1).nonzero().flatten().tolist()


def some(values: Sequence[int], most: int = 5) -> str:
    """Return the first of some numbers for an error: "0, 1, 2, 3, 4, ..."."""
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def shortened(names: Sequence[str]) -> str:
    """Return a list of names for an error, ten at most."""
    return f"{list(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")
