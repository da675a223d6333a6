"""Split rows into training, early stopping, calibration and test: whole groups, equal contents together."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrnn.data.labelled import Labelled

_SHARES = {"train": 0.6, "watch": 0.12, "calibrate": 0.14, "test": 0.14}
_SHARES_WITH_TEST = {"train": 0.68, "watch": 0.12, "calibrate": 0.2}
_GOLDEN = (5**0.5 - 1) / 2


def dealt(data: Labelled, seed: int, *, with_test: bool, classes: bool) -> dict[str, NDArray[Any]]:
    """Return the places of the rows of each part: train, watch (early stopping), calibrate and test.

    Rows of one group, or of equal content where there are no groups, stay together; classes are spread evenly.

    Args:
        data: The rows.
        seed: Of the order.
        with_test: Whether test rows are taken from these.
        classes: Whether the targets are classes.

    Raises:
        ValueError: If there are too few groups or rows per class, or a class is in no training row.
    """
    shares = _SHARES if with_test else _SHARES_WITH_TEST
    keys = content_keys(data) if data.groups is None else np.asarray([str(group) for group in data.groups])
    first, unit = np.unique(keys, return_index=True, return_inverse=True)[1:]
    order = np.random.default_rng(seed).permutation(len(first))
    if len(first) < len(shares) * (1 if data.groups is not None else 5):
        what = "groups" if data.groups is not None else "different sequences"
        raise ValueError(
            f"there are {len(first)} {what}, too few to train, stop early, calibrate and test on separate ones. Give "
            f"more{', or leave out group' if data.groups is not None else ''}."
        )
    target = np.asarray(data.target)
    if data.groups is not None:
        part = _cut(order, shares)
    else:
        if classes:
            order = order[
                np.argsort(np.unique(target[first[order]].astype(str), return_inverse=True)[1], kind="stable")
            ]
        places = np.searchsorted(np.cumsum(list(shares.values()))[:-1], (np.arange(len(order)) + 0.5) * _GOLDEN % 1)
        part = np.empty(len(order), int)
        part[order] = places
    rows = part[unit]
    if classes:
        rows = _with_all_classes(rows, target, unit, grouped=data.groups is not None)
        if len(set(rows.tolist())) < len(shares):
            raise ValueError(
                f"there are {len(set(target.tolist()))} classes in {len(rows)} rows: after one row of each to learn "
                "from, too few are left to stop early, calibrate and test. Give more rows of each class; numbers are "
                "predicted by `bayesrnn regress`."
            )
    return {name: np.flatnonzero(rows == k) for k, name in enumerate(shares)}


def _cut(order: NDArray[Any], shares: Mapping[str, float]) -> NDArray[Any]:
    """Return the part of each unit: runs of the order, at least one unit each."""
    count = len(order)
    sizes = [max(round(share * count), 1) for share in list(shares.values())[1:]]
    edges = np.cumsum([count - sum(sizes), *sizes])
    part = np.empty(count, int)
    part[order] = np.searchsorted(edges[:-1], np.arange(count), side="right")
    return part


def _with_all_classes(rows: NDArray[Any], target: NDArray[Any], unit: NDArray[Any], *, grouped: bool) -> NDArray[Any]:
    """Move a unit of each class that no training row has to the training."""
    for label in set(target.tolist()) - set(target[rows == 0].tolist()):
        if grouped:
            raise ValueError(
                f"the class {label!r} is in groups that are held out only, so it cannot be learned. Give more groups, "
                "another seed, or leave out group."
            )
        rows = np.where(unit == unit[np.flatnonzero(target == label)[0]], 0, rows)
    return rows


def content_keys(data: Labelled) -> NDArray[Any]:
    """Return a number in [0, 2**63) for the content of each row."""
    digests = [hashlib.blake2b(_bytes(row), digest_size=8).digest() for row in data.rows]
    return np.array([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=np.int64)


def fingerprint(data: Labelled) -> str:
    """Return a digest that two files of sequences share only if contents, order, targets and groups are equal."""
    digest = hashlib.blake2b(repr(data.features).encode(), digest_size=16)
    for row in data.rows:
        digest.update(_bytes(row) + b"\0")
    for part in (data.target, data.groups):
        digest.update(repr(None if part is None else part.tolist()).encode())
    return digest.hexdigest()


def _bytes(row: Any) -> bytes:
    return row.encode() if isinstance(row, str) else np.ascontiguousarray(row).tobytes()
