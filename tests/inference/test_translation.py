"""Translation against enumeration of every sentence, greedy loops and `predict`."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import bayesrnn as br
from bayesrnn.inference.beam import Beams
from bayesrnn.inference.translation import translate, translate_draws
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound

SOURCE = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
WORDS, END = (3, 4, 5), 2


def model(dropout: object = 0.3, **options: object) -> br.models.EncoderDecoder:
    torch.manual_seed(0)
    made = br.models.EncoderDecoder(9, 6, 8, 8, dropout=dropout, **options)  # type: ignore[arg-type]
    for parameter in made.parameters():
        nn.init.uniform_(parameter, -1, 1)
    with torch.no_grad():
        made.output_bias[END] -= 2.0  # or the shortest translation is always the best
    return made


def every_sentence(most: int) -> torch.Tensor:
    found = [(*words, END) for count in range(most) for words in itertools.product(WORDS, repeat=count)]
    return torch.tensor([[*sentence, *[0] * (most - len(sentence))] for sentence in found])


@pytest.mark.parametrize("draws", [0, 16])
@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sentences(power: float, draws: int) -> None:
    net, all_ = model(), every_sentence(4)
    found = translate(net, SOURCE, draws=draws, beam=200, length_penalty=power, max_length=4)
    for row in range(2):
        known = torch.cat([torch.ones(len(all_), 1, dtype=torch.long), all_[:, :-1]], 1)
        known = known.masked_fill(all_ == 0, 0)
        sources = SOURCE[row : row + 1].expand(len(all_), -1)
        judged = br.predict(net, sources, known, draws=draws, sequence_ids=torch.full((len(all_),), row), seed=0) \
            if draws else br.predict(net, sources, known, draws=0)  # fmt: skip
        inside, lengths = all_ != 0, (all_ != 0).sum(1)
        sums = judged.log_prob(all_).masked_fill(~inside, 0).sum(1)
        best = int((sums / lengths**power).argmax())
        assert found.tokens[row].tolist() == all_[best, : found.tokens.shape[1]].tolist()
        assert float(found.token_log_prob[row].sum()) == pytest.approx(float(sums[best]), abs=1e-4)


def test_translations_are_scored_as_predict_scores_them() -> None:
    net = model()
    target = torch.tensor([[3, 4, 3, END], [5, END, 0, 0]])
    known = torch.tensor([[1, 3, 4, 3], [1, 5, 0, 0]])
    found = translate(net, SOURCE, target, draws=32, seed=3)
    judged = br.predict(net, SOURCE, known, draws=32, seed=3)
    inside = target != 0
    torch.testing.assert_close(found.token_log_prob[inside], judged.log_prob(target)[inside], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.entropy[inside], judged.entropy[inside], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.epistemic[inside], judged.epistemic[inside], rtol=1e-3, atol=1e-5)
    assert found.lengths.tolist() == [4, 2]
    for row, steps in enumerate((4, 2)):  # the sentence under one mask: a product per draw, then the mean
        products = [
            math.prod(float(p[row, t, target[row, t]]) for t in range(steps)) for p in judged.draws
        ]  # fmt: skip
        assert float(found.log_prob[row]) == pytest.approx(math.log(sum(products) / 32), abs=1e-4)
    assert float(found.epistemic[~inside].abs().sum()) == 0.0


@pytest.mark.parametrize("scheme", [br.schemes.gal(0.3), br.schemes.zaremba(0.3)], ids=str)
def test_every_draw_translates_by_a_greedy_loop(scheme: br.schemes.Scheme) -> None:
    net = model(scheme).eval()
    found = translate_draws(net, SOURCE, draws=4, seed=2, sampling="independent", max_length=6)
    for draw, row in itertools.product(range(4), range(2)):
        source = SOURCE[row : row + 1, : (4, 2)[row]]
        binding = Binding(stream("independent", 2), torch.tensor([draw]), torch.tensor([row]))
        words: list[int] = []
        while not words or (words[-1] != END and len(words) < 6):
            with torch.no_grad(), bound(net, binding):
                logits = net(source, torch.tensor([[1, *words]])).logits[0, -1]
            logits[:2] = -torch.inf
            words.append(int(logits.argmax()) if len(words) < 5 else END)
        assert found[draw, row].tolist() == words + [0] * (found.shape[2] - len(words))


@pytest.mark.parametrize("beam", [1, 3])
def test_the_batch_changes_nothing(beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()
    both = translate(net, SOURCE, draws=16, beam=beam, max_length=8)
    for row in range(2):
        alone = translate(net, SOURCE[row : row + 1], draws=16, beam=beam, max_length=8, sequence_ids=[row])
        steps = int(alone.lengths[0])
        assert alone.tokens[0].tolist() == both.tokens[row, :steps].tolist()
        torch.testing.assert_close(alone.log_prob[0], both.log_prob[row], rtol=1e-4, atol=1e-5)
    packed = pack_sequence([SOURCE[0], SOURCE[1, :2]], enforce_sorted=False)
    torch.testing.assert_close(translate(net, packed, draws=16, beam=beam, max_length=8).tokens, both.tokens)
    monkeypatch.setattr("bayesrnn.inference.sentence_reader._ROWS", 1)
    monkeypatch.setattr("bayesrnn.inference.sentence_reader._NUMBERS", 1)
    torch.testing.assert_close(translate(net, SOURCE, draws=16, beam=beam, max_length=8).tokens, both.tokens)


def test_the_longest_translation_depends_on_its_own_sentence_only() -> None:
    net = model()
    with torch.no_grad():
        net.output_bias[END] -= 20.0  # no search ends by itself
    wide = nn.functional.pad(SOURCE, (0, 3))
    for beam in (1, 2):
        assert translate(net, wide, draws=16, beam=beam).lengths.tolist() == [2 * 4 + 10, 2 * 2 + 10]
        assert translate(net, wide, draws=16, beam=beam, max_length=5).lengths.tolist() == [5, 5]
        each, alone = (translate_draws(net, rows, draws=4, beam=beam) for rows in (wide, SOURCE[:1]))
        assert torch.equal(each[:, 0], alone[:, 0])
        assert (each != 0).sum(-1).unique(dim=0).tolist() == [[18, 14]]


def test_a_search_that_is_over_stays_as_it_is_while_others_go_on() -> None:
    net, most = model(), 12
    tables = torch.randn(20, most, 6, 6, generator=torch.Generator().manual_seed(0)).log_softmax(-1)

    def searched(searches: list[int]) -> torch.Tensor:
        beams = Beams(len(searches), 2, 1.0, torch.full((len(searches),), most), net, torch.device("cpu"))
        while not beams.done:
            rows = torch.tensor(searches).repeat_interleave(2)
            beams.grow(tables[rows, beams.steps, beams.last])
        return nn.functional.pad(beams.best(), (0, most - beams.best().shape[1]))

    together = searched(list(range(20)))
    assert torch.equal(together, torch.cat([searched([k]) for k in range(20)]))
    assert len({int(n) for n in (together != 0).sum(1)}) > 2


def test_the_model_and_the_random_state_are_left_alone() -> None:
    net = model().train()
    before = torch.get_rng_state()
    one, two = (translate(net, SOURCE, draws=16, seed=5, max_length=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert net.training
    assert torch.equal(one.tokens, two.tokens)
    plain = translate(net, SOURCE, draws=0, max_length=5)
    assert float(plain.epistemic.sum()) == 0.0
    assert len(plain.draw_log_probs) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": torch.tensor([[3, END], [3, 4]])},
            r"target 1 must be words and the end, 2, but \[3, 4\] was given",
        ),
        ({"target": torch.tensor([[1, END], [3, END]])}, r"target 0 must be .* no start \(1\) in front"),
        ({"target": torch.tensor([[3, END]])}, r"of each of the 2 sources, \(rows, steps\), but \(1, 2\)"),
        (
            {"target": torch.tensor([[5, 0, END], [3, END, 0]])},
            r"target 0 must be .* \[5, 0, 2\] was given: put padding",
        ),
        ({"target": torch.tensor([[3, END, 0], [5, END, END]])}, r"target 1 must be .* \[5, 2, 2\] was given"),
        ({"target": torch.tensor([[3, 1, END], [5, 4, END]])}, r"target 0 must be .* \[3, 1, 2\] was given"),
        ({"target": torch.zeros(2, 0, dtype=torch.long)}, r"target 0 must be words and the end, 2, but \[\] was given"),
        ({"sequence_ids": [0.5, 1.5]}, "sequence_ids must be one whole number per row, but torch.float32"),
        ({"beam": 0}, "beam must be"),
        ({"length_penalty": -1.0}, "length_penalty divides"),
        ({"max_length": 0}, "max_length must be"),
    ],
)
def test_what_cannot_be_translated_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        translate(model(), SOURCE, draws=16, **options)


@pytest.mark.filterwarnings("ignore::bayesrnn.inference._audit.AuditWarning")
def test_models_and_sources_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing in this model is stochastic"):
        translate(model(0.0), SOURCE, draws=16)
    with pytest.raises(ValueError, match="source sentence 0 is empty"):
        translate(model(), torch.zeros(1, 3, dtype=torch.long), draws=16)
    with pytest.raises(ValueError, match="check that the vocabulary is the model's"):
        translate(model(), SOURCE + 9, draws=16)
    with pytest.raises(ValueError, match=r"source must be a tensor of token numbers .* but torch.bool"):
        translate(model(), SOURCE > 0, draws=16)
    with pytest.raises(ValueError, match="but this model masks weights, whose masks belong to one draw"):
        translate(model(br.schemes.weight_drop(0.3)), SOURCE, draws=16)
    broken = model()
    with torch.no_grad():
        broken.output_bias[3] = math.nan
    for target in (None, torch.tensor([[3, END], [4, END]])):
        with pytest.raises(ValueError, match="the model's log probabilities are NaN"):
            translate(broken, SOURCE, target, draws=16)
    with pytest.raises(TypeError, match=r"translate takes an encoder-decoder .* but a Linear was given"):
        translate(nn.Linear(3, 3), SOURCE, draws=0)
    with pytest.raises(ValueError, match="draws must be at least 2"):
        translate_draws(model(), SOURCE, draws=1)
