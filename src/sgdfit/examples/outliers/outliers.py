"""A line through data with outliers: least squares and robust losses.

The data are telephone calls in Belgium (millions) by year, of which those of 1964 to 1969 were
recorded in minutes: Rousseeuw and Leroy, Robust Regression and Outlier Detection (1987), page 26.
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("phones.csv")
for loss in ("mse", "huber", "cauchy"):
    print(sgdfit.fit("calls = a + b*(year - 50)", data, loss=loss), "\n")
