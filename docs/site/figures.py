"""Draw the pictures of the pages: `python docs/site/figures.py`."""

from pathlib import Path

from matplotlib.figure import Figure

import bayesrnn as br

IMAGES = Path(__file__).parent.parent / "images"


def masks_over_time() -> Figure:
    """Figure 1 of Gal & Ghahramani (2016): masks per step on inputs only, against one mask per sequence everywhere."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    schemes = {
        "a new mask at every step, none on the recurrence\n(Zaremba et al. 2014)": (br.schemes.zaremba(0.5), True),
        "one mask per site for the whole sequence\n(Gal & Ghahramani 2016)": (br.schemes.gal(0.5, gates="tied"), False),
    }
    for ax, (title, (scheme, per_step)) in zip(figure.subplots(1, 2), schemes.items(), strict=True):
        layer = br.nn.LSTM(6, 6, num_layers=2, dropout=scheme)
        masks = layer.sample_masks(1, seed=0, steps=5 if per_step else None)
        br.plots.mask_diagram(masks, steps=5, per_step=per_step, title=title, ax=ax)
    return figure


if __name__ == "__main__":
    masks_over_time().savefig(IMAGES / "masks_over_time.png", dpi=150)
