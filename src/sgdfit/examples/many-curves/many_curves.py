"""Fourteen trees, each with a curve of its own: a table of fits.

The data are heights (ft) of loblolly pines against age (years): Kung (1986), as in R's `Loblolly`.
On the command line: sgdfit fit loblolly.csv "height = A - B*exp(-k*age)" --by seed
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("loblolly.csv")
fits = sgdfit.fit_many("height = A - B*exp(-k*age)", data, by="seed")
print(fits)
fits.write("trees.csv")
