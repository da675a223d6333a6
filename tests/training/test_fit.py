"""`fit` against a plain loop, and its promises: seeds, modes, clipping, early stopping, silence."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bayesrnn.models import SequenceClassifier, SequenceRegressor
from bayesrnn.training import History, Training, fit
from bayesrnn.training.batches import epoch_seed

Make = Callable[..., SequenceRegressor]
Rows = tuple[Tensor, Tensor]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


def test_equals_a_plain_loop(rows: Rows, make: Make) -> None:
    model, plain = make(), make()
    history = fit(model, rows, epochs=3, batch_size=20, learning_rate=0.01, weight_decay=0.1, gradient_clip=0.5, seed=5)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    losses = []
    for epoch in range(3):
        order = torch.randperm(48, generator=torch.Generator().manual_seed(epoch_seed(5, epoch, "order")))
        torch.manual_seed(epoch_seed(5, epoch))
        total = 0.0
        for index in order.split(20):
            optimizer.zero_grad()
            loss = -plain(rows[0][index]).log_prob(rows[1][index]).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
            total += float(loss.detach()) * len(index)
        losses.append(total / 48)
    assert torch.equal(weights(model), weights(plain))
    assert history.train == pytest.approx(losses)
    assert (history.validation, history.best_epoch, history.stopped_early) == ((), 2, False)


def test_masks_are_fresh_and_repeatable(rows: Rows, make: Make) -> None:
    def trained(seed: int, dropout: float = 0.2) -> Tensor:
        torch.rand(seed + 1)
        model = make(dropout)
        torch.rand(3)  # whatever the global state is, the seed decides
        fit(model, rows, epochs=2, seed=seed)
        return weights(model)

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))
    assert not torch.equal(trained(0), trained(0, dropout=0.4))


def test_leaves_random_state_handlers_loggers_and_working_folder(
    rows: Rows, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make()
    state, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    level = logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, rows, rows, epochs=2, checkpoint=tmp_path / "kept")
    assert torch.equal(state, torch.get_rng_state())
    assert signal.getsignal(signal.SIGINT) is handler
    assert logging.getLogger("lightning.pytorch").level == level
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "kept",
        "kept/checkpoint.safetensors",
    ]
    assert capfd.readouterr() == ("", "")  # no terminal, no bar
    assert not any(module.training for module in model.modules())


def test_bar_on_a_terminal(
    rows: Rows, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the stream for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    history = fit(make(), rows, rows, epochs=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    last = f"epoch 2/2  loss {history.train[1]:.4f}  validation {history.validation[1]:.4f}"
    assert last in shown.err.replace("\x1b[0m", "")
    fit(make(), rows, epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")


def test_gradients_are_clipped(rows: Rows) -> None:
    moved = {}
    for clip in (None, 0.01):
        model = nn.Sequential(nn.Flatten(), nn.Linear(5, 1), nn.Flatten(0))
        before = weights(model)
        fit(
            model,
            (rows[0], rows[1] + 100),
            loss=nn.functional.mse_loss,
            epochs=1,
            batch_size=48,
            gradient_clip=clip,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        )
        moved[clip] = float((weights(model) - before).norm())
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)
    assert moved[None] > 100


def test_early_stopping_keeps_the_best_weights(rows: Rows, make: Make) -> None:
    x, y = rows
    model = make()
    held_out = (x[:16], -y[:16])  # the more is learned, the worse it gets
    history = fit(model, rows, held_out, epochs=60, learning_rate=0.02, patience=3)
    assert history.stopped_early
    assert history.best_epoch is not None
    assert history.epochs == history.best_epoch + 4 < 60
    assert history.best == min(history.validation) == history.validation[history.best_epoch]
    again = make()
    fit(again, rows, held_out, epochs=history.best_epoch + 1, learning_rate=0.02)
    assert torch.equal(weights(model), weights(again))
    distribution = model(held_out[0])
    assert float(-distribution.log_prob(held_out[1]).mean().detach()) == pytest.approx(history.best, rel=1e-5)


def test_learns(make: Make, rows: Rows) -> None:
    model = make(0.02)
    model.standardize(*rows)
    history = fit(model, rows, epochs=60, learning_rate=0.03, batch_size=16)
    assert history.train[-1] < history.train[0] - 0.5
    residual = float((model(rows[0]).mean.detach() - rows[1]).square().mean())
    assert residual < 0.2 * float(rows[1].var())


def test_schedule_scales_the_learning_rate(rows: Rows, make: Make) -> None:
    model, once = make(), make()
    fit(model, rows, epochs=4, schedule=lambda epoch: 1.0 if epoch == 0 else 0.0)
    fit(once, rows, epochs=1)
    assert torch.equal(weights(model), weights(once))


def test_padding_does_not_enter_a_loss_per_step() -> None:
    tokens = torch.randint(0, 9, (20, 6))
    lengths = torch.randint(1, 7, (20,))
    target = tokens % 3
    inside = torch.arange(6) < lengths[:, None]
    found = []
    for filler in (0, 2):
        torch.manual_seed(0)
        model = SequenceClassifier(vocabulary=9, hidden_size=4, classes=3, dropout=0.2, every_step=True)
        data = {"x": tokens.where(inside, torch.tensor(0)), "lengths": lengths, "target": target.where(inside, filler)}
        history = fit(model, data, epochs=2, batch_size=8)
        found.append((weights(model), history.train))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_positional_lengths_and_named_ones_are_the_same() -> None:
    x, lengths = torch.randn(12, 5, 2), torch.randint(1, 6, (12,))
    y = torch.randn(12)
    found = []
    for data in ((x, lengths, y), {"x": x, "lengths": lengths, "target": y}, TensorDataset(x, lengths, y)):
        torch.manual_seed(0)
        model = SequenceRegressor(input_size=2, hidden_size=4, dropout=0.2)
        fit(model, data, epochs=1)
        found.append(weights(model))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_loader_and_its_seed(rows: Rows, make: Make) -> None:
    found = []
    for _ in range(2):
        model = make()
        history = fit(
            model, DataLoader(TensorDataset(*rows), 16, shuffle=True), DataLoader(TensorDataset(*rows), 7), epochs=2
        )
        found.append(weights(model))
        assert history.epochs == 2
    assert torch.equal(*found)


def test_bf16_trains_to_about_the_same_place(rows: Rows, make: Make, native_bfloat16: None) -> None:
    full, half = make(0.05), make(0.05)
    a = fit(full, rows, epochs=5, learning_rate=0.02)
    b = fit(half, rows, epochs=5, learning_rate=0.02, precision="bf16")
    assert a.train != b.train
    assert a.train[-1] == pytest.approx(b.train[-1], abs=0.05)
    assert all(p.dtype == torch.float32 for p in half.parameters())


@pytest.fixture
def interruptible() -> Iterator[Any]:
    """Python's own handler, also where the suite runs in the background and was started with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_interrupt_stays_an_interrupt(rows: Rows, make: Make, tmp_path: Path, interruptible: Any) -> None:

    def interrupted(distribution: torch.distributions.Distribution, target: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return -distribution.log_prob(target)

    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fit(make(), rows, loss=interrupted, epochs=9, batch_size=24, checkpoint=tmp_path)
    assert signal.getsignal(signal.SIGINT) is interruptible
    model, whole = make(), make()
    assert fit(model, rows, loss=interrupted, epochs=4, batch_size=24, checkpoint=tmp_path).epochs == 4
    fit(whole, rows, epochs=4, batch_size=24)
    assert torch.equal(weights(model), weights(whole))


def test_training_serves_a_trainer_of_the_users_own(rows: Rows, make: Make) -> None:
    import lightning.pytorch as pl

    model = make()
    before = weights(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
        )
        loader = DataLoader(TensorDataset(*rows), 16)
        trainer.fit(Training(model, learning_rate=0.01, schedule=lambda epoch: 0.5**epoch), loader, loader)
    assert not torch.equal(before, weights(model))
    (x, y), model = rows, model.eval()
    assert float(trainer.callback_metrics["validation_loss"]) == pytest.approx(
        -float(model(x).log_prob(y).mean().detach())
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.01 * 0.25


def test_history_frame() -> None:
    frame = History((3.0, 2.0), (4.0, 2.5), 1).to_frame()
    assert frame.to_dict("list") == {"epoch": [0, 1], "train": [3.0, 2.0], "validation": [4.0, 2.5]}
    assert list(History((3.0,), (), 0).to_frame()) == ["epoch", "train"]
    assert History().best is None
