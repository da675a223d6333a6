"""The rows of the tables as data: scheme, recipe, and what the papers printed."""

from dataclasses import dataclass, field, replace

from bayesrnn import schemes
from bayesrnn.schemes import Scheme
from bayesrnn.training import (
    SGD,
    AdamW,
    Cosine,
    ExponentialAverage,
    NonMonotoneAverage,
    Recipe,
    StepDecay,
    gal,
    one_cycle,
    zaremba,
)
from evaluation.penn_treebank.published import PUBLISHED

UNITS = {"small": 200, "medium": 650, "large": 1500}
INIT = {"small": 0.1, "medium": 0.05, "large": 0.04}
FRACTIONS = {"small": 1 / 3, "medium": 1.0, "large": 1.0}
"""Share of the training text. The small models read a third of it: half an hour to an hour a row on one core."""
DRAWS = {"small": 64, "medium": 100, "large": 100}


@dataclass(frozen=True)
class Row:
    """One model of a table.

    Attributes:
        name: As in the paper, in short.
        scheme: Where masks act, at which rates.
        recipe: How it is trained.
        published: Perplexities as printed: `valid`, `test`, `test_mc`; with ensembles as `test_ensemble_M`.
        model: Further arguments of the model.
        start: The rows with the mean of whose kept weights the training begins, if any.
        seed_offset: What is added to the seed of the run, so that two branches see other masks and other windows.
    """

    name: str
    scheme: Scheme
    recipe: Recipe
    published: dict[str, float] = field(default_factory=dict)
    model: dict[str, object] = field(default_factory=dict)
    start: tuple[str, ...] = ()
    seed_offset: int = 0

    @property
    def begins_with(self) -> str | None:
        """The start in words, for the result."""
        return f"the mean of {' and '.join(self.start)}" if len(self.start) > 1 else "".join(self.start) or None


def rows(table: str, size: str, *, epochs: int | None = None, precision: str | None = "bf16") -> list[Row]:
    """Return the rows of `gal`, `zaremba` or `beyond` at a size."""
    makers = {"gal": _gal, "zaremba": _zaremba, "beyond": _beyond}
    table_rows = []
    for row in makers[table](size):
        recipe = row.recipe if epochs is None else row.recipe.shortened(epochs)
        table_rows.append(replace(row, recipe=replace(recipe, precision=precision)))
    return table_rows


def _recipes(size: str) -> tuple[Recipe, Recipe]:
    """Zaremba's and Gal's; the small ones are the medium ones in half as many epochs, most of them at the first rate.

    Squeezed evenly, the papers' schedules would leave the first rate after two or three epochs, long before models with
    masks have learned what they can.
    """
    if size != "small":
        return zaremba(size), gal(size)
    return _held(zaremba("medium"), 20, 12, 1.4), _held(gal("medium"), 28, 17, 1.3)


def _held(recipe: Recipe, epochs: int, constant: int, factor: float) -> Recipe:
    """Return the recipe with fewer epochs and another schedule."""
    schedule = StepDecay(1.0, constant, factor)
    return replace(recipe, epochs=epochs, optimizer=replace(recipe.optimizer, schedule=schedule))


def _gal(size: str) -> list[Row]:
    """Table 1 of arXiv:1512.05287. The small rates are the medium ones scaled down by about 0.7."""
    word, inner, step, cell = {
        "small": (0.15, 0.25, 0.35, 0.25),
        "medium": (0.2, 0.35, 0.5, 0.5),
        "large": (0.3, 0.5, 0.65, 0.5),
    }[size]
    plain, long = _recipes(size)
    published = PUBLISHED.get(size, {})

    def variational(gates: str) -> Scheme:
        return schemes.gal(word=word, input=inner, hidden=word, output=inner, gates=gates)

    return [
        Row("none", schemes.none(), replace(plain, keep="last"), published.get("none", {})),
        Row("naive", schemes.naive(input=inner, hidden=word, output=inner), plain),
        Row("zaremba", schemes.zaremba(step), plain, published.get("zaremba", {})),
        Row("moon", schemes.moon(cell), plain, published.get("moon", {})),
        Row("gal-tied", variational("tied"), long, published.get("gal-tied", {})),
        Row("gal-untied", variational("untied"), long, published.get("gal-untied", {})),
    ]


def _zaremba(size: str) -> list[Row]:
    """Table 1 of arXiv:1409.2329: no regularization (their small model), dropout, and ensembles by `--members`."""
    plain, _ = _recipes(size)
    published = PUBLISHED.get(size, {})
    rate = {"small": 0.35, "medium": 0.5, "large": 0.65}[size]
    if size == "small":
        unregularized = Row("none", schemes.none(), zaremba("small"), {"valid": 120.7, "test": 114.5})
    else:
        unregularized = Row("none", schemes.none(), plain)
    return [unregularized, Row("zaremba", schemes.zaremba(rate), plain, published.get("zaremba", {}))]


