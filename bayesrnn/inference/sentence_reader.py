"""An encoder-decoder that reads sentences under draws of its masks: to search a translation, or to score one."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from bayesrnn._checks import check_ids, check_seed, check_whole
from bayesrnn.inference._predict import check_model, masks_weights
from bayesrnn.inference.beam import Beams
from bayesrnn.inference.context import undisturbed
from bayesrnn.inference.inputs import whole_numbers
from bayesrnn.inference.token_stream import as_factor, check_no_nan
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound

_ROWS = 512  # draws x sentences x beams that are decoded together: more are no faster
_NUMBERS = 2**26  # of the distributions that are held at once when a translation is scored


class SentenceReader:
    """A model that reads sentences under draws: rows of its passes are draws x sentences x beams."""

    def __init__(
        self, model: Any, source: Tensor | PackedSequence, draws: int, seed: int, sampling: str, sequence_ids: Any
    ) -> None:
        check_whole(draws, "draws", 0)
        check_model(model, draws)
        if not all(hasattr(model, name) for name in ("encode", "decode", "logits", "padding", "start", "end")):
            raise TypeError(
                f"translate takes an encoder-decoder such as br.models.EncoderDecoder, but a {type(model).__name__} "
                "was given, which has no encode(source), decode(tokens, encoded, state) and logits(features)."
            )
        if draws > 1 and masks_weights(model):
            raise ValueError(
                "translate reads all draws side by side, but this model masks weights, whose masks belong to one draw. "
                "Use a scheme that masks units, such as schemes.gal(p), or score translations with bayesrnn.predict."
            )
        self.model, self.draws, self.copies = model, draws, max(draws, 1)
        self.device = next(model.parameters()).device
        self.masks = stream(sampling, check_seed(seed))
        if isinstance(source, PackedSequence):
            source = pad_packed_sequence(source, True, model.padding)[0]
        with undisturbed(model):
            model.encode(source)  # refuses what is no source, before any work is done
        self.source = source.to(self.device)
        ids = torch.arange(len(source)) if sequence_ids is None else whole_numbers(sequence_ids, "sequence_ids")
        self.ids = check_ids(ids, len(source)).to(self.device)

    def search(self, beam: int, length_penalty: float, max_length: int | None, *, each: bool) -> Tensor:
        """Return the best translations, (rows, L), or (S * rows, L) with one search per draw."""
        check_whole(beam, "beam")
        power = as_factor(length_penalty, "length_penalty", "divides the score of a translation", zero=True)
        lengths = (self.source != self.model.padding).sum(1)
        given = None if max_length is None else check_whole(max_length, "max_length")
        most = 2 * lengths + 10 if given is None else torch.full_like(lengths, given)
        parts = [self._searched(rows, beam, power, most[rows], each) for rows in self._groups(_ROWS // beam)]
        long, fill = max(part.shape[-1] for part in parts), self.model.padding
        return torch.cat([F.pad(part, (0, long - part.shape[-1]), value=fill) for part in parts], -2).flatten(0, -2)

    def scored(self, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return translations, their lengths, and of each token: log probability per draw, entropy, aleatoric part."""
        lengths = self._ends(target)
        target = target.to(self.device)[:, : int(lengths.max())]
        start = torch.full_like(target[:, :1], self.model.start)
        known = torch.cat([start, target[:, :-1]], 1).masked_fill(target == self.model.padding, self.model.padding)
        size = _NUMBERS // (self.copies * target.shape[1] * getattr(self.model, "target_size", 50_000))
        scores = [self._score(rows, known[rows], target[rows]) for rows in self._groups(size * self.copies)]
        log_probs, entropy, aleatoric = (torch.cat(part, -2) for part in zip(*scores, strict=True))
        return target, lengths, log_probs, entropy, aleatoric

    def _searched(self, rows: Tensor, beam: int, power: float, most: Tensor, each: bool) -> Tensor:
        model, places, ids = self.model, len(rows) * beam, self.ids[rows].repeat_interleave(beam)
        with self._bound(self.ids[rows], 0):
            encoded = model.encode(self._trimmed(rows).repeat(self.copies, 1))
        encoded = encoded.take(torch.arange(self.copies * len(rows), device=self.device).repeat_interleave(beam))
        most = most.repeat(self.copies if each else 1)
        beams, state = Beams(len(most), beam, power, most, model, self.device), None
        while not beams.done:
            tokens = beams.last if each else beams.last.repeat(self.copies)
            with self._bound(ids, beams.steps):
                features, state = model.decode(tokens[:, None], encoded, state)
            logs = torch.log_softmax(model.logits(features[:, 0]).float(), -1)
            check_no_nan(logs[:, 0])
            if not each:
                logs = torch.logsumexp(logs.view(self.copies, places, -1), 0) - math.log(self.copies)
            kept = beams.grow(logs)
            if not each:
                kept = (torch.arange(self.copies, device=self.device)[:, None] * places + kept).flatten()
            state = tuple(part[:, kept] for part in state) if isinstance(state, tuple) else state[:, kept]
        sentences = beams.best()
        return sentences.view(self.copies, len(rows), -1) if each else sentences[None]

    def _score(self, rows: Tensor, known: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ids = self.ids[rows]
        with self._bound(ids, 0):
            distribution = self.model(self._trimmed(rows).repeat(self.copies, 1), known.repeat(self.copies, 1))
        logs = torch.log_softmax(distribution.logits.float(), -1).view(self.copies, *target.shape, -1)
        inside = target != self.model.padding
        chosen = logs.gather(-1, target.expand(self.copies, -1, -1)[..., None])[..., 0].masked_fill(~inside, 0.0)
        check_no_nan(chosen)
        aleatoric = torch.special.entr(logs.exp()).sum(-1).mean(0)
        entropy = torch.special.entr(logs.exp().mean(0)).sum(-1)
        return chosen, entropy.masked_fill(~inside, 0.0), torch.minimum(aleatoric, entropy).masked_fill(~inside, 0.0)

    def _bound(self, ids: Tensor, step: int) -> AbstractContextManager[None]:
        """Bind the masks of the sentences `ids`; masks that change per step begin at `step`."""
        if not self.draws:
            return nullcontext()
        drawn = torch.arange(self.draws, device=self.device)
        return bound(self.model, Binding(self.masks, drawn, ids, first_step=step))

    def _groups(self, rows: int) -> Sequence[Tensor]:
        """Return the sentences in groups of so many rows of a pass, which are draws x sentences."""
        return torch.arange(len(self.source), device=self.device).split(max(rows // self.copies, 1))

    def _trimmed(self, rows: Tensor) -> Tensor:
        """Return the sources of some rows without the steps that are padding in all of them."""
        source = self.source[rows]
        return source[:, : int((source != self.model.padding).sum(1).max())]

    def _ends(self, target: Tensor) -> Tensor:
        """Return the lengths of translations, which must end once, with padding behind."""
        if not isinstance(target, Tensor) or target.dim() != 2 or len(target) != len(self.source):
            what = tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__
            raise ValueError(
                f"target must hold a translation of each of the {len(self.source)} sources, (rows, steps), but {what} "
                "was given."
            )
        padding, ends = target == self.model.padding, target == self.model.end
        ended = ends.cumsum(1) - ends.long() > 0
        wrong = (padding != ended).any(1) | ~ends.any(1) | (target == self.model.start).any(1)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"target {row} must be words and the end, {self.model.end}, but {target[row].tolist()} was given: put "
                f"padding ({self.model.padding}) behind the end, and no start ({self.model.start}) in front."
            )
        return (~padding).sum(1).to(self.device)
