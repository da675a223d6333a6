"""The example of the README: one's own torch module, converted, trained by a plain loop, predicting with intervals."""

from pathlib import Path

import torch

import bayesrnn

EXAMPLE = """\
import torch, bayesrnn as br

class Net(torch.nn.Module):  # your own module: torch and nothing else
    def __init__(self):
        super().__init__()
        self.rnn, self.out = torch.nn.LSTM(1, 16, batch_first=True), torch.nn.Linear(16, 2)
    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])  # mean and log variance of what comes next

wave = torch.sin(torch.arange(400) / 5) + 0.1 * torch.randn(400)
x, y = wave.unfold(0, 21, 1)[..., :-1, None], wave[20:]
model = br.convert(Net(), dropout=0.1)  # nn.LSTM is now br.nn.LSTM: the same weights, with masks
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(200):  # train as you do
    loss = -br.likelihoods.gaussian(model(x[:300])).log_prob(y[:300]).mean()
    optimizer.zero_grad(), loss.backward(), optimizer.step()
low, high = br.predict(model, x[300:], likelihood=br.likelihoods.gaussian, draws=100, seed=0).interval(0.9)
"""


def test_example_runs_and_its_intervals_are_worth_their_name() -> None:
    names: dict[str, object] = {}
    exec(compile(EXAMPLE, "README.md", "exec"), names)
    low, high, target = names["low"], names["high"], names["y"][300:]  # type: ignore[index]
    assert isinstance(low, torch.Tensor)
    assert low.shape == high.shape == target.shape == (80,)  # type: ignore[union-attr]
    covered = float(((low <= target) & (target <= high)).float().mean())
    assert 0.8 <= covered < 1.0
    assert float((high - low).mean()) < 0.6  # the noise alone needs .33, the wave spans about 2
    likelihood = bayesrnn.likelihoods.gaussian
    predictive = bayesrnn.predict(names["model"], names["x"][300:], likelihood=likelihood)  # type: ignore[index]
    assert torch.equal(predictive.interval(0.9)[0], low)
    assert float((predictive.mean - target).square().mean().sqrt()) < 0.25  # noise 0.1, wave 0.7
    assert bool((predictive.epistemic > 0).all())


def test_example_is_short() -> None:
    assert len([line for line in EXAMPLE.splitlines() if line]) <= 15
    assert max(map(len, EXAMPLE.splitlines())) <= 120


def test_example_converts_without_a_change_to_the_module() -> None:
    start, end = EXAMPLE.index("class Net"), EXAMPLE.index("wave =")
    names: dict[str, object] = {"torch": torch}
    exec(EXAMPLE[start:end], names)
    original = names["Net"]()  # type: ignore[operator]
    x = torch.randn(3, 20, 1)
    converted = bayesrnn.convert(original, dropout=0.1).eval()
    torch.testing.assert_close(converted(x), original(x))
    assert set(converted.state_dict()) == set(original.state_dict())


def test_readme_shows_this_example() -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"```python\n{EXAMPLE}```" in page
