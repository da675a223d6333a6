"""The fused scan: forward and backward in time, written for speed, for any masks."""

from bayesrnn.nn.kernels.scan.run import scan as scan

__all__ = ["scan"]
