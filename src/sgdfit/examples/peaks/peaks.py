"""Two peaks that overlap, over a background; no starting values.

The data are NIST's set Gauss2 (public domain); its certified values are met.
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("gauss2.csv")
fit = sgdfit.fit(
    "y = A*exp(-k*x) + H1*exp(-((x - m1)/w1)**2) + H2*exp(-((x - m2)/w2)**2)",
    data,
    bounds="w1 > 0, w2 > 0",
)
print(fit)
print(fit.derive("area1 = H1*w1*sqrt(pi)", "area2 = H2*w2*sqrt(pi)"))
