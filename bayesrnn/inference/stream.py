"""Read a stream step by step: every draw keeps its own state and one mask for the whole stream."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import as_values, check_whole
from bayesrnn.inference._predict import check_arguments, check_model, masks_weights, predict
from bayesrnn.inference.accumulators import statistics_of
from bayesrnn.inference.assemble import assemble
from bayesrnn.inference.carried import CarriedReader
from bayesrnn.inference.context import lower_products, undisturbed
from bayesrnn.inference.ensemble import with_labels
from bayesrnn.inference.inputs import rows_at_once, whole_numbers
from bayesrnn.inference.job import checked_output
from bayesrnn.inference.nested import Rows, map_leaves, sums
from bayesrnn.inference.outputs import OutputDistribution, map_distribution
from bayesrnn.inference.packing import packed, unpacked
from bayesrnn.inference.passes import Part, Plan
from bayesrnn.inference.stream_call import Form, StreamCall
from bayesrnn.inference.stream_reader import StreamReader
from bayesrnn.masks import BLOCK, Binding, Memory, stream
from bayesrnn.nn.precision import usable_precision

_ROOM = 2**28  # bytes of masks that are kept from step to step


class Stream:
    """A posterior predictive that reads on: `step` takes what comes next and returns its predictive.

    Each draw keeps its state and its masks from step to step (lifetime `stream`), so reading a sequence in parts equals
    `predict` on the whole of it, in time and memory that do not grow with what was read.

    A model that takes ``(x, state)`` and returns ``(output, state)`` is given its state. Of any other, such as
    `models.SequenceRegressor`, the recurrent layers go on from the states in which they ended; that nothing else in it
    looks at several steps is checked at the second step. A model that reads a context of fixed length, such as
    `models.Forecaster`, is given the last values each time.

    Args:
        model: A torch module that holds layers of `bayesrnn.nn`.
        rows: How many sequences are read beside one another.
        draws: How many draws, at least 2.
        seed: Seed of the masks.
        sampling: "stratified" or "independent".
        sharing: "sequence" for masks of its own for each row, or "pass".
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        batch_dim: Dimension of the rows in windows: 0, or 1 for time-first tensors.
        precision: "bf16" for bfloat16 products with float32 state, where the processor has units for them.
        sequence_ids: Whole numbers that name the rows; 0, 1, 2, ... if not given.
        max_memory: Bytes that one pass may use.

    Attributes:
        steps: How many steps were read.

    Raises:
        ValueError: As `predict` does; in `step`, if the rows change, a layer is bidirectional, or the model looks at
            several steps outside its recurrent layers.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287: the Monte Carlo test of the language models.

    Example:
        >>> from bayesrnn.inference import predict
        >>> from bayesrnn.models import SequenceRegressor
        >>> model, x = SequenceRegressor(1, 8, dropout=0.2), torch.randn(3, 5, 1)
        >>> stream = Stream(model, rows=3, draws=16)
        >>> for t in range(5):
        ...     now = stream.step(x[:, t])
        >>> torch.allclose(now.mean, predict(model, x, draws=16).mean, atol=1e-5)
        True
    """

    def __init__(
        self,
        model: nn.Module,
        rows: int,
        *,
        draws: int = 100,
        seed: int = 0,
        sampling: str = "stratified",
        sharing: str = "sequence",
        likelihood: Callable[[Any], Any] | None = None,
        batch_dim: int = 0,
        precision: str | None = None,
        sequence_ids: Iterable[int] | Tensor | None = None,
        max_memory: int | None = None,
    ) -> None:
        check_whole(draws, "draws", 2)
        check_arguments(draws, seed, sharing, None, batch_dim)
        if not isinstance(model, nn.Module):
            raise TypeError(f"a stream is read by one torch module, but a {type(model).__name__} was given.")
        check_model(model, draws)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.precision = usable_precision(precision, self.device)  # here, to warn once and not at every step
        self.model, self.rows, self.draws = model, check_whole(rows, "rows"), draws
        self.seed, self.sampling, self.sharing = seed, sampling, sharing
        self.masks, self.likelihood, self.batch_dim = stream(sampling, seed), likelihood, batch_dim
        self.max_memory = None if max_memory is None else check_whole(max_memory, "max_memory")
        self.ids = torch.arange(rows) if sequence_ids is None else whole_numbers(sequence_ids, "sequence_ids")
        if len(self.ids) != rows:
            raise ValueError(f"sequence_ids must name the {rows} rows, but {len(self.ids)} ids were given.")
        self.context = getattr(model, "context", None)
        self._call = StreamCall(model, rows, batch_dim, likelihood)
        self.reset()

    def reset(self) -> None:
        """Forget the states: the next step begins the stream anew, under the same masks."""
        self.steps = 0
        self._reader: StreamReader | None = None
        self._form: Form | None = None
        self._last: Tensor | None = None  # the first window until it is checked, or the context

    def step(self, x: Any) -> Any:
        """Read what comes next and return its predictive.

        Args:
            x: One observation of each row, (rows, features) or tokens (rows,): the predictive then has no dimension of
                steps. Or a window, (rows, steps, features) or tokens (rows, steps); with `batch_dim=1` (steps, rows,
                ...).
        """
        x = self._as_tensor(x)
        if isinstance(self.context, int):
            return self._with_context(x)
        with undisturbed(self.model), lower_products(self.model, self.precision):
            form = self._form or self._call.form(x)
            single = x.dim() == form.observation
            window = self._call.window(x) if single else x
            self._call.check_rows(window)
            if self._reader is None:
                at_once = rows_at_once(self.model, (Rows(window, self.batch_dim),), self.max_memory)
                plan = Plan(at_once, BLOCK, masks_weights(self.model), True, None)
                self._reader = self._made(form.carried, list(plan.draw_chunks(0, self.draws, self.rows)))
            structure, part = self._read(self._reader, window, form.per_step if single else [])
            if form.carried and self._form is None:
                self._last = window
            elif self._last is not None:
                self._call.check_two(self._last, window)
                self._last = None
        self._form = form
        self._reader.go_on()
        self.steps += window.shape[1 - self.batch_dim]
        origin = {"seed": self.seed, "sampling": self.sampling, "sequence_ids": self.ids}
        predictives = (with_labels(p, [self.model]) for p in assemble([part], True, self._block, origin))
        return map_leaves(lambda leaf: None if leaf is None else next(predictives), structure)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, as tensors: for `torch.save` or safetensors.

        The numbers of the next step are the same bits after `load_state_dict`.
        """
        reader, form = self._reader, None if self._form is None else asdict(self._form)
        begun = [form, self._last, None if reader is None else [[len(c.draws) for c in reader.chunks], reader.states]]
        return packed({"of": self._facts(), "steps": self.steps, "begun": begun})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where a stream of the same model, rows, draws and seed was.

        Raises:
            ValueError: If the state is of another stream.
        """
        content = unpacked(state, self.device)
        differing = [name for name, value in self._facts().items() if content["of"].get(name) != value]
        if differing:
            raise ValueError(
                f"this state is of another stream: its {', '.join(differing)} differ. Make the Stream with the model, "
                "rows, draws and seed that it had."
            )
        self.reset()
        self.steps = content["steps"]
        form, self._last, reading = content["begun"]
        if reading is not None:
            self._form = Form(**form)
            ends = torch.tensor(reading[0]).cumsum(0).tolist()
            self._reader = self._made(self._form.carried, list(zip([0, *ends], ends)))
            self._reader.states = reading[1]

    @property
    def _block(self) -> int:
        return BLOCK if self.sampling == "stratified" else 1

    def _facts(self) -> dict[str, Any]:
        """Return what must be equal before one stream takes the state of another."""
        own = {"draws": self.draws, "seed": self.seed, "sampling": self.sampling, "sharing": self.sharing}
        return own | {"sequence_ids": self.ids.tolist(), "weights": sums(self.model.state_dict())}

    def _as_tensor(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = as_values(x, "what a stream reads")
            weight = next((p for p in self.model.parameters() if p.is_floating_point()), None)
            x = x.to(weight) if x.is_floating_point() and weight is not None else x.to(self.device)
        if x.dim() < 1:
            raise ValueError("a step is one observation of each row, (rows, features), or a window of them.")
        return x

    def _made(self, carried: bool, chunks: list[tuple[int, int]]) -> StreamReader:
        ids, room = self.ids.to(self.device), (self.max_memory or _ROOM) // len(chunks)
        bindings = [
            Binding(
                self.masks, torch.arange(*ends, device=self.device), ids, self.sharing == "pass", memory=Memory(room)
            )
            for ends in chunks
        ]
        return (CarriedReader if carried else StreamReader)(self.model, bindings, batch_dim=self.batch_dim)

    def _read(self, reader: StreamReader, window: Tensor, single: list[bool]) -> tuple[Any, Part]:
        """Return the structure of the output and what all draws say; `single` outputs lose their one step."""
        parts = []
        structure: Any = None
        for place, binding in enumerate(reader.chunks):
            forward = partial(self._distributions, reader, place, window)
            structure, distributions = checked_output(forward, len(binding.draws), binding.sequences, self.batch_dim)
            if single:
                distributions = [_one_step(d) if steps else d for d, steps in zip(distributions, single)]
            statistics = [statistics_of(distribution, binding.draws, self._block) for distribution in distributions]
            parts.append(Part(torch.arange(self.rows), len(binding.draws), (distributions,), statistics))
        return structure, reduce(Part.merge, parts)

    def _distributions(self, reader: StreamReader, place: int, window: Tensor) -> Any:
        return self._call.distributions(reader.output(place, window, self.steps))

    def _with_context(self, x: Tensor) -> Any:
        """Predict from the last values, as many as the model reads."""
        window = x.unsqueeze(1) if x.dim() == 1 else x
        joined = window if self._last is None else torch.cat([self._last, window], 1)
        if joined.shape[1] < self.context:  # type: ignore[operator]
            raise ValueError(
                f"{type(self.model).__name__} reads {self.context} values at once, but the stream has "
                f"{joined.shape[1]}. Give the first {self.context} as one window (rows, {self.context})."
            )
        self._call.check_rows(joined)
        last = joined[:, -self.context :]  # type: ignore[operator]
        predictive = predict(
            self.model, last, draws=self.draws, seed=self.seed, sampling=self.sampling, sharing=self.sharing,
            likelihood=self.likelihood, precision=self.precision, sequence_ids=self.ids, max_memory=self.max_memory,
        )  # fmt: skip
        self._last, self.steps = last.clone(), self.steps + window.shape[1]
        return predictive


def _one_step(distribution: OutputDistribution) -> OutputDistribution:
    """Return the distributions (S, B, 1, ...) without the dimension of the single step."""
    return map_distribution(distribution, lambda t: t.select(2, 0))
