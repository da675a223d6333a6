"""From torch.nn's layers to ours and back: weights are kept, and shared where they were shared."""

from torch import nn

from bayesrnn.nn.concrete import ConcreteDropout
from bayesrnn.nn.copying import copied, replaced
from bayesrnn.nn.counterparts import is_convertible, ours, theirs
from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.layouts import unwatched, watch
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.one_sequence import each_pass_is_one_sequence
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Scheme, as_scheme, none


def convert(module: nn.Module, dropout: float | Scheme) -> nn.Module:
    r"""Return a copy of `module` whose torch.nn layers are ours, with the masks of a scheme.

    `nn.LSTM`, `nn.GRU`, `nn.RNN`, their cells and `nn.Embedding` take the scheme. `nn.Dropout` takes the rate and the
    span of the site `output` where the scheme has it; else it keeps its own rate, with one mask for all steps. Without
    masks the copy computes what the original computes in eval mode. Weights, shared weights, training flags, devices
    and types are kept; a result of an earlier pass that a module stored (attention weights) is copied without its
    gradient.
    Layers of other types stay as they are; `audit` lists what is left without masks.

    In a model with cells (`nn.LSTMCell`, ...), whose loop over steps is in the model's own `forward`, every pass of the
    model is one sequence: cells, and the dropouts and embeddings beside them, have one mask for all their calls in it,
    or a new one at each call where the scheme has the span `step`.

    Embeddings and dropouts have their rows where the recurrent layers have them (without any, where attention has
    them), and first where there is neither: set their `batch_first` where that is wrong.

    Args:
        module: A model, or one layer.
        dropout: A rate p (= ``schemes.gal(p)``) or a scheme.

    Returns:
        The copy; the original is not touched.

    Raises:
        ValueError: If there is nothing to convert; if a layer has weights that are computed from others (weight_norm,
            parametrizations, pruning), or a dropout between layers that the scheme does not replace; if
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
    if not any(is_convertible(m) for m in parts):
        already = sorted({type(m).__name__ for m in parts if isinstance(m, MaskedModule)})
        hint = f" It holds {already}, which are converted already." if already else ""
        raise ValueError(
            f"{type(module).__name__} holds no nn.LSTM, nn.GRU, nn.RNN, a cell of them, nn.Embedding or nn.Dropout to "
            f"convert.{hint}"
        )
    batch_first = _batch_first(parts)
    new = replaced(copied(module), lambda old, name: ours(old, name, scheme, batch_first is not False))
    if not isinstance(new, MaskedModule):
        beside = [m for m in new.modules() if isinstance(m, Dropout | Embedding)]
        watch(new, [m for m in beside if m.current is None], batch_first)
        if any(type(m).stepwise for m in new.modules() if isinstance(m, MaskedModule)):
            for layer in beside:
                layer.stepwise = True
            each_pass_is_one_sequence(new)
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
        >>> from bayesrnn.nn import LSTM
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
    return _described(unwatched(replaced(copied(module), theirs)), none())


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, but {type(module).__name__} was given.")


def _described(module: nn.Module, scheme: Scheme) -> nn.Module:
    """Set the scheme that `config` and `save` of a ready-made model write down."""
    for part in module.modules():
        if isinstance(vars(part).get("scheme"), Scheme) and not isinstance(part, MaskedModule):
            part.scheme = scheme  # type: ignore[assignment]
    return module


def _batch_first(modules: list[nn.Module]) -> bool | None:
    """Return whether rows come first: as in recurrent layers, else as in attention; None where only cells are."""
    seen = {m.batch_first for m in modules if isinstance(m, nn.RNNBase | Recurrent)}
    seen = seen or {m.batch_first for m in modules if isinstance(m, nn.MultiheadAttention)}
    if len(seen) > 1 and any(type(m) in (nn.Embedding, nn.Dropout) for m in modules):
        raise ValueError(
            "the layers of this model disagree on batch_first, so it is unclear where its embeddings and dropouts have "
            "their rows. Convert its parts one by one."
        )
    return seen.pop() if seen else (None if any(isinstance(m, nn.RNNCellBase) for m in modules) else True)
