"""Training of language models: one step by hand, and a kill at any moment."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bayesrnn import schemes
from bayesrnn.data.text import Vocabulary
from bayesrnn.models import LanguageModel
from bayesrnn.training.language import train_language_model
from bayesrnn.training.language_state import FILE, Checkpoint
from bayesrnn.training.optimizers import Average, Stepper
from bayesrnn.training.recipes import (
    SGD,
    AdamW,
    Cosine,
    ExponentialAverage,
    NonMonotoneAverage,
    Recipe,
    StepDecay,
    gal,
    zaremba,
)

RULE = Recipe(2, SGD(StepDecay(0.5, 1, 2.0), weight_decay=1e-3), batch_size=3, window=5, clip=1.0)


def stream(count: int = 200) -> Tensor:
    """Mostly 0 1 2 ... 10 0 1 ..., so that there is something to learn."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randint(11, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.1, noise, torch.arange(count) % 11)


def language_model(dropout: float | schemes.Scheme = 0.3, cell: str = "lstm") -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(11, 6, 7, 2, cell, dropout=dropout, init_range=0.3)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_is_the_papers_update_written_out() -> None:
    """Mean over rows, sum over steps, clipped, weight decay times no learning rate, state carried."""
    model, by_hand = language_model(0.0), language_model(0.0)
    train_language_model(model, stream(), replace(RULE, epochs=1))
    rows, state = stream()[:198].view(3, 66), None
    lstm = nn.LSTM(6, 7, 2, batch_first=True)
    lstm.load_state_dict(by_hand.recurrent.state_dict())
    embedding, weight, bias = by_hand.embedding.weight, by_hand.decoder_weight, by_hand.decoder_bias
    parameters = [embedding, *lstm.parameters(), weight, bias]
    for w in range(13):
        x, y = rows[:, 5 * w : 5 * w + 5], rows[:, 5 * w + 1 : 5 * w + 6]
        hidden, state = lstm(embedding[x], state)
        state = tuple(s.detach() for s in state)
        logs = (hidden @ weight.T + bias).log_softmax(-1)
        loss = -logs.gather(-1, y[..., None]).sum() / 3
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        with torch.no_grad():
            for p, g in zip(parameters, gradients):
                p.mul_(1 - 1e-3).sub_(0.5 * min(1.0, 1.0 / norm) * g)
    torch.testing.assert_close(model.embedding.weight, embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.recurrent.weight_hh_l1, lstm.weight_hh_l1, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.decoder_bias, bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_training_learns_and_tells_of_it(cell: str) -> None:
    model, heard = language_model(0.1, cell), []
    recipe = replace(RULE, epochs=6, optimizer=SGD(StepDecay(2.0, 4, 1.5)), clip=5.0)
    history = train_language_model(model, stream(450), recipe, valid=stream(100), on_epoch=heard.append)
    assert heard == history
    assert [e["epoch"] for e in history] == list(range(1, 7))
    assert history[-1]["valid_perplexity"] < 0.5 * history[0]["valid_perplexity"]
    assert history[0]["train_perplexity"] == pytest.approx(math.exp(history[0]["train_nll"]))
    assert history[-1]["rate"] == pytest.approx(2.0 / 1.5**2)
    assert all(e["words_per_second"] > 0 for e in history)
    assert not model.training


def test_masks_depend_on_the_seed_alone_and_the_random_state_is_left() -> None:
    first, second, other = language_model(), language_model(), language_model()
    train_language_model(first, stream(), RULE, seed=1)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    train_language_model(second, stream(), RULE, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    train_language_model(other, stream(), RULE, seed=2)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


_AVERAGED = replace(RULE, optimizer=AdamW(Cosine(0.01)), averaging=ExponentialAverage(0.9))


@pytest.mark.parametrize(
    "recipe", [RULE, _AVERAGED, replace(RULE, averaging=NonMonotoneAverage(1), keep="best", epochs=4)]
)
@pytest.mark.parametrize("stop", [1, 5, 14])
def test_a_training_that_stops_anywhere_goes_on_to_the_same_bits(
    recipe: Recipe, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = language_model()
    expected = train_language_model(whole, stream(), recipe, valid=stream(60))
    taken, step = [0], Stepper.step

    def dies(self: Stepper, rate: float) -> float:
        taken[0] += 1
        if taken[0] > stop:
            raise RuntimeError("the power is gone")
        return step(self, rate)

    options = {"valid": stream(60), "folder": tmp_path, "checkpoint_seconds": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", dies)
        with pytest.raises(RuntimeError, match="the power is gone"):
            train_language_model(language_model(), stream(), recipe, **options)
    torch.manual_seed(12345)
    resumed = LanguageModel(11, 6, 7, 2, dropout=0.3, init_range=0.3)
    history = train_language_model(resumed, stream(), recipe, **options)
    assert same(weights(whole), weights(resumed))
    for name in ("train_nll", "valid_nll", "rate", "averaged"):
        assert [e[name] for e in history] == [e[name] for e in expected]


_SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(1)
from tests.training.test_language import RULE, language_model, stream
from bayesrnn.training.language import train_language_model
from dataclasses import replace
recipe = replace(RULE, epochs=6)
print("ready", flush=True)
train_language_model(language_model(), stream(600), recipe, folder=sys.argv[1], checkpoint_seconds=0.0)
"""


def test_kill_9_in_mid_epoch_and_resume_gives_the_same_bits(tmp_path: Path) -> None:
    recipe = replace(RULE, epochs=6)
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(tmp_path), root], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    found = None
    while found is None or found.step % 39 in (0, 38) or found.step < 20:  # 39 windows an epoch
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was over before it was killed"
        time.sleep(0.002)
        found = Checkpoint.load(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    left = Checkpoint.load(tmp_path)
    assert left is not None
    assert 0 < left.step < 6 * 39
    for stray in tmp_path.iterdir():  # a kill in the middle of writing leaves a temporary file at most
        assert stray.name == FILE or stray.name.startswith(".")
    resumed, whole = language_model(), language_model()
    train_language_model(resumed, stream(600), recipe, folder=tmp_path)
    train_language_model(whole, stream(600), recipe)
    assert same(weights(resumed), weights(whole))


def test_a_checkpoint_for_another_vocabulary_is_refused_and_left_alone(tmp_path: Path) -> None:
    first = Vocabulary([f"w{i}" for i in range(11)])
    second = Vocabulary([f"v{i}" for i in range(11)])
    train_language_model(language_model(), stream(), RULE, vocabulary=first, folder=tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match="was trained with another vocabulary") as error:
        train_language_model(language_model(), stream(), RULE, vocabulary=second, folder=tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), RULE, folder=tmp_path)
    with pytest.raises(ValueError, match=r"belongs to another training \(seed: 0 there, 1 now\)"):
        train_language_model(language_model(), stream(), RULE, folder=tmp_path, seed=1)
    assert len(train_language_model(language_model(), stream(), RULE, folder=tmp_path, seed=1, resume=False)) == 2


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is not a checkpoint of a language model"):
        train_language_model(language_model(), stream(), RULE, folder=tmp_path)


def test_a_finished_training_returns_at_once(tmp_path: Path) -> None:
    history = train_language_model(language_model(), stream(), RULE, folder=tmp_path)
    model = language_model()
    assert train_language_model(model, stream(), RULE, folder=tmp_path) == history


def test_the_best_weights_are_kept_where_the_recipe_says_so() -> None:
    wild = replace(RULE, epochs=6, optimizer=SGD(StepDecay(8.0, 6, 1.0)), clip=10.0, keep="best")
    model = language_model(0.0)
    history = train_language_model(model, stream(), wild, valid=stream(60))
    from bayesrnn.inference.perplexity import perplexity

    best = min(e["valid_nll"] for e in history)
    assert history[-1]["valid_nll"] > best
    assert perplexity(model, stream(60), draws=0, batch_size=3, window=5).nll == pytest.approx(best, abs=1e-6)


def test_averages_are_the_means_they_claim_to_be() -> None:
    layer = nn.Linear(1, 1, bias=False)
    for spec, expected in (
        (ExponentialAverage(0.5), (4 * 4.0 + 2 * 2.0 + 1 * 1.0) / 7),
        (NonMonotoneAverage(2), 7.0 / 3),
    ):
        average = Average(layer, spec)
        average.judge([3.0, 2.0, 2.5, 3.1])
        for value in (1.0, 2.0, 4.0):
            nn.init.constant_(layer.weight, value)
            average.update()
        with average.in_place():
            assert layer.weight.item() == pytest.approx(expected)
        assert layer.weight.item() == 4.0


def test_a_non_monotone_average_waits_for_validation_to_stall() -> None:
    average = Average(nn.Linear(1, 1), NonMonotoneAverage(2))
    for history in ([5.0], [5.0, 4.0], [5.0, 4.0, 4.5], [5.0, 4.0, 4.5, 3.9]):
        average.judge(history)
        average.update()
        assert not average.running
        assert average.count == 0
    average.judge([5.0, 4.0, 4.5, 3.9, 4.2])
    assert average.running


def test_the_papers_recipes_are_theirs() -> None:
    """Learning rates of the authors' log: 1 through epoch 11, .870 in 12, .756 in 13, .002 at 55."""
    schedule = gal().optimizer.schedule
    rates = [schedule.at(epoch - 1, 0.0) for epoch in (1, 11, 12, 13, 55)]
    assert [round(rate, 3) for rate in rates] == [1.0, 1.0, 0.87, 0.756, 0.002]
    assert (gal().epochs, gal().clip, gal().optimizer.weight_decay, gal().window) == (55, 10.0, 1e-7, 35)
    assert (zaremba("medium").epochs, zaremba("medium").clip) == (39, 5.0)
    assert (zaremba("small").window, zaremba("large").clip) == (20, 10.0)
    short = zaremba("medium").shortened(13).optimizer.schedule
    assert short.at(12, 1.0) == pytest.approx(zaremba("medium").optimizer.schedule.at(38, 1.0))
    assert json.loads(json.dumps(_AVERAGED.to_dict())) == _AVERAGED.to_dict()


def test_a_cosine_rises_and_falls() -> None:
    schedule = Cosine(0.1, warmup=0.1)
    assert schedule.at(0, 0.05) == pytest.approx(0.05)
    assert schedule.at(0, 0.1) == pytest.approx(0.1)
    assert schedule.at(0, 0.55) == pytest.approx(0.05)
    assert schedule.at(0, 1.0) == pytest.approx(0.0)


def test_bfloat16_products_train_nearly_the_same(native_bfloat16: None) -> None:
    exact, rounded = language_model(0.0), language_model(0.0)
    train_language_model(exact, stream(), RULE)
    train_language_model(rounded, stream(), replace(RULE, precision="bf16"))
    torch.testing.assert_close(exact.decoder_bias, rounded.decoder_bias, rtol=0.1, atol=0.02)
    assert not torch.equal(exact.decoder_bias, rounded.decoder_bias)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": stream(10)}, "too short for a window of 5"),
        ({"train": stream().view(2, 100)}, "train must be one stream"),
        ({"train": stream() + 5}, "the model's vocabulary has 11 tokens"),
        ({"train": stream() - 1}, "holds the token -1, but"),
        ({"valid": stream(1)}, "valid has 1 tokens, but at least 2"),
        ({"valid": stream(60) + 5}, "the text valid holds the token 15"),
        ({"valid": stream(60).float()}, "valid must be one stream"),
        ({"vocabulary": Vocabulary(["a", "b"])}, "the vocabulary has 2 tokens, but the model is for 11"),
        ({"recipe": replace(RULE, keep="best")}, "judged by validation text"),
        ({"recipe": replace(RULE, averaging=NonMonotoneAverage())}, "judged by validation text"),
    ],
)
def test_what_cannot_be_is_refused(change: dict, message: str) -> None:
    given = {"train": stream(), "recipe": RULE} | change
    with pytest.raises(ValueError, match=message):
        train_language_model(language_model(), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": stream().tolist()}, "train must be a tensor of token numbers"),
        ({"valid": [1, 2]}, "valid must be a tensor of token numbers"),
        ({"recipe": "zaremba"}, "recipe must be a Recipe, but 'zaremba'"),
        ({"recipe": None}, "recipe must be a Recipe, but None"),
        ({"model": nn.Linear(1, 1)}, "must be a bayesrnn.models.LanguageModel, but a Linear"),
        ({"vocabulary": ["a"]}, "vocabulary must be a Vocabulary, but a list"),
    ],
)
def test_foreign_classes_are_named(change: dict, message: str) -> None:
    given = {"model": language_model(), "train": stream(), "recipe": RULE} | change
    with pytest.raises(TypeError, match=message):
        train_language_model(**given)


def test_a_folder_that_cannot_be_is_one_line_before_any_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    model = language_model()
    before = weights(model)
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="cannot write to the folder"):
            train_language_model(model, stream(), RULE, folder=folder)
    assert same(before, weights(model))
    with pytest.raises(ValueError, match="too short"):
        train_language_model(model, stream(10), RULE, folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_another_text_or_validation_text_is_refused(tmp_path: Path) -> None:
    options = {"folder": tmp_path, "valid": stream(60)}
    train_language_model(language_model(), stream(), RULE, **options)
    with pytest.raises(ValueError, match=r"another training \(the training text is another one\)"):
        train_language_model(language_model(), stream().flip(0), RULE, **options)
    with pytest.raises(ValueError, match="the training text is another one"):
        train_language_model(language_model(), stream(199), RULE, **options)
    for valid in (None, stream(60).flip(0)):
        with pytest.raises(ValueError, match="the validation text is another one, or there is one on one side only"):
            train_language_model(language_model(), stream(), RULE, folder=tmp_path, valid=valid)


def test_a_refusal_names_only_what_differs(tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), RULE, folder=tmp_path)
    with pytest.raises(ValueError, match=r"\(recipe.epochs: 2 there, 3 now; recipe.optimizer.schedule.rate: 0.5") as e:
        train_language_model(language_model(), stream(), zaremba_like(), folder=tmp_path)
    assert len(str(e.value)) < 400 + len(str(tmp_path))


