"""Models written to files that run without this library: ONNX, or torch's own format, with masks as inputs."""

from bayesrnn.serving._export import export as export

__all__ = ["export"]
