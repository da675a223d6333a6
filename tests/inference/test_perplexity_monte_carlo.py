"""Monte Carlo errors of a perplexity, and their blocks of draws."""

import math
from typing import Any

import pytest
import torch

from bayesrnn.inference._perplexity import perplexity
from bayesrnn.predictive import Origin, TokenPredictive
from tests.inference.language_models import Switch, language_model, text


def test_the_standard_error_is_the_spread_over_seeds() -> None:
    model, tokens = language_model(0.5), text(30)
    results = [perplexity(model, tokens, draws=128, seed=s, statistics=False) for s in range(24)]
    spread = torch.tensor([r.nll for r in results]).std()
    claimed = torch.tensor([r.standard_error for r in results]).mean()
    assert 0.6 < float(claimed / spread) < 1.6


def test_the_corrected_value_removes_most_of_the_bias_of_few_draws() -> None:
    model, tokens = language_model(0.5), text(30)
    truth = perplexity(model, tokens, draws=4096, statistics=False).nll
    few = [perplexity(model, tokens, draws=32, seed=s, sampling="independent", statistics=False) for s in range(1, 25)]
    raw = sum(r.nll for r in few) / len(few) - truth
    corrected = sum(r.nll_corrected for r in few) / len(few) - truth
    assert raw > 0
    assert abs(corrected) < 0.5 * raw


def test_draws_that_fill_no_block_count_in_the_mean_alone() -> None:
    result = perplexity(language_model(), text(), draws=40)
    assert result.block_log_prob.shape[0] == 2
    assert math.isfinite(result.standard_error)
    assert perplexity(language_model(), text(), draws=10).standard_error is None


def test_fewer_blocks_are_fewer_draws() -> None:
    result = perplexity(language_model(), text(), draws=100)
    part = result.keep_draws([0, 1])
    assert (result.draws_used, part.draws_used, part.degrees_of_freedom) == (100, 32, 1.0)
    torch.testing.assert_close(part.log_prob, perplexity(language_model(), text(), draws=32).log_prob)
    assert part.keep_draws(torch.tensor([1])).draws_used == 16
    assert result.keep_draws(torch.tensor([True, False, False, True, False, False])).draws_used == 32
    both = perplexity([language_model(), language_model(0.2)], text(), draws=40)
    assert (both.draws_used, both.keep_draws([1]).draws_used) == (80, 32)
    single = TokenPredictive.from_blocks(torch.full((6, 1, 4), -1.0), origin=Origin(96)).keep_draws([0, 1])
    assert single.draws_used == 32
    with pytest.raises(ValueError, match=r"keeps 6 blocks of draws, numbered 0 to 5, but \[6\] was asked for"):
        result.keep_draws([6])
    for wrong in ("first", [0.5], None, 1):
        with pytest.raises(TypeError, match="the blocks to keep are given by their numbers"):
            result.keep_draws(wrong)  # type: ignore[arg-type]


def test_each_window_of_each_row_is_a_sequence_of_its_own() -> None:
    tokens = torch.zeros(4 * 30 + 1, dtype=torch.long)
    options: dict[str, Any] = {
        "draws": 1,
        "window": 3,
        "batch_size": 4,
        "sampling": "independent",
        "lifetime": "window",
    }
    found = perplexity(Switch(), tokens, **options).log_prob.view(4, 10, 3)[..., 0]
    for rows in range(1, 4):  # no row repeats what another row had some windows before
        for windows in range(4):
            assert not torch.equal(found[rows:, : 10 - windows], found[:-rows, windows:])
