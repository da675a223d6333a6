"""Processes that share a training end with the weights of one, where there are no masks; masks are their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bayesrnn.training import fit

SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
import bayesrnn as br
from safetensors.torch import save_file
rate, out, strategy = float(sys.argv[1]), sys.argv[2], sys.argv[3] or None
generator = torch.Generator().manual_seed(1)
x = torch.randn(48, 5, 1, generator=generator)
rows = x, x.sum((1, 2))
torch.manual_seed(3)
model = br.models.SequenceRegressor(input_size=1, hidden_size=6, dropout=rate)
options = {} if strategy is None else {"strategy": strategy, "devices": 2}
history = br.fit(model, rows, rows, epochs=2, batch_size=16, checkpoint=out + ".folder", progress=False, **options)
losses = torch.tensor([history.train, history.validation])
save_file({**model.state_dict(), "losses": losses}, f"{out}.{os.environ.get('RANK', 0)}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_two_processes_train_as_one(rate: float, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for command, out, strategy in (([sys.executable], "one", ""), (torchrun, "two", "ddp")):
        done = subprocess.run(
            [*command, str(script), str(rate), str(tmp_path / out), strategy], env=env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (load_file(tmp_path / name) for name in ("one.0", "two.0", "two.1"))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name])
        if rate == 0:
            torch.testing.assert_close(value, one[name], rtol=1e-4, atol=1e-5)
    assert (tmp_path / "two.folder" / "checkpoint.safetensors").exists()


def test_strategies_that_lose_the_result_are_refused(rows, make) -> None:
    for strategy in ("ddp_spawn", "ddp_fork", "ddp_notebook"):
        with pytest.raises(ValueError, match="Start the script with torchrun"):
            fit(make(), rows, strategy=strategy, epochs=1, progress=False)
