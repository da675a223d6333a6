"""The encoder-decoder against torch's own layers, and its masks against a plain loop."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence

import bayesrnn as br
from bayesrnn.masks import Binding, stream
from bayesrnn.models import EncoderDecoder
from bayesrnn.nn.masked import bound, masked_modules

SOURCE = torch.tensor([[3, 4, 5, 4, 2], [6, 3, 2, 0, 0]])
TARGET = torch.tensor([[1, 5, 3, 5], [1, 4, 0, 0]])


def model(one_vocabulary: bool = False, **options: object) -> EncoderDecoder:
    torch.manual_seed(0)
    made = EncoderDecoder(8, None if one_vocabulary else 7, 5, 6, **options)  # type: ignore[arg-type]
    for parameter in made.parameters():
        nn.init.uniform_(parameter, -0.8, 0.8)
    return made.eval()


def attended(net: EncoderDecoder, hidden: torch.Tensor, values: torch.Tensor, steps: int) -> torch.Tensor:
    """The features of one row from h (T, H) and values (S, 2 H), written out."""
    rows = []
    for h in hidden:
        weights = torch.softmax(torch.stack([h @ net.keys.weight @ v for v in values[:steps]]), 0)
        context = sum(w * v for w, v in zip(weights, values))
        rows.append(torch.tanh(net.combine.weight @ torch.cat([context, h])))
    return torch.stack(rows)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("cell", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_the_deterministic_pass_is_torchs(cell: str, kind: type[nn.Module], layers: int) -> None:
    net = model(cell=cell, num_layers=layers, dropout=0.4, shared_embeddings=False)
    encoder = kind(5, 6, layers, batch_first=True, bidirectional=True)
    decoder = kind(5, 6, layers, batch_first=True)
    encoder.load_state_dict(net.encoder.state_dict())
    decoder.load_state_dict(net.decoder.state_dict())
    found = net(SOURCE, TARGET)
    for row, (steps, known) in enumerate(((5, 4), (3, 2))):
        read = F.embedding(SOURCE[row : row + 1, :steps], net.source_embedding.weight)
        values, state = encoder(read)
        parts = state if cell == "lstm" else (state,)
        first = []
        for bridge, part in zip(net.bridges, parts):
            both = [torch.cat([part[2 * layer, 0], part[2 * layer + 1, 0]]) for layer in range(layers)]
            first.append(torch.stack([torch.tanh(bridge(b)) for b in both])[:, None])
        told = F.embedding(TARGET[row : row + 1, :known], net.embedding.weight)
        hidden, _ = decoder(told, tuple(first) if cell == "lstm" else first[0])
        features = attended(net, hidden[0], values[0], steps)
        logits = features @ net.output_weight.T + net.output_bias
        torch.testing.assert_close(found.logits[row, :known], logits.log_softmax(-1))


@pytest.mark.parametrize("one_vocabulary", [True, False])
def test_one_set_of_masks_holds_over_the_sentence_in_both_halves(one_vocabulary: bool) -> None:
    """Masks of one draw by hand: words by type, inputs, states and outputs the same at every step."""
    scheme = br.schemes.gal(word=0.4, input=0.3, hidden=0.4, output=0.5, gates="tied")
    net = model(one_vocabulary, dropout=scheme)
    binding = Binding(stream("independent", 3), torch.tensor([5]), torch.tensor([11]))
    masks = {name: layer.masks_of(binding.at(name), 1, 0) for name, layer in
             (("encoder", net.encoder), ("decoder", net.decoder))}  # fmt: skip
    source, target = SOURCE[:1], TARGET[:1]
    with bound(net, binding):
        found = net(source, target)
    with bound(net, binding):
        ones = net.value_dropout(torch.ones(1, 1, 12))[0, 0]
        outs = net.output_dropout(torch.ones(1, 1, 5))[0, 0]
        tables = [net.embedding, net.embedding if one_vocabulary else net.source_embedding]
    every = []
    for table in tables:
        with bound(net, binding):
            every.append(table(torch.arange(table.num_embeddings)[None])[0])
    for table, masked in zip(tables, every):  # a type is dropped or kept as a whole
        kept = masked.abs().sum(1) > 0
        assert 0 < int(kept.sum()) < len(kept)
        torch.testing.assert_close(masked[1:][kept[1:]], table.weight[1:][kept[1:]] / 0.6)

    def run(layer: nn.Module, own: dict[str, torch.Tensor], x: torch.Tensor, end: str, state: tuple) -> tuple:
        wi, wh, bi, bh = (getattr(layer, f"{k}_l0{end}") for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, c = state
        hs = []
        for step in x.flip(0) if end else x:
            gates = wi @ (step * own[f"input_l0{end}"][0]) + wh @ (h * own[f"hidden_l0{end}"][0]) + bi + bh
            i, f, g, o = gates.chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            hs.append(h)
        return torch.stack(hs[::-1] if end else hs), (h, c)

    zero = torch.zeros(6), torch.zeros(6)
    ahead, last = run(net.encoder, masks["encoder"], every[1][source[0]], "", zero)
    back, first = run(net.encoder, masks["encoder"], every[1][source[0]], "_reverse", zero)
    values = torch.cat([ahead, back], 1) * ones
    begin = tuple(torch.tanh(b(torch.cat(both))) for b, both in zip(net.bridges, zip(last, first)))
    hidden, _ = run(net.decoder, masks["decoder"], every[0][target[0]], "", begin)
    features = attended(net, hidden, values, 5) * outs
    logits = features @ net.embedding.weight.T + net.output_bias
    torch.testing.assert_close(found.logits[0], logits.log_softmax(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scheme", [br.schemes.gal(0.4), br.schemes.zaremba(0.4)], ids=str)
@pytest.mark.parametrize("one_vocabulary", [True, False])
def test_reading_on_token_by_token_has_the_masks_of_one_call(one_vocabulary: bool, scheme: br.schemes.Scheme) -> None:
    net = model(one_vocabulary, dropout=scheme)
    binding = Binding(stream("stratified", 0), torch.arange(3), torch.tensor([4, 9]))
    source, target = SOURCE.repeat(3, 1), TARGET.repeat(3, 1)
    with bound(net, binding):
        whole = net(source, target)
    with bound(net, binding):
        encoded = net.encode(source)
    state = None
    for step in range(2):
        with bound(net, binding.window(step, step, "stream")):
            features, state = net.decode(target[:, step : step + 1], encoded, state)
        logits = net.logits(features)[:, 0].log_softmax(-1)
        torch.testing.assert_close(logits, whole.logits[:, step], rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing() -> None:
    net = model(dropout=0.3)
    wide = F.pad(SOURCE, (0, 3)), F.pad(TARGET, (0, 2))
    torch.testing.assert_close(net(*wide).logits[:, :4], net(SOURCE, TARGET).logits)
    torch.testing.assert_close(net(SOURCE[1:, :3], TARGET[1:, :2]).logits[0], net(SOURCE, TARGET).logits[1, :2])
    lines = pack_sequence([SOURCE[0], SOURCE[1, :3]], enforce_sorted=False)
    torch.testing.assert_close(net(lines, TARGET).logits, net(SOURCE, TARGET).logits)


def test_predict_draws_one_function_per_sentence_whatever_the_batch() -> None:
    net = model(dropout=0.4)
    both = br.predict(net, SOURCE, TARGET, draws=32, seed=1)
    alone = br.predict(net, SOURCE[1:, :3], TARGET[1:, :2], draws=32, seed=1, sequence_ids=[1])
    torch.testing.assert_close(alone.draws[:, 0], both.draws[:, 1, :2], rtol=1e-4, atol=1e-6)
    assert float(both.epistemic.min()) > 0
    one = br.predict(net, SOURCE, TARGET, draws=0)
    torch.testing.assert_close(one.probabilities, net(SOURCE, TARGET).probs)


def test_fit_learns_to_turn_words_around_and_the_model_is_kept(tmp_path) -> None:
    make = torch.Generator().manual_seed(0)
    words = torch.randint(3, 8, (128, 3), generator=make)
    known = torch.cat([torch.ones(128, 1, dtype=torch.long), words.flip(1)[:, :2]], 1)
    torch.manual_seed(0)
    net = EncoderDecoder(8, None, 16, 24, dropout=0.05)
    history = br.fit(net, (words, known, words.flip(1)), epochs=20, learning_rate=2e-2, progress=False)
    assert history.train[-1] < 0.35 < history.train[0]
    br.save(net, tmp_path / "model")
    again = br.load(tmp_path / "model")
    torch.testing.assert_close(again(words, known).logits, net(words, known).logits)
    assert again.config() == net.config()


def test_lengths_keep_padding_out_of_the_loss_of_fit() -> None:
    net, target, lengths = model(), torch.tensor([[5, 3, 5, 2], [4, 2, 6, 6]]), torch.tensor([4, 2])
    filled = TARGET.masked_fill(TARGET == 0, 6)
    rows = {"source": SOURCE, "known": filled, "lengths": lengths, "target": target}
    history = br.fit(net, rows, rows, epochs=1, learning_rate=1e-12, progress=False)
    logs = net(SOURCE, TARGET).logits.gather(-1, target[..., None])[..., 0]
    exact = -torch.cat([logs[0], logs[1, :2]]).mean()
    assert history.validation[0] == pytest.approx(float(exact.detach()), rel=1e-5)
    torch.testing.assert_close(net(SOURCE, filled, lengths).logits[1, :2], net(SOURCE, TARGET).logits[1, :2])


@pytest.mark.parametrize(("shared", "weight"), [(True, "embedding.weight"), (False, "output_weight")])
def test_every_site_acts_and_weights_are_known(shared: bool, weight: str) -> None:
    net = model(dropout=0.3, shared_embeddings=shared)
    sites = {f"{name}.{key}" for name, layer in masked_modules(net).items() for key in layer.placements()}
    recurrent = {f"{half}.{site}_l0" for half in ("encoder", "decoder") for site in ("input", "hidden")}
    recurrent |= {f"encoder.{site}_l0_reverse" for site in ("input", "hidden")}
    outputs = {"value_dropout.output", "output_dropout.output"}
    assert sites == recurrent | outputs | {"embedding.word", "source_embedding.word"}
    assert net.weights_behind() == {"keys.weight": "value_dropout", weight: "output_dropout"}
    names = dict(net.named_parameters())
    assert set(net.weights_behind()) <= set(names)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (SOURCE.float(), TARGET, r"source must be a tensor of token numbers \(rows, steps\), but torch.float32"),
        (SOURCE[0], TARGET, r"source\[None\]"),
        (SOURCE[:1], TARGET, "they have 1 and 2 rows"),
        (torch.tensor([[3, 4], [0, 0]]), TARGET, "source sentence 1 is empty.*Leave out empty lines"),
        (SOURCE[:, :0], TARGET, "source sentence 0 is empty"),
        (SOURCE[:0], TARGET[:0], r"source holds no sentence: its shape is \(0, \d+\)"),
        (SOURCE, torch.tensor([[1, 0, 4], [1, 4, 0]]), r"known sentence 0 has padding \(0\) before a token"),
        (SOURCE + 5, TARGET, "check that the vocabulary is the model's"),
    ],
)
def test_sentences_that_are_none_are_refused(source: torch.Tensor, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model()(source, target)


def test_special_tokens_are_three_of_the_vocabulary() -> None:
    for wrong in ({"padding": 1}, {"end": 7}):
        with pytest.raises(ValueError, match="three different tokens below target_size 7"):
            EncoderDecoder(8, 7, **wrong)
    with pytest.raises(ValueError, match="cell must be one of"):
        EncoderDecoder(8, 7, cell="rnn")
    with pytest.raises(TypeError, match="shared_embeddings must be True or False, but 'no'"):
        EncoderDecoder(8, 7, shared_embeddings="no")  # type: ignore[arg-type]


def test_sizes_of_numpy_are_kept(tmp_path) -> None:
    numbers = {"padding": np.int64(0), "start": np.int32(1), "end": np.int64(2), "shared_embeddings": np.False_}
    net = EncoderDecoder(np.int64(8), np.int64(7), np.int32(5), 6, dropout=np.float32(0.25), **numbers)
    br.save(net, tmp_path / "model")
    assert (
        br.load(tmp_path / "model").config()
        == EncoderDecoder(8, 7, 5, 6, dropout=0.25, shared_embeddings=False).config()
    )


def test_in_training_too_a_word_falls_in_both_languages_or_in_none() -> None:
    net = model(True, dropout=br.schemes.gal(word=0.5)).train()
    seen: list[torch.Tensor] = []
    net.embedding.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    source, target = torch.full((64, 3), 4), torch.full((64, 2), 4)
    net(source, target)
    (vectors,) = seen  # one call: two would draw two sets of masks
    kept = vectors.abs().sum(-1) > 0
    assert bool((kept == kept[:, :1]).all())
    assert 0 < int(kept[:, 0].sum()) < 64
