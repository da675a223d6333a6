"""From torch.nn's layers to ours and back: weights are kept, and shared where they were shared."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from bayesrnn.nn.concrete import ConcreteDropout
from bayesrnn.nn.copying import copied, where
from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.layers import GRU, LSTM, RNN
from bayesrnn.nn.layouts import unwatched, watch
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Scheme, Site, as_scheme, none

__all__ = ["convert", "revert"]

Make = Callable[[nn.Module, str], nn.Module | None]
_RECURRENT: dict[type[nn.Module], Any] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


def convert(module: nn.Module, dropout: float | Scheme) -> nn.Module:
    r"""Return a copy of `module` whose torch.nn layers are ours, with the masks of a scheme.

    `nn.LSTM`, `nn.GRU`, `nn.RNN` and `nn.Embedding` take the scheme. `nn.Dropout` takes the rate and the span of the
    site `output` where the scheme has it; else it keeps its own rate, with one mask for all steps. Without masks the
    copy computes what the original computes in eval mode. Weights, shared weights, training flags, devices and types
    are kept; a result of an earlier pass that a module stored (attention weights) is copied without its gradient.
    Layers of other types stay as they are, also `nn.LSTMCell`; `audit` lists what is left without masks.

    Embeddings and dropouts have their rows where the recurrent layers have them (without any, where attention has
    them), and first where there is neither: set their `batch_first` where that is wrong.

    Args:
        module: A model, or one layer.
        dropout: A rate p (= ``schemes.gal(p)``) or a scheme.

    Returns:
        The copy; the original is not touched.

    Raises:
        ValueError: If there is nothing to convert; if a layer has projections, weights that are computed from others
            (weight_norm, parametrizations, pruning), or a dropout between layers that the scheme does not replace; if
            recurrent layers disagree on `batch_first`; or if a module holds something that cannot be copied.
        TypeError: If `module` is not a module, or a layer subclasses one of torch's recurrent layers.

    Example:
        >>> import torch, bayesrnn as br
        >>> net = br.convert(torch.nn.Sequential(torch.nn.LSTM(3, 8)), 0.25)
        >>> net[0]
        LSTM(3, 8, dropout=gal(word=0.25, input=0.25, hidden=0.25, output=0.25))
    """
    _check_module(module)
    scheme = as_scheme(dropout)
    parts = list(module.modules())
    if not any(_is_convertible(m) for m in parts):
        already = sorted({type(m).__name__ for m in parts if isinstance(m, MaskedModule)})
        hint = f" It holds {already}, which are converted already." if already else ""
        raise ValueError(
            f"{type(module).__name__} holds no nn.LSTM, nn.GRU, nn.RNN, nn.Embedding or nn.Dropout to convert.{hint}"
        )
    batch_first = _batch_first(parts)
    new = _replaced(copied(module), lambda old, name: _ours(old, name, scheme, batch_first))
    if not isinstance(new, MaskedModule):
        watch(new, [m for m in new.modules() if isinstance(m, Dropout | Embedding) and m.current is None], batch_first)
    return _described(new, scheme)


def revert(module: nn.Module) -> nn.Module:
    """Return a copy of `module` with torch.nn's layers in the place of ours, weights kept.

    Without masks the copy computes the same: in eval mode it is the deterministic pass. Recurrent layers and embeddings
    lose their scheme; `Dropout` becomes an `nn.Dropout` of the same rate, which draws a new mask for every element. A
    ready-made model of `br.models` keeps its class, and its scheme becomes `schemes.none()`.

    Raises:
        ValueError: If there is nothing to revert, rates are being learned by a `ConcreteDropout`, or a module holds
            something that cannot be copied.
        TypeError: If `module` is not a module.

    Example:
        >>> revert(LSTM(3, 8, dropout=0.25))
        LSTM(3, 8)
    """
    _check_module(module)
    if not any(isinstance(m, MaskedModule) for m in module.modules()):
        raise ValueError(f"{type(module).__name__} holds no layer of bayesrnn to revert.")
    learning = [name for name, m in module.named_modules() if isinstance(m, ConcreteDropout)]
    if learning:
        raise ValueError(
            f"a ConcreteDropout ({learning[0] or 'the module itself'}) learns the rates of its layers, but torch's "
            "layers have no masks. Revert the model that it wraps: revert(wrapped.model)."
        )
    return _described(unwatched(_replaced(copied(module), _theirs)), none())


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, but {type(module).__name__} was given.")


def _described(module: nn.Module, scheme: Scheme) -> nn.Module:
    """Set the scheme that `config` and `save` of a ready-made model write down."""
    for part in module.modules():
        if isinstance(vars(part).get("scheme"), Scheme) and not isinstance(part, MaskedModule):
            part.scheme = scheme  # type: ignore[assignment]
    return module


def _is_convertible(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase) or type(module) in (nn.Embedding, nn.Dropout):
        return True
    return isinstance(module, nn.Embedding) and parametrize.is_parametrized(module)


def _batch_first(modules: list[nn.Module]) -> bool:
    """Return whether rows come first: as in the recurrent layers, else as in the attention, else yes."""
    seen = {m.batch_first for m in modules if isinstance(m, nn.RNNBase | Recurrent)}
    seen = seen or {m.batch_first for m in modules if isinstance(m, nn.MultiheadAttention)}
    if len(seen) > 1 and any(type(m) in (nn.Embedding, nn.Dropout) for m in modules):
        raise ValueError(
            "the layers of this model disagree on batch_first, so it is unclear where its embeddings and dropouts have "
            "their rows. Convert its parts one by one."
        )
    return seen.pop() if seen else True


def _replaced(module: nn.Module, make: Make) -> nn.Module:
    """Replace every module for which `make` returns another; one that occurs twice stays one."""
    names = {part: name for name, part in module.named_modules()}
    replacements: dict[nn.Module, nn.Module] = {}

    def replacement(old: nn.Module) -> nn.Module:
        if old not in replacements:
            new = make(old, names[old])
            replacements[old] = old if new is None else _dressed(new, old)
        return replacements[old]

    for parent in list(names):
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


def _ours(old: nn.Module, name: str, scheme: Scheme, batch_first: bool) -> nn.Module | None:
    if not _is_convertible(old):
        return None
    if isinstance(old, nn.RNNBase | nn.Embedding):
        _check_own_weights(old, name)
    if isinstance(old, nn.RNNBase):
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


def _check_own_weights(old: nn.RNNBase | nn.Embedding, name: str) -> None:
    """Refuse a layer whose weights are computed from others before each pass: its copy would no longer compute them."""
    weights = old._flat_weights_names if isinstance(old, nn.RNNBase) else ["weight"]
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


def _our_recurrent(old: nn.RNNBase, name: str, scheme: Scheme) -> Recurrent:
    place = where(old, name)
    if old.proj_size:
        raise ValueError(
            f"{place} has proj_size={old.proj_size} and cannot be converted: br.nn.LSTM has no projection. Build it "
            "with proj_size=0 and a Linear layer behind it."
        )
    kind = _RECURRENT.get(type(old))
    if kind is None:
        raise TypeError(
            f"{place} subclasses a recurrent layer of torch and may compute something else. "
            "Replace it by nn.LSTM, nn.GRU or nn.RNN, or write it with br.nn's layers."
        )
    sites: list[Site] = [p.site for p in scheme.placements]
    if old.dropout and old.num_layers > 1 and "input" not in sites:
        raise ValueError(
            f"{place} drops between its layers at rate {old.dropout:g}, a new mask at each step, and {scheme} has no "
            "site 'input' to take its place. Set its dropout to 0.0 first, or choose a scheme with the site, such as "
            "schemes.gal or schemes.zaremba."
        )
    return kind(old.input_size, old.hidden_size, dropout=scheme, **_recurrent_options(old))


def _theirs(old: nn.Module, name: str) -> nn.Module | None:
    if isinstance(old, Recurrent):
        kind = next(theirs for theirs, ours in _RECURRENT.items() if isinstance(old, ours))
        return kind(old.input_size, old.hidden_size, **_recurrent_options(old))
    if isinstance(old, Embedding):
        return nn.Embedding(old.num_embeddings, old.embedding_dim, old.padding_idx, **_embedding_options(old))
    return nn.Dropout(old.p) if isinstance(old, Dropout) else None


def _recurrent_options(old: nn.RNNBase | Recurrent) -> dict[str, Any]:
    # on no device: the parameters come from the old layer, and no random numbers are drawn
    options = {
        "num_layers": old.num_layers, "bias": old.bias, "batch_first": old.batch_first,
        "bidirectional": old.bidirectional, "device": "meta",
    }  # fmt: skip
    return options | ({"nonlinearity": old.nonlinearity} if isinstance(old, nn.RNN | RNN) else {})


def _embedding_options(old: nn.Embedding) -> dict[str, Any]:
    names = ("max_norm", "norm_type", "scale_grad_by_freq", "sparse")
    return {name: getattr(old, name) for name in names} | {"_weight": old.weight.data}
