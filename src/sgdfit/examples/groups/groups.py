"""An enzyme in two groups: own or common parameters, and which to take.

The data are rates of an enzyme (counts/min²) against substrate (ppm), of cells treated with
Puromycin and others: Treloar (1974); Bates and Watts, Nonlinear Regression Analysis (1988), A1.3.
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("puromycin.csv")
one_k = sgdfit.fit("rate = Vm[state]*conc/(K + conc)", data)
own_k = sgdfit.fit("rate = Vm[state]*conc/(K[state] + conc)", data)
print(one_k)
print(sgdfit.compare(one_k, own_k))
