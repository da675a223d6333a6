"""Threads that predict with one model wait for each other: every answer is right, and the model is as it was."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import bayesrnn as br
from bayesrnn.inference.exclusive import exclusive


def test_calls_at_once_give_what_one_call_gives() -> None:
    model, x = br.models.SequenceRegressor(1, 4, dropout=0.3), torch.randn(3, 6, 1)
    model.train()
    right = {draws: br.predict(model, x, draws=draws).mean for draws in (0, 16, 32)}
    calls = [0, 16, 32] * 40
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda draws: br.predict(model, x, draws=draws).mean, calls))
    assert all(torch.equal(answer, right[draws]) for draws, answer in zip(calls, answers, strict=True))
    assert all(module.training for module in model.modules())


def test_models_that_share_a_part_wait_too_and_never_for_ever() -> None:
    part, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    whole = torch.nn.Sequential(part)
    inside, leave, seen = threading.Event(), threading.Event(), []

    def hold() -> None:
        with exclusive(whole):
            inside.set()
            leave.wait(10)
            seen.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    with exclusive(other), pytest.raises(ValueError, match="could wait for each other for ever"), exclusive(part):
        pass
    threading.Timer(0.2, leave.set).start()
    with exclusive(part), exclusive(part):
        seen.append("second")
    thread.join()
    assert seen == ["first", "second"]
