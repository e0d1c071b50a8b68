"""A decay, fast and slow, in six subjects: half-lives with their errors.

The data are the concentrations (µg/ml) of indometacin in the plasma of six subjects over time (h):
Kwan et al., Journal of Pharmacokinetics and Biopharmaceutics 4, 255 (1976), as in R's `Indometh`.
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("indometh.csv")
fit = sgdfit.fit("conc = A[subject]*exp(-k*time) + B[subject]*exp(-m*time)", data)
print(fit)
print(fit.derive("slow = log(2)/k", "fast = log(2)/m"))
sgdfit.plot.save(fit, data, "decay.png")