def _beyond(size: str) -> list[Row]:
    """Models of at most 24 M parameters: shared embeddings, averaged weights."""
    scheme = schemes.gal(word=0.1, input=0.4, hidden=0.25, output=0.4, gates="tied")
    recipe = Recipe(
        100, SGD(StepDecay(1.0, 100, 1.0), weight_decay=1e-6), clip=5.0, averaging=NonMonotoneAverage(5), keep="best"
    )
    if size == "small":
        scheme, recipe = scheme.with_rates(word=0.1, input=0.25, hidden=0.15, output=0.25), recipe.shortened(20)
        return [Row("shared", scheme, recipe, {}, _shape(200, 200))]
    published = {"test": 57.3}
    strong = scheme.with_rates(word=0.15, input=0.5, hidden=0.3, output=0.5)
    long = _cycle(80)
    long = replace(long, optimizer=replace(long.optimizer, weight_decay=5e-6))
    large = Row("shared", strong, long, published, _shape(650, 1000))
    if size != "medium":
        return [large]
    middle = scheme.with_rates(input=0.35)
    restarted = scheme.with_rates(word=0.15, input=0.45, hidden=0.3, output=0.5)
    narrow = scheme.with_rates(input=0.25, hidden=0.15, output=0.3)
    return [
        large,
        Row("shared-middle", middle, _cycle(32), published, _shape(400, 600)),
        Row("shared-shifted", middle, _shifted(32), published, _shape(400, 600)),
        Row("shared-restarted", restarted, _restarted(16), published, _shape(400, 600), start=("shared-shifted",)),
        *_branches(scheme),
        Row("shared-narrow", narrow, _cycle(19), published, _shape(400, 400)),
        *_plain(),
    ]


def _branches(scheme: Scheme) -> list[Row]:
    """Two long cycles from the mean of two rows, under masks of either, and a short one from the mean of both.

    Source: Wortsman et al. (2022), arXiv:2203.05482, for the mean of weights that were trained from the same start.
    """
    begin = ("shared-shifted", "shared-restarted")
    ends = ("shared-branch-a", "shared-branch-b")
    weaker = scheme.with_rates(word=0.12, input=0.4, hidden=0.28, output=0.45)
    stronger = scheme.with_rates(word=0.15, input=0.45, hidden=0.3, output=0.5)
    shape, published = _shape(400, 600), {"test": 57.3}
    return [
        Row(ends[0], weaker, _restarted(28, 0.7), published, shape, begin, 1),
        Row(ends[1], stronger, _restarted(28, 0.7), published, shape, begin, 2),
        Row("shared-joined", weaker, _restarted(2, 0.1), published, shape, ends, 3),
    ]


def _plain() -> list[Row]:
    """The plain LSTM of Melis et al. (2018), arXiv:1805.09208, with 22 M weights, and one that a processor trains.

    Theirs takes 967 epochs, with an L2 penalty in the place of the decoupled decay. The narrow one has 6.2 M weights
    and a recipe of 11 epochs: rates of about two thirds; shorter windows and fewer rows, for more steps per epoch; and
    a learning rate that falls to nothing in the place of an average that begins when validation stalls. Its first was
    chosen on validation text: of two epochs of a third of the training text (200 and 300 units), 2e-3, 4e-3 and 8e-3
    came to perplexities of 376, 296 and 196, and SGD from 1 (twenty rows) to 317. In full it overfits all the same:
    after 10 epochs 74 on training text and 106 on validation text in one pass. More epochs ask for the rates and the
    decay of the large one.
    """
    scheme = schemes.melis(input=0.6, between=0.3, hidden=0.4, output=0.7)
    optimizer = AdamW(StepDecay(3e-3, 300, 1.0), weight_decay=1e-2, betas=(0.0, 0.999))
    recipe = Recipe(300, optimizer, 64, 70, clip=10.0, averaging=NonMonotoneAverage(5), keep="best")
    squeezed = replace(optimizer, schedule=Cosine(6e-3, warmup=0.05), weight_decay=0.0)
    narrow = replace(recipe, epochs=11, optimizer=squeezed, batch_size=32, window=35)
    narrow = replace(narrow, averaging=ExponentialAverage(0.998))
    published = {"valid": 57.1, "test": 55.3}
    cell = {"cell": "capped_lstm", "sum_layers": True}
    return [
        Row("plain", scheme, recipe, published, _shape(500, 1100) | cell),
        Row(
            "plain-narrow", scheme.with_rates(input=0.4, between=0.2, hidden=0.2, output=0.45), narrow, published,
            _shape(280, 480) | cell,
        ),
    ]  # fmt: skip


def _cycle(epochs: int) -> Recipe:
    """What converges in a few dozen epochs: rates that rise once and fall to nothing, averaged weights.

    The optimizer was chosen on validation text: of two recipes for eight epochs of a third of the training text (400
    and 600 units), SGD from 1 came to a perplexity of 180.5 and AdamW from 3e-3 to 193.2.
    """
    return replace(one_cycle(epochs), averaging=ExponentialAverage(0.999))


def _shifted(epochs: int) -> Recipe:
    """`_cycle` with a weight decay that takes as much in all as in the row `shared`, and other windows each epoch.

    Both are worth several percent to Merity et al. (2017), arXiv:1708.02182, table 4; not tried on validation text.
    """
    recipe = _cycle(epochs)
    return replace(recipe, shift=True, optimizer=replace(recipe.optimizer, weight_decay=1.5e-5))


def _restarted(epochs: int, rate: float = 0.5) -> Recipe:
    """A second, lower cycle for weights that overfit in the first: a decay that ends with the rate, stronger masks.

    Source: Loshchilov & Hutter (2017), arXiv:1608.03983, for warm restarts; not tried on validation text.
    """
    recipe = _cycle(epochs)
    optimizer = SGD(Cosine(rate, warmup=0.05), weight_decay=3e-5, decay_follows_rate=True)
    return replace(recipe, shift=True, optimizer=optimizer)


def _shape(embedding: int, hidden: int) -> dict[str, object]:
    return {"shared_embeddings": True, "embedding_size": embedding, "hidden_size": hidden}
