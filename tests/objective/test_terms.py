"""Which mask acts on which weight: in the library's own models, in a user's, and under learned rates."""

import math

import pytest
import torch
from torch import nn

import bayesrnn.nn as bnn
from bayesrnn import models, objective, schemes
from bayesrnn.nn.concrete import ConcreteDropout

SCHEME = schemes.gal(word=0.1, input=0.2, hidden=0.3, output=0.4)
NUMBERS, TOKENS = torch.randn(5, 24, 2), torch.randint(0, 11, (5, 7))
MODELS = {
    "regressor": lambda: (models.SequenceRegressor(2, 4, dropout=SCHEME), NUMBERS),
    "counts of words": lambda: (
        models.SequenceRegressor(vocabulary=11, hidden_size=4, dropout=SCHEME, likelihood="poisson", every_step=True),
        TOKENS,
    ),
    "classifier": lambda: (models.SequenceClassifier(2, 4, dropout=SCHEME, bidirectional=True), NUMBERS),
    "forecaster": lambda: (models.Forecaster(24, 6, period=12, hidden_size=4, dropout=SCHEME), NUMBERS[..., 0]),
    "language": lambda: (models.LanguageModel(11, 4, 6, dropout=SCHEME), TOKENS),
    "language, shared": lambda: (models.LanguageModel(11, 6, 6, dropout=SCHEME, shared_embeddings=True), TOKENS),
    "language, projected": lambda: (models.LanguageModel(11, 4, 6, dropout=SCHEME, shared_embeddings=True), TOKENS),
}
OUTPUT = {
    "regressor": ("head.linear.weight", "encoder.dropout.output", 4),
    "counts of words": ("head.linear.weight", "encoder.dropout.output", 4),
    "classifier": ("head.linear.weight", "encoder.dropout.output", 8),
    "forecaster": ("head.weight", "output_dropout.output", 4),
    "language": ("decoder_weight", "output_dropout.output", 6),
    "language, shared": ("embedding.weight", "output_dropout.output", 6),
    "language, projected": ("projection.weight", "output_dropout.output", 6),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_output_mask_of_the_librarys_models_acts_on_the_weight_behind_it(name):
    model, _ = MODELS[name]()
    terms = [t for t in objective.weight_terms(model) if t.mask and t.mask.endswith("output")]
    assert [(t.name, t.mask, t.units, t.rate) for t in terms] == [(*OUTPUT[name], 0.4)]
    if hasattr(model, "embedding") and name != "forecaster":
        words = [t.name for t in objective.weight_terms(model) if t.mask == "embedding.word"]
        assert words == ["embedding.weight"]


@pytest.mark.parametrize("name", [n for n in MODELS if n != "language, shared"])
def test_a_unit_that_falls_takes_its_column_of_that_weight_out_of_the_distribution(name):
    """What the models say of themselves, tried out: with unit 1 of the output mask at 0, column 1 has no gradient."""
    model, x = MODELS[name]()
    weight, mask, _ = OUTPUT[name]
    keep = torch.ones(OUTPUT[name][2])
    keep[1] = 0.0
    model.get_submodule(mask.removesuffix(".output")).register_forward_hook(lambda _, __, output: output * keep)
    distribution = model.eval()(x)
    distribution = distribution[0] if isinstance(distribution, tuple) else distribution
    (
        distribution.logits if hasattr(distribution, "logits") else distribution.mean + distribution.variance
    ).square().sum().backward()
    gradient = model.get_parameter(weight).grad.abs().sum(0)
    assert float(gradient[1]) == 0.0
    assert bool((gradient[keep.bool()] > 0).all())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("wrap", [False, True])
def test_the_decay_of_every_group_is_the_gradient_of_the_kl(name, wrap):
    model, _ = MODELS[name]()
    whole = ConcreteDropout(model) if wrap else model
    objective.model_kl(whole, 0.3).backward()
    groups = objective.parameter_groups(whole, prior_length_scale=0.3, size=50, loss="nll")
    names = [n for group in groups for n in group["names"]]
    assert sorted(names) == sorted(dict(whole.named_parameters()))
    for group in groups:
        for n, parameter in zip(group["names"], group["params"], strict=True):
            if ".logits." not in f".{n}":
                torch.testing.assert_close(group["weight_decay"] * parameter.detach(), parameter.grad / 50)
    torch.optim.SGD(groups, lr=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_the_documented_loss_of_learned_rates_works_and_equals_that_of_the_wrapper(name):
    model, _ = MODELS[name]()
    wrapped = ConcreteDropout(model)
    with torch.no_grad():
        for k, logit in enumerate(wrapped.logits.values()):
            logit.add_(0.1 * k)
    outer, inner = objective.model_kl(wrapped, 0.3), objective.model_kl(model, 0.3, rates=wrapped.rates())
    torch.testing.assert_close(outer, inner)
    parts = torch.autograd.grad(outer, list(wrapped.logits.values()), retain_graph=True)
    assert all(float(g.abs()) > 0.0 for g in parts)
    with torch.no_grad():  # the same by hand, written out for the output mask
        rate = wrapped.rates()[OUTPUT[name][1]]
        square = model.get_parameter(OUTPUT[name][0]).square().sum()
        slope = 0.5 * 0.09 * square / (1 - rate) ** 2 + OUTPUT[name][2] * torch.log(rate / (1 - rate))
    logit = wrapped.logits[OUTPUT[name][1].replace(".", "/")]
    (found,) = torch.autograd.grad(outer, logit)
    torch.testing.assert_close(found, (slope * rate * (1 - rate)).reshape(found.shape))


def test_learned_logits_are_no_weights():
    wrapped = ConcreteDropout(bnn.LSTM(2, 3, dropout=0.2))
    assert all("logits" not in term.name for term in objective.weight_terms(wrapped))
    last = objective.parameter_groups(nn.ModuleDict({"net": wrapped}), prior_length_scale=0.1, size=10)[-1]
    assert last["weight_decay"] == 0.0
    assert sorted(last["names"]) == ["net.logits.hidden_l0", "net.logits.input_l0"]


def test_the_rate_of_a_term_is_what_was_learned():
    wrapped = ConcreteDropout(bnn.LSTM(2, 3, dropout=0.2))
    with torch.no_grad():
        wrapped.logits["hidden_l0"].copy_(torch.logit(torch.tensor(0.45)))
    rates = {t.mask: t.rate for t in objective.weight_terms(wrapped) if t.mask}
    assert rates["model.hidden_l0"] == pytest.approx(0.45)


def test_a_frozen_weight_counts_where_its_rate_is_learned():
    net = bnn.GRU(2, 3, dropout=schemes.gal(hidden=0.2))
    net.weight_hh_l0.requires_grad_(False)
    assert "weight_hh_l0" not in [t.name for t in objective.weight_terms(net)]
    wrapped = ConcreteDropout(net)
    rate = wrapped.rates()["hidden_l0"]
    expected = objective.kl(net.weight_hh_l0, rate, 0.3, units=9) + sum(
        objective.kl(p, 0.0, 0.3) for n, p in net.named_parameters() if n != "weight_hh_l0"
    )
    torch.testing.assert_close(objective.model_kl(wrapped, 0.3), expected)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = bnn.GRU(2, 3)
        self.mean = nn.Linear(3, 1)
        self.noise = nn.Linear(3, 1)
        self.dropout = bnn.Dropout(0.5)


def test_a_dropout_that_acts_on_no_known_weight_is_not_passed_over():
    with pytest.raises(ValueError, match=r"'dropout' acts on no weight that is known.*behind=\{weight: 'dropout'\}"):
        objective.parameter_groups(TwoHeads(), prior_length_scale=0.1, size=10)


def test_one_mask_before_two_weights_has_one_entropy():
    net = TwoHeads()
    behind = {"mean.weight": "dropout", "noise.weight": "dropout"}
    terms = {t.name: t for t in objective.weight_terms(net, behind)}
    assert (terms["mean.weight"].units, terms["noise.weight"].units) == (3, 0)
    assert terms["noise.weight"].rate == 0.5
    square = {n: 0.5 * 0.04 * p.square().sum() for n, p in net.named_parameters()}
    expected = sum(v * (2.0 if n in behind else 1.0) for n, v in square.items()) - 3 * math.log(2)
    torch.testing.assert_close(objective.model_kl(net, 0.2, behind=behind), expected)


def test_a_module_may_say_itself_what_its_dropout_masks():
    class Told(TwoHeads):
        def weights_behind(self) -> dict[str, str]:
            return {"mean.weight": "dropout"}

    terms = {t.name: t.mask for t in objective.weight_terms(nn.ModuleDict({"a": Told()}))}
    assert (terms["a.mean.weight"], terms["a.noise.weight"]) == ("a.dropout.output", None)


def test_a_dropout_that_stands_twice_in_a_sequence_is_seen_twice():
    dropout = bnn.Dropout(0.5)
    terms = objective.weight_terms(nn.Sequential(dropout, nn.Linear(3, 3), dropout, nn.Linear(3, 1)))
    assert [(t.name, t.mask) for t in terms if t.mask] == [("1.weight", "0.output"), ("3.weight", "0.output")]


def test_a_decoder_registered_before_the_embedding_that_it_shares():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 7, bias=False)
            self.words = bnn.Embedding(7, 3, dropout=schemes.gal(word=0.1))
            self.words.weight = self.head.weight

    terms = [(t.name, t.mask) for t in objective.weight_terms(Backwards())]
    assert terms == [("head.weight", "words.word"), ("head.weight", None)]  # looked up with a mask, decodes without


def test_two_masks_in_one_product_are_refused():
    net = nn.ModuleDict({"dropout": bnn.Dropout(0.5), "gru": bnn.GRU(2, 3, dropout=0.2)})
    with pytest.raises(ValueError, match=r"sees two masks in one product, 'gru\.input_l0'"):
        objective.weight_terms(net, {"gru.weight_ih_l0": "dropout"})


def test_unknown_masks_name_the_way_out():
    net = nn.ModuleDict({"gru": bnn.GRU(2, 3, dropout=0.2)})
    with pytest.raises(ValueError, match=r"act on no weight of the model; those are .*use behind="):
        objective.model_kl(net, 1.0, rates={"dropout.output": torch.tensor(0.1)})
    wrapped = ConcreteDropout(net)
    with pytest.raises(ValueError, match=r"leave out rates=, or pass the model that it wraps"):
        objective.model_kl(wrapped, 1.0, rates=wrapped.rates())


def test_a_model_without_parameters_has_no_kl():
    with pytest.raises(ValueError, match="this Tanh has no trainable parameter"):
        objective.model_kl(nn.Tanh(), 1.0)
