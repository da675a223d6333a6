"""Models that return the distribution of the target: a sequence in, a torch Distribution out."""

from bayesrnn.models.encoder_decoder import EncoderDecoder as EncoderDecoder
from bayesrnn.models.forecaster import Forecaster as Forecaster
from bayesrnn.models.language_model import LanguageModel as LanguageModel
from bayesrnn.models.sequence import SequenceClassifier as SequenceClassifier
from bayesrnn.models.sequence import SequenceRegressor as SequenceRegressor

__all__ = ["EncoderDecoder", "Forecaster", "LanguageModel", "SequenceClassifier", "SequenceRegressor"]
