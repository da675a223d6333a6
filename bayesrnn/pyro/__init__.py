"""A model's masks as Pyro sample sites, so that trace, condition, Predictive and SVI work on them."""

from bayesrnn.pyro.bridge import Lifted as Lifted
from bayesrnn.pyro.bridge import lift as lift
from bayesrnn.pyro.distributions import Mask as Mask
from bayesrnn.pyro.sites import masks_of as masks_of

__all__ = ["Lifted", "Mask", "lift", "masks_of"]
