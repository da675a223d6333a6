"""Dropout schemes: which masks each paper uses, where, and at which rates.

A scheme says at which sites masks act, how long a mask lives, whether the gates share it, and at what rate:

========================  ================================  =====================  ====================
scheme                    sites                             span                   source
========================  ================================  =====================  ====================
`none()`                  --                                --                     --
`zaremba(p)`              input, output                     step                   arXiv:1409.2329
`naive(p)`                input, hidden, output             step                   arXiv:1512.05287
`gal(p, gates="untied")`  word, input, hidden, output       sequence               arXiv:1512.05287
`moon(p)`                 cell                              sequence               RNNDrop, ASRU 2015
`semeniuta(p)`            candidate                         step or sequence       arXiv:1603.05118
`weight_drop(p)`          recurrent weight, elementwise     sequence               arXiv:1708.02182
`zoneout(cell, hidden)`   previous state kept               step                   arXiv:1606.01305
`melis(p)`                input, between, output; hidden    step; hidden sequence  arXiv:1805.09208
========================  ================================  =====================  ====================

Rates may be given per site: ``gal(word=.3, input=.5, hidden=.3, output=.5)``; a site that is not named then has rate 0.
The site `input` is what each layer of a stack reads, or, in a scheme with the site `between`, what the first one reads.
"""

from bayesrnn.schemes.papers import as_scheme as as_scheme
from bayesrnn.schemes.papers import gal as gal
from bayesrnn.schemes.papers import melis as melis
from bayesrnn.schemes.papers import moon as moon
from bayesrnn.schemes.papers import naive as naive
from bayesrnn.schemes.papers import none as none
from bayesrnn.schemes.papers import semeniuta as semeniuta
from bayesrnn.schemes.papers import weight_drop as weight_drop
from bayesrnn.schemes.papers import zaremba as zaremba
from bayesrnn.schemes.papers import zoneout as zoneout
from bayesrnn.schemes.placements import Gates as Gates
from bayesrnn.schemes.placements import Placement as Placement
from bayesrnn.schemes.placements import Scheme as Scheme
from bayesrnn.schemes.placements import Site as Site
from bayesrnn.schemes.placements import Span as Span

__all__ = [
    "Gates",
    "Placement",
    "Scheme",
    "Site",
    "Span",
    "as_scheme",
    "gal",
    "melis",
    "moon",
    "naive",
    "none",
    "semeniuta",
    "weight_drop",
    "zaremba",
    "zoneout",
]
