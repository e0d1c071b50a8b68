"""Textbook descent on a parabola: a rate that diverges, one that arrives.

The data are twenty points of y = 2x² + 3x + 4 and noise, as the tutorial makes them.
"""

from pathlib import Path

import sgdfit

data = Path(__file__).with_name("tutorial.csv")
formula = "y = a*x**2 + b*x + c"
start = {"a": 4, "b": 5, "c": 7}

print(sgdfit.explain(formula, data, start=start))
for rate in (0.23, 0.2):
    fit = sgdfit.fit(formula, data, optimizer="sgd", learning_rate=rate, steps=200, start=start)
    limit = fit.diagnosis.stability_limit
    print(f"rate {rate}, stability limit {limit:.4f}: {fit.status.name} after {fit.steps} steps")
print(sgdfit.fit(formula, data))  # by auto, which needs neither a rate nor a start
