"""A model's masks as Pyro sample sites, so that trace, condition, Predictive and SVI work on them."""

from bayesrnn.pyro.bridge import Lifted, lift
from bayesrnn.pyro.distributions import Mask
from bayesrnn.pyro.sites import masks_of

__all__ = ["Lifted", "Mask", "lift", "masks_of"]
