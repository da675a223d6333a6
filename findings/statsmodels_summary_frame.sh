#!/usr/bin/env bash
# statsmodels 0.15.0: the columns mean_ci_lower and mean_ci_upper of a forecast have two meanings.
#
# `summary_frame` of a regression writes there an interval of the mean, without the noise of the target (which has
# obs_ci_lower and obs_ci_upper for OLS, and nothing for GLM). `summary_frame` of a state space model or of AutoReg
# writes into columns of the same names the interval of the next observation. A table does not say which it is: scored
# as prediction intervals, 95 % of a GLM's cover a few percent of the targets, and those of a SARIMAX cover 95 %.
#
# Seen: one AR(1), the same coefficients in all four models; the interval is 0.20 wide by OLS and GLM, and 3.90 by
# SARIMAX and AutoReg.
#
# Exits with 1 if the four widths agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet statsmodels==0.15.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
"$work/venv/bin/python" -W ignore - <<'E'
import sys

import numpy as np
import pandas as pd
import statsmodels.api as sm

make, steps = np.random.default_rng(0), 400
values = np.zeros(steps)
for step in range(1, steps):
    values[step] = 0.5 * values[step - 1] + make.normal()
series, before = pd.Series(values), sm.add_constant(values[:-1])
last = [[1.0, values[-1]]]
forecasts = {
    "OLS": sm.OLS(values[1:], before).fit().get_prediction(last),
    "GLM": sm.GLM(values[1:], before).fit().get_prediction(last),
    "SARIMAX": sm.tsa.SARIMAX(series, order=(1, 0, 0), trend="c").fit(disp=0).get_forecast(1),
    "AutoReg": sm.tsa.AutoReg(series, 1).fit().get_prediction(steps, steps),
}
width = {}
for name, forecast in forecasts.items():
    table = forecast.summary_frame()
    width[name] = float((table["mean_ci_upper"] - table["mean_ci_lower"]).iloc[0])
    print(f"{name}: mean {float(table['mean'].iloc[0]):.3f}, mean_ci is {width[name]:.2f} wide, columns {list(table.columns)}")
two_meanings = max(width["OLS"], width["GLM"]) < 0.5 and min(width["SARIMAX"], width["AutoReg"]) > 3.0
sys.exit(0 if two_meanings else 1)
E
