"""bfloat16 on processors that have units for it and on those that have none."""

import warnings
from collections.abc import Callable

import pytest
import torch

import bayesrnn as br
from bayesrnn.models import LanguageModel
from bayesrnn.nn import precision
from bayesrnn.nn.precision import multiplies_bfloat16, usable_precision
from bayesrnn.tuning.language import tune_perplexity


def test_without_units_float32_is_used_and_a_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device="cpu": False)
    layer, x = br.nn.LSTM(3, 8, dropout=0.3, batch_first=True), torch.randn(4, 6, 3)
    exact = br.predict(layer, x, draws=16, likelihood=lambda out: br.likelihoods.gaussian(out[0][:, -1, :2]))
    with pytest.warns(UserWarning, match=r"no units for bfloat16 .* Leave out the precision"):
        low = br.predict(
            layer, x, draws=16, likelihood=lambda out: br.likelihoods.gaussian(out[0][:, -1, :2]), precision="bf16"
        )
    assert torch.equal(low.mean, exact.mean)


def test_with_units_nothing_is_said(native_bfloat16: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert usable_precision("bf16") == "bf16"
        assert usable_precision(None) is None


def test_what_torch_knows_of_the_processor_is_asked() -> None:
    if torch.cpu.get_capabilities().get("amx_bf16") or torch.cpu.get_capabilities().get("avx512_bf16"):
        assert multiplies_bfloat16()
    elif torch.cpu.get_capabilities().get("architecture") == "x86_64" and not torch.cpu._is_avx512_supported():
        assert not multiplies_bfloat16()
    if not torch.cuda.is_available():
        assert not multiplies_bfloat16("cuda")


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="precision must be one of 'None', 'bf16', but 'fp16'"):
        usable_precision("fp16")


def test_the_warning_points_at_the_users_call_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device="cpu": False)
    model = LanguageModel(9, 4, 4, 1, dropout=0.3)
    layer, x, tokens = br.nn.LSTM(3, 8, dropout=0.3, batch_first=True), torch.randn(4, 6, 3), torch.arange(90) % 9

    def last(output: tuple[torch.Tensor, ...]) -> torch.distributions.Distribution:
        return br.likelihoods.gaussian(output[0][:, -1, :2])

    calls: list[Callable[[], object]] = [
        lambda: br.perplexity(model, tokens, draws=16, window=5, precision="bf16"),
        lambda: tune_perplexity(model, tokens, draws=16, precision="bf16"),
        lambda: br.predict(layer, x, draws=16, likelihood=last, precision="bf16"),
        lambda: br.compare(layer, x, target=x[:, 0, 0], draws=16, likelihood=last, precision="bf16"),
        lambda: usable_precision("bf16"),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            call()
        found = [w for w in said if "no units for bfloat16" in str(w.message)]
        assert [w.filename for w in found] == [__file__]
        assert found[0].lineno == call.__code__.co_firstlineno
