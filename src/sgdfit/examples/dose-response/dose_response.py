"""A dose-response curve: half-effective dose, intervals and bands.

The data are root lengths (cm) of ryegrass against ferulic acid (mM): Inderjit, Streibig and
Olofsdotter, Physiologia Plantarum 114, 422 (2002), as in R's `drc::ryegrass`.
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("ryegrass.csv")
fit = sgdfit.fit(
    "root = low + (high - low)/(1 + (conc/ED50)**slope)", data, bounds="ED50 > 0, slope > 0"
)
print(fit)
print(sgdfit.fit(fit.formula, data, bounds="ED50 > 0, slope > 0", intervals="profile"))
band = fit.predict({"conc": [1, 3, 10]}, interval="confidence")
for row in zip([1, 3, 10], band.prediction, band.low, band.high, strict=True):
    print("at {} mM {:.2f} cm, 95% from {:.2f} to {:.2f}".format(*row))
sgdfit.plot.save(fit, data, "dose-response.png")
