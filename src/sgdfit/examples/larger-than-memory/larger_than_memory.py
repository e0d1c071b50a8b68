"""Rows that are read in pieces, within a given amount of memory.

The file is made here: two million rows of a decay with noise, 50 MB. Give another number of rows
to make it as large as you like: python larger_than_memory.py 200000000
"""

import sys

import numpy as np

import sgdfit

rows, block = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000, 500_000
random = np.random.default_rng(0)
with open("decay.csv", "w", encoding="ascii") as file:
    file.write("t,y\n")
    for begin in range(0, rows, block):
        t = random.uniform(0, 10, min(block, rows - begin))
        y = 2 * np.exp(-0.7 * t) + 0.5 + 0.1 * random.normal(size=len(t))
        np.savetxt(file, np.column_stack([t, y]), fmt="%.10g", delimiter=",")

fit = sgdfit.fit("y = a*exp(-k*t) + c", "decay.csv", memory="500MB", checkpoint="decay.check")
print(fit)
print(f"read {fit.rows_visited / rows:.1f} times")
