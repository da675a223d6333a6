"""Our layer for each of torch's, and torch's for each of ours."""

from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from bayesrnn.nn.copying import where
from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.layers import GRU, LSTM, RNN
from bayesrnn.nn.recurrence import MaskedRecurrence
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.nn.steps import GRUCell, LSTMCell, RNNCell
from bayesrnn.schemes import Scheme

_RECURRENT: dict[type[nn.Module], Any] = {
    nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN, nn.LSTMCell: LSTMCell, nn.GRUCell: GRUCell, nn.RNNCell: RNNCell,
}  # fmt: skip


def is_convertible(module: nn.Module) -> bool:
    """Whether a layer of torch has one of ours in its place, or looks as if it had."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase) or type(module) in (nn.Embedding, nn.Dropout):
        return True
    return isinstance(module, nn.Embedding) and parametrize.is_parametrized(module)


def ours(old: nn.Module, name: str, scheme: Scheme, batch_first: bool) -> nn.Module | None:
    """Return our layer in the place of one of torch's, without parameters yet; None for any other module.

    Raises:
        ValueError: If its weights are computed from others, or it has a dropout that the scheme does not replace.
        TypeError: If it subclasses one of torch's recurrent layers or cells.
    """
    if not is_convertible(old):
        return None
    if not isinstance(old, nn.Dropout):
        _check_own_weights(old, name)
    if isinstance(old, nn.RNNBase | nn.RNNCellBase):
        return _our_recurrent(old, name, scheme)
    if isinstance(old, nn.Embedding):
        return Embedding(
            old.num_embeddings, old.embedding_dim, old.padding_idx, dropout=scheme, batch_first=batch_first,
            **_embedding_options(old),
        )  # fmt: skip
    if isinstance(old, nn.Dropout):
        output = next((p for p in scheme.placements if p.site == "output"), None)
        if output is None:
            return Dropout(old.p, batch_first=batch_first)
        return Dropout(output.rate, output.span, batch_first=batch_first)
    return None


def _check_own_weights(old: nn.Module, name: str) -> None:
    """Refuse a layer whose weights are computed from others before each pass: its copy would no longer compute them."""
    cell = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if getattr(old, "bias", False) else [])]
    weights = cell if isinstance(old, nn.RNNCellBase) else getattr(old, "_flat_weights_names", ["weight"])
    own = {parameter for parameter, _ in old.named_parameters(recurse=False)}
    computed = [weight for weight in weights if weight not in own]
    if not computed:
        return
    first = computed[0]
    if parametrize.is_parametrized(old):
        fix = f"torch.nn.utils.parametrize.remove_parametrizations(layer, {first!r})"
    elif hasattr(old, f"{first}_mask"):
        fix = f"torch.nn.utils.prune.remove(layer, {first!r}), which keeps the zeros"
    elif hasattr(old, f"{first}_g"):
        fix = f"torch.nn.utils.remove_weight_norm(layer, {first!r})"
    else:
        fix = "what turns them into parameters again, such as torch.nn.utils.remove_spectral_norm"
    raise ValueError(
        f"the weights {computed} of {where(old, name)} are computed from others before each pass (weight_norm, a "
        f"parametrization, pruning or the like), so they cannot be taken over. Call {fix} for each of them first."
    )


def _our_recurrent(old: nn.RNNBase | nn.RNNCellBase, name: str, scheme: Scheme) -> MaskedRecurrence:
    place = where(old, name)
    kind = _RECURRENT.get(type(old))
    if kind is None:
        raise TypeError(
            f"{place} subclasses a recurrent layer of torch and may compute something else. "
            "Replace it by nn.LSTM, nn.GRU or nn.RNN (or their cells), or give it masks of its own: see MaskedModule."
        )
    between = isinstance(old, nn.RNNBase) and old.num_layers > 1 and old.dropout
    if between and not {"input", "between"} & set(scheme.sites):
        raise ValueError(
            f"{place} drops between its layers at rate {between:g}, a new mask at each step, and {scheme} has no "
            "site 'input' to take its place. Set its dropout to 0.0 first, or choose a scheme with the site, such as "
            "schemes.gal or schemes.zaremba."
        )
    return kind(old.input_size, old.hidden_size, dropout=scheme, **_recurrent_options(old))


def theirs(old: nn.Module, name: str) -> nn.Module | None:
    """Return torch's layer in the place of one of ours, without parameters yet; None for any other module."""
    if isinstance(old, MaskedRecurrence):
        kind = next((torchs for torchs, own in _RECURRENT.items() if isinstance(old, own)), None)
        if kind is None or getattr(old, "sum_layers", False):
            what = f"is a {type(old).__name__}" if kind is None else "sums the outputs of its layers"
            raise ValueError(
                f"{where(old, name)} {what}, and torch has no layer that computes this. Keep it: with the scheme "
                "none() or in a pass without masks it is deterministic."
            )
        return kind(old.input_size, old.hidden_size, **_recurrent_options(old))
    if isinstance(old, Embedding):
        return nn.Embedding(old.num_embeddings, old.embedding_dim, old.padding_idx, **_embedding_options(old))
    return nn.Dropout(old.p) if isinstance(old, Dropout) else None


def _recurrent_options(old: nn.RNNBase | nn.RNNCellBase | MaskedRecurrence) -> dict[str, Any]:
    # on no device: the parameters come from the old layer, and no random numbers are drawn
    names = ["bias"]
    if isinstance(old, nn.RNNBase | Recurrent):
        names += ["num_layers", "batch_first", "bidirectional"]
        names += ["proj_size"] if isinstance(old, nn.LSTM | LSTM) else []
    if isinstance(old, nn.RNN | RNN | nn.RNNCell | RNNCell):
        names.append("nonlinearity")
    return {name: getattr(old, name) for name in names} | {"device": "meta"}


def _embedding_options(old: nn.Embedding) -> dict[str, Any]:
    names = ("max_norm", "norm_type", "scale_grad_by_freq", "sparse")
    return {name: getattr(old, name) for name in names} | {"_weight": old.weight.data}
