"""Where the first-order variance comes from: by place, site, layer, direction, input feature and word."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_choice
from bayesrnn.inference.linear.first_order import Place
from bayesrnn.predictive.columns import index_columns

GROUPS = ("place", "site", "layer", "direction", "feature", "word")
"""By what contributions can be added up."""
_KEY = re.compile(r"(?P<site>.*)_l(?P<layer>\d+)(?P<reverse>_reverse)?")
_REST = "elsewhere"


@dataclass(frozen=True, eq=False)
class Sources:
    """Contributions to the first-order variance.

    Attributes:
        places: By address of the mask, such as `lstm.hidden_l0`, (B, ...).
        features: By input feature of a first layer, by address, (B, D, ...).
        words: By word type, by address, (B, T, ...); a type stands where its row first has it.
        tokens: The numbers of these types, (B, T).
    """

    places: dict[str, Tensor]
    features: dict[str, Tensor]
    words: dict[str, Tensor]
    tokens: dict[str, Tensor]

    @classmethod
    def of(cls, places: Mapping[str, Place], columns: slice, weights: Tensor, shape: Sequence[int]) -> "Sources":
        """Return the contributions to a variance, or to a weighted sum of variances.

        Args:
            places: The gradients.
            columns: Which of the C numbers.
            weights: Of each number, (B, C).
            shape: Of the target, (B, ...).
        """
        sources = cls({}, {}, {}, {})
        size = int(np.prod(shape[1:]))
        for name, place in places.items():
            variances = place.variances[..., columns] * weights.unsqueeze(1)
            variances = variances.unflatten(-1, (size, -1)).sum(-1)  # the numbers of a target are beside one another
            sources.places[name] = variances.sum(1).reshape(shape)
            key = name.rpartition(".")[2]
            if place.site.tokens is not None:
                sources.words[name] = variances.reshape(shape[0], -1, *shape[1:])
                own = shape[0] * (variances.shape[1] // place.site.tokens.shape[1])  # other rows are copies of these
                sources.tokens[name] = place.site.tokens[:own].reshape(shape[0], -1)
            elif key in ("input_l0", "input_l0_reverse"):
                by_feature = variances.unflatten(1, (-1, place.site.shape[3])).sum(1)
                sources.features[name] = by_feature.reshape(shape[0], -1, *shape[1:])
        return sources

    def joined(self, other: "Sources") -> "Sources":
        """Return these rows followed by the rows of `other`."""
        return Sources(
            {name: torch.cat([value, other.places[name]]) for name, value in self.places.items()},
            {name: torch.cat([value, other.features[name]]) for name, value in self.features.items()},
            {name: _stacked(value, other.words[name]) for name, value in self.words.items()},
            {name: _stacked(value, other.tokens[name]) for name, value in self.tokens.items()},
        )

    def table(self, by: str, names: Sequence[Any] | None = None) -> Any:
        """Return a DataFrame: row, step, the name of the group, its variance and its share of the row's variance.

        Args:
            by: What to add up over, one of `GROUPS`.
            names: Of input features or of words, by number.

        Raises:
            ValueError: If there are no such groups.
        """
        import pandas as pd

        parts = self._named(check_choice(by, "by", GROUPS), names)
        total = torch.stack(list(self.places.values())).sum(0)
        frames = []
        for name, variance in parts:
            label = name if isinstance(name, str) else name.reshape(-1, *(1 for _ in total.shape[1:]))
            values = variance.cpu().numpy()
            columns = index_columns(total.shape, None) | {
                by: np.broadcast_to(np.asarray(label, dtype=object), values.shape).ravel(),
                "variance": values.ravel(),
            }
            frames.append(pd.DataFrame(columns))
        frame = pd.concat(frames, ignore_index=True)
        keys = [column for column in frame.columns if column != "variance"]
        frame = frame.groupby(keys, sort=False, as_index=False)["variance"].sum()
        if by == "word":
            frame = frame[frame[by] != ""]
        whole = frame.groupby(keys[:-1])["variance"].transform("sum")
        frame["share"] = np.where(whole > 0, frame["variance"] / whole.where(whole > 0, 1.0), 0.0)
        return frame.sort_values(keys[:-1], kind="stable", ignore_index=True)

    def _named(self, by: str, names: Sequence[Any] | None) -> list[tuple[Any, Tensor]]:
        """Return contributions (B, ...) with their names: one, or one for each row."""
        if by not in ("feature", "word"):
            return [(_group(name, by), value) for name, value in self.places.items()]
        detailed = self.features if by == "feature" else self.words
        if not detailed:
            raise ValueError(
                f"there are no sources by {by}: no mask is on "
                f"{'the inputs of a recurrent layer' if by == 'feature' else 'words (br.nn.Embedding with dropout)'}. "
                f"Ask by one of {GROUPS[:4]}."
            )
        parts: list[tuple[Any, Tensor]] = []
        for place, value in detailed.items():
            for k in range(value.shape[1]):
                if by == "word":
                    parts.append((self._words(place, k, value[:, k], names), value[:, k]))
                else:
                    parts.append((str(names[k]) if names is not None else f"{place}[{k}]", value[:, k]))
        rest = [value for place, value in self.places.items() if place not in detailed]
        return [*parts, (_REST, torch.stack(rest).sum(0))] if rest else parts

    def _words(self, place: str, k: int, value: Tensor, names: Sequence[Any] | None) -> Any:
        """Return the word type at position k of each row; none for padding and for repeated words."""
        numbers = self.tokens[place][:, k].tolist()
        there = (value.reshape(len(value), -1) > 0).any(1).tolist()
        words = [
            str(number if names is None else names[number]) if is_there else ""
            for number, is_there in zip(numbers, there)
        ]
        return np.array(words, dtype=object)


def _group(place: str, by: str) -> str:
    """Return the name of the group of a place."""
    module, _, key = place.rpartition(".")
    match = _KEY.fullmatch(key)
    if by == "place":
        return place
    if by == "site":
        return match["site"] if match else key
    if by == "direction":
        return "none" if match is None else "backward" if match["reverse"] else "forward"
    layer = f"layer {match['layer']}" if match else ""
    return " ".join(part for part in (module, layer) if part) or key


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    """Return rows and then other rows, with zeros behind the shorter ones."""
    width = max(first.shape[1], second.shape[1])
    whole = [torch.cat([t, t.new_zeros(len(t), width - t.shape[1], *t.shape[2:])], 1) for t in (first, second)]
    return torch.cat(whole)