def zaremba_like() -> Recipe:
    return replace(RULE, epochs=3, optimizer=SGD(StepDecay(0.4, 1, 2.0), weight_decay=1e-3))


def test_an_older_checkpoint_without_digests_goes_on_even_if_validation_came_later(tmp_path: Path) -> None:
    def stops(epoch: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_language_model(language_model(), stream(), RULE, folder=tmp_path, on_epoch=stops)
    point = Checkpoint.load(tmp_path)
    assert point is not None
    for name in ("train", "valid"):
        del point.settings[name]
    point.save(tmp_path)
    history = train_language_model(language_model(), stream(), RULE, folder=tmp_path, valid=stream(60))
    assert ["valid_nll" in epoch for epoch in history] == [False, True]
    with pytest.raises(ValueError, match="the training text is another one"):  # from now on it has them
        train_language_model(language_model(), stream().flip(0), RULE, folder=tmp_path, valid=stream(60))


def test_ctrl_c_in_mid_step_writes_a_checkpoint_that_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = language_model(), language_model()
    train_language_model(whole, stream(), RULE)
    step, taken = Stepper.step, [0]

    def interrupted(self: Stepper, rate: float) -> float:
        taken[0] += 1
        if taken[0] == 5:
            signal.raise_signal(signal.SIGINT)  # before the weights change
        return step(self, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_language_model(language_model(), stream(), RULE, folder=tmp_path)
    found = Checkpoint.load(tmp_path)
    assert found is not None
    assert found.step == 5
    train_language_model(resumed, stream(), RULE, folder=tmp_path)
    assert same(weights(whole), weights(resumed))


def _missing(point: Checkpoint) -> None:
    del point.tensors["weights"]["decoder_bias"]


def _shaped(point: Checkpoint) -> None:
    point.tensors["weights"]["decoder_bias"] = torch.zeros(3)


def _nan(point: Checkpoint) -> None:
    point.tensors["weights"]["decoder_bias"][0] = float("nan")


def _momentum(point: Checkpoint) -> None:
    del point.tensors["optimizer"]["0/exp_avg"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, r"its weights lack \['decoder_bias'\]"),
        (_shaped, r"its weights hold decoder_bias of shape \(3,\)"),
        (_nan, "NaN or infinite values in decoder_bias"),
        (_momentum, "its optimizer lack"),
        (lambda point: point.tensors.pop("weights"), "its weights lack"),
        (lambda point: point.tensors.pop("average"), "an average of"),
        (lambda point: point.tensors.update(foreign={"a": torch.zeros(1)}), "unknown parts"),
        (lambda point: setattr(point, "step", 10**6), "step 1000000 with 2 closed epochs"),
        (lambda point: setattr(point, "targets", 5), "5 targets at step"),
        (lambda point: setattr(point, "step", "x"), "the entry 'step' of its header cannot be 'x'"),
        (lambda point: setattr(point, "loss", float("nan")), "the entry 'loss' of its header cannot be nan"),
        (lambda point: setattr(point, "history", None), "the entry 'history'"),
        (lambda point: setattr(point, "history", [{}, 3]), "epoch 1 of its history cannot be {}"),
        (lambda point: delattr(point, "seconds"), r"the entries \['seconds'\]"),
        (lambda point: setattr(point, "more", 1), r"the entries \['more'\]"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(damage: Callable[[Checkpoint], None], message: str, tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), _AVERAGED, folder=tmp_path)
    point = Checkpoint.load(tmp_path)
    assert point is not None
    damage(point)
    point.save(tmp_path)
    with pytest.raises(ValueError, match="is damaged: .*" + message) as error:
        train_language_model(language_model(), stream(), _AVERAGED, folder=tmp_path)
    assert "delete it, or begin anew with resume=False" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_divergence_is_named_before_the_weights_are_lost() -> None:
    model = language_model()
    with torch.no_grad():
        model.decoder_bias[0] = float("nan")
    before = weights(model)
    with pytest.raises(ValueError, match="the training diverged"):
        train_language_model(model, stream(), RULE)
    assert torch.equal(before["decoder_weight"], model.decoder_weight)


def test_recipes_check_their_numbers() -> None:
    with pytest.raises(ValueError, match="clip is a norm"):
        Recipe(3, clip=0.0)
    with pytest.raises(ValueError, match="keep must be one of"):
        Recipe(3, keep="worst")
    with pytest.raises(ValueError, match="size must be one of"):
        zaremba("huge")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(-1.0), "rate must be a learning rate above 0, but -1.0"),
        (lambda: StepDecay(0.0), "rate must be a learning rate above 0"),
        (lambda: StepDecay(float("nan")), "rate must be"),
        (lambda: StepDecay(factor=0.0), "factor must be a divisor of at least 1"),
        (lambda: StepDecay(factor=0.8), "give 1 / 0.8 = 1.25"),
        (lambda: StepDecay(constant=-1), "constant must be at least 0"),
        (lambda: Cosine(warmup=2), r"warmup must be a share of the training in \[0, 1\)"),
        (lambda: Cosine(final=-1.0), "final must be"),
        (lambda: SGD(weight_decay=-1), "weight_decay must be a share"),
        (lambda: AdamW(weight_decay=-1), "weight_decay must be a number of at least 0"),
        (lambda: AdamW(betas=(0.9, 1.0)), r"betas\[1\] must be"),
        (lambda: AdamW(betas=(0.9,)), "betas must be two numbers"),  # type: ignore[arg-type]
        (lambda: ExponentialAverage(1.0), "decay must be a number in"),
        (lambda: ExponentialAverage(2.0), "decay must be a number in"),
        (lambda: NonMonotoneAverage(0), "patience must be at least 1"),
        (lambda: NonMonotoneAverage(-3), "patience must be at least 1"),
        (lambda: zaremba().shortened(0), "epochs must be at least 1"),
    ],
)
def test_parts_of_recipes_check_their_numbers(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(3, optimizer="sgd"), r"optimizer must be SGD\(...\) or AdamW\(...\), but 'sgd'"),  # type: ignore[arg-type]
        (lambda: Recipe(3, averaging="nt"), r"averaging must be .* or None, but 'nt'"),  # type: ignore[arg-type]
        (lambda: SGD(0.1), "schedule must be StepDecay"),  # type: ignore[arg-type]
        (lambda: StepDecay("1"), "rate must be a learning rate above 0, but '1'"),  # type: ignore[arg-type]
        (lambda: Recipe(3, clip="5"), "clip must be a norm above 0"),  # type: ignore[arg-type]
    ],
)
def test_recipes_check_their_parts(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_names_are_found_where_they_are_looked_for() -> None:
    from bayesrnn import data, training

    assert training.train_language_model is train_language_model
    assert training.Recipe is Recipe
    assert data.Vocabulary is Vocabulary
