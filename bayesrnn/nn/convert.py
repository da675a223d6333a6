"""From torch.nn's layers to ours and back: weights are kept, and shared where they were shared."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.layers import GRU, LSTM, RNN
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Scheme, Site, as_scheme

__all__ = ["convert", "plain_names", "revert"]

Make = Callable[[nn.Module], nn.Module | None]
_RECURRENT: dict[type[nn.Module], type[Recurrent]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


def convert(module: nn.Module, dropout: float | Scheme) -> nn.Module:
    r"""Return a copy of `module` whose torch.nn layers are ours, with the masks of a scheme.

    `nn.LSTM`, `nn.GRU`, `nn.RNN` and `nn.Embedding` take the scheme. `nn.Dropout` takes the rate and the span of the
    site `output` where the scheme has it; else it keeps its own rate, and one mask for all steps. Without masks the
    copy computes what the original computes in eval mode. Weights, shared weights, training flags, devices and types
    are kept. Layers of other types stay as they are, also `nn.LSTMCell`; `audit` tells what is left without masks.
    Embeddings and dropouts have the rows where the recurrent layers (or, without any, the attention) have them, and
    first where there is neither: set their `batch_first` where that is wrong. One sequence is one call: of a layer that
    is called step by step, or a Dropout used at several places, `predict` warns.

    Args:
        module: A model, or one layer.
        dropout: A rate p (= ``schemes.gal(p)``) or a scheme.

    Returns:
        The copy; the original is not touched.

    Raises:
        ValueError: If there is nothing to convert; if a layer has projections, parametrizations, or a dropout between
            layers that the scheme does not replace; or if recurrent layers disagree on `batch_first`.
        TypeError: If `module` is not a module, or a layer subclasses one of torch's recurrent layers.

    Example:
        >>> import torch, bayesrnn as br
        >>> net = br.convert(torch.nn.Sequential(torch.nn.LSTM(3, 8)), 0.25)
        >>> net[0]
        LSTM(3, 8, dropout=gal(word=0.25, input=0.25, hidden=0.25, output=0.25))
    """
    _check_module(module)
    scheme = as_scheme(dropout)
    found = list(module.modules())
    convertible = [m for m in found if type(m) in (*_RECURRENT, nn.Embedding, nn.Dropout)]
    if not convertible and not any(_subclasses_recurrent(m) for m in found):
        already = sorted({type(m).__name__ for m in found if isinstance(m, MaskedModule)})
        hint = f" It holds {already}, which are converted already." if already else ""
        raise ValueError(
            f"{type(module).__name__} holds no nn.LSTM, nn.GRU, nn.RNN, nn.Embedding or nn.Dropout to convert.{hint}"
        )
    batch_first = _batch_first(found)
    return _replaced(copy.deepcopy(module), lambda old: _ours(old, scheme, batch_first))


def revert(module: nn.Module) -> nn.Module:
    """Return a copy of `module` with torch.nn's layers in the place of ours, weights kept.

    Masks have no place in torch's layers: recurrent layers and embeddings lose their scheme, `Dropout` becomes an
    `nn.Dropout` of the same rate, which draws a new mask for every element.

    Raises:
        ValueError: If there is nothing to revert.
        TypeError: If `module` is not a module.

    Example:
        >>> revert(LSTM(3, 8, dropout=0.25))
        LSTM(3, 8)
    """
    _check_module(module)
    if not any(isinstance(m, MaskedModule) for m in module.modules()):
        raise ValueError(f"{type(module).__name__} holds no layer of bayesrnn to revert.")
    return _replaced(copy.deepcopy(module), _theirs)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state_dict of a model with wrapped, dropped weights under the names that the bare layers have.

    AWD-LSTM and its descendants keep the weights under ``rnns.0.module.weight_hh_l0_raw`` (and a masked copy under
    ``rnns.0.module.weight_hh_l0``); here they become ``rnns.0.weight_hh_l0``, the raw value winning.

    Raises:
        ValueError: If two entries would get one name.

    Example:
        >>> import torch
        >>> list(plain_names({"rnns.0.module.weight_hh_l0_raw": torch.zeros(4, 1)}))
        ['rnns.0.weight_hh_l0']
    """
    found: dict[str, Tensor] = {}
    raw: set[str] = set()
    for key, value in state.items():
        parts = [part for part in key.removesuffix("_raw").split(".") if part != "module"]
        name, is_raw = ".".join(parts), key.endswith("_raw")
        if name in found and is_raw == (name in raw):
            raise ValueError(f"two entries of the state_dict would both be called {name!r}; the second is {key!r}.")
        if name not in found or is_raw:
            found[name] = value
        if is_raw:
            raw.add(name)
    return found


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, but {type(module).__name__} was given.")


def _subclasses_recurrent(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase) and type(module) not in _RECURRENT


