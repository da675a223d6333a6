"""Masks as values: which units are dropped, and where the masks of a layer come from."""

from bayesrnn.masks.fresh import Fresh as Fresh
from bayesrnn.masks.sequence import OneSequence as OneSequence
from bayesrnn.masks.sites import MaskSite as MaskSite
from bayesrnn.masks.sites import SiteMasks as SiteMasks
from bayesrnn.masks.sources import Binding as Binding
from bayesrnn.masks.sources import Given as Given
from bayesrnn.masks.sources import MaskSource as MaskSource
from bayesrnn.masks.sources import Memory as Memory
from bayesrnn.masks.streams import BLOCK as BLOCK
from bayesrnn.masks.streams import IndependentStream as IndependentStream
from bayesrnn.masks.streams import MaskStream as MaskStream
from bayesrnn.masks.streams import StratifiedStream as StratifiedStream
from bayesrnn.masks.streams import stream as stream

__all__ = [
    "BLOCK",
    "Binding",
    "Fresh",
    "Given",
    "IndependentStream",
    "MaskSite",
    "MaskSource",
    "MaskStream",
    "Memory",
    "OneSequence",
    "SiteMasks",
    "StratifiedStream",
    "stream",
]
