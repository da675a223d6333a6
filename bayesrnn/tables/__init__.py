"""Classify or regress sequences that lie in files: train, judge, keep, predict."""

from bayesrnn.tables.judgement import Judgement, judge
from bayesrnn.tables.learning import Settings, learn, time_needed
from bayesrnn.tables.model import SequenceRun

__all__ = ["Judgement", "SequenceRun", "Settings", "judge", "learn", "time_needed"]