def _batch_first(modules: list[nn.Module]) -> bool:
    """Say where the recurrent layers have their rows; embeddings and dropouts around them have them there too.

    Where there is none, attention tells; where there is neither, rows come first.
    """
    seen = {m.batch_first for m in modules if isinstance(m, nn.RNNBase | Recurrent)}
    seen = seen or {m.batch_first for m in modules if isinstance(m, nn.MultiheadAttention)}
    if len(seen) > 1 and any(type(m) in (nn.Embedding, nn.Dropout) for m in modules):
        raise ValueError(
            "the layers of this model disagree on batch_first, so it is unclear where the rows of its "
            "embeddings and dropouts are. Convert its parts one by one."
        )
    return seen.pop() if seen else True


def _replaced(module: nn.Module, make: Make) -> nn.Module:
    """Replace every module for which `make` returns another; one that occurs twice stays one."""
    made: dict[int, nn.Module] = {}

    def replacement(old: nn.Module) -> nn.Module:
        if id(old) not in made:
            new = make(old)
            made[id(old)] = old if new is None else _dressed(new, old)
        return made[id(old)]

    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and replacement(child) is not child:
                setattr(parent, name, replacement(child))
    return replacement(module)


def _dressed(new: nn.Module, old: nn.Module) -> nn.Module:
    """Give `new` the parameters, the mode and the hooks of `old`."""
    for name, parameter in old.named_parameters(recurse=False):
        setattr(new, name, parameter)
    for hooks in _HOOKS:
        setattr(new, hooks, getattr(old, hooks))
    new.training = old.training
    if isinstance(new, nn.RNNBase | Recurrent):
        new.flatten_parameters()
    return new


def _ours(old: nn.Module, scheme: Scheme, batch_first: bool) -> nn.Module | None:
    if isinstance(old, MaskedModule):
        return None
    if isinstance(old, nn.RNNBase):
        return _our_recurrent(old, scheme)
    if type(old) is nn.Embedding:
        return Embedding(
            old.num_embeddings, old.embedding_dim, old.padding_idx, dropout=scheme, batch_first=batch_first,
            **_embedding_options(old),
        )  # fmt: skip
    if type(old) is nn.Dropout:
        output = next((p for p in scheme.placements if p.site == "output"), None)
        if output is None:
            return Dropout(old.p, batch_first=batch_first)
        return Dropout(output.rate, output.span, batch_first=batch_first)
    return None


def _our_recurrent(old: nn.RNNBase, scheme: Scheme) -> Recurrent:
    if old.proj_size:
        raise ValueError(f"an LSTM with proj_size={old.proj_size} cannot be converted: br.nn.LSTM has no projection.")
    if parametrize.is_parametrized(old) or set(old._flat_weights_names) != {n for n, _ in old.named_parameters()}:
        raise ValueError(
            f"the weights of this {type(old).__name__} are computed from others (weight_norm or the like). "
            "Remove the parametrization first: torch.nn.utils.parametrize.remove_parametrizations."
        )
    kind = _RECURRENT.get(type(old))
    if kind is None:
        raise TypeError(
            f"{type(old).__name__} subclasses a recurrent layer of torch and may compute something else. "
            "Replace it by nn.LSTM, nn.GRU or nn.RNN, or write it with br.nn's layers."
        )
    sites: list[Site] = [p.site for p in scheme.placements]
    if old.dropout and old.num_layers > 1 and "input" not in sites:
        raise ValueError(
            f"this {type(old).__name__} drops between its layers at rate {old.dropout:g}, a new mask at each step, and "
            f"{scheme} has no site 'input' to take its place. Set its dropout to 0.0 first, or choose a scheme with "
            "the site, such as schemes.gal or schemes.zaremba."
        )
    make: Callable[..., Recurrent] = kind
    return make(old.input_size, old.hidden_size, dropout=scheme, **_recurrent_options(old))


def _theirs(old: nn.Module) -> nn.Module | None:
    if isinstance(old, Recurrent):
        kind = next(theirs for theirs, ours in _RECURRENT.items() if isinstance(old, ours))
        return kind(old.input_size, old.hidden_size, **_recurrent_options(old))
    if isinstance(old, Embedding):
        return nn.Embedding(old.num_embeddings, old.embedding_dim, old.padding_idx, **_embedding_options(old))
    return nn.Dropout(old.p) if isinstance(old, Dropout) else None


def _recurrent_options(old: nn.RNNBase | Recurrent) -> dict[str, Any]:
    # Made on no device: the parameters come from the old layer, and no random numbers are drawn.
    options = {
        "num_layers": old.num_layers, "bias": old.bias, "batch_first": old.batch_first,
        "bidirectional": old.bidirectional, "device": "meta",
    }  # fmt: skip
    return options | ({"nonlinearity": old.nonlinearity} if isinstance(old, nn.RNN | RNN) else {})


def _embedding_options(old: nn.Embedding) -> dict[str, Any]:
    names = ("max_norm", "norm_type", "scale_grad_by_freq", "sparse")
    return {name: getattr(old, name) for name in names} | {"_weight": old.weight.data}
