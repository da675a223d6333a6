"""The ways to run a recurrent layer: a plain loop, a fused scan, and torch's own kernel under folded weights."""
