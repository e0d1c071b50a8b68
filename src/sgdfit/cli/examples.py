"""Examples that the help of each command ends with; a test runs every line."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "fit": (
        (
            "every name that is no column of the data is a parameter; nothing else is needed",
            'sgdfit fit data.csv "y = a*x**2 + b*x + c"',
        ),
        (
            "by textbook descent",
            'sgdfit fit data.csv "y = a*x**2 + b*x + c" --optimizer sgd --learning-rate 0.2'
            " --steps 200",
        ),
        (
            "starts, bounds, fixed and tied parameters",
            'sgdfit fit data.csv "y = a*x**2 + b*x + c + d" --start a=4,b=-5 --bound "0 < a < 10"'
            ' --fix d=0.5 --tie "c = 2*a"',
        ),
        (
            "in batches of 5 rows, outliers damped, the answer as JSON",
            'sgdfit fit data.csv "y = a*x + b" --loss huber --optimizer adam --batch-size 5'
            " --epochs 50 --json",
        ),
        (
            "errors of the measurement that are known",
            'sgdfit fit data.csv "y = a*x + b" --sigma 0.5 --absolute-sigma',
        ),
        (
            "some rows of many files, within 2 GB; killed, it goes on with --resume",
            'sgdfit fit "*.csv" "y = a*x + b" --where "x > 0 and y < 100" --memory 2GB'
            " --checkpoint run.checkpoint",
        ),
        (
            "from standard input, with files to keep",
            'sgdfit fit - "y = a*x + b" --save fit.json --trace trace.csv --plot fit.svg'
            " < data.csv",
        ),
        (
            "rows that are still arriving, old ones forgotten, a line every 1,000 rows",
            'sgdfit fit - "y = a*x + b" --follow --every 1000 --forgetting half_life=5000'
            " < data.csv",
        ),
    ),
    "predict": (
        ("the curve at the rows of a file", "sgdfit predict fit.json data.csv"),
        ("to a file", "sgdfit predict fit.json data.csv --output curve.parquet"),
        (
            "with the 99% band of new points",
            "sgdfit predict fit.json data.csv --interval prediction --level 0.99",
        ),
    ),
    "explain": (
        ("the gradient, derived", 'sgdfit explain "y = a*x**2 + b*x + c"'),
        (
            "with numbers, checked on data",
            'sgdfit explain "y = a*x + b" data.csv --start a=4,b=5',
        ),
        (
            "as a page for a browser",
            'sgdfit explain "S = S0*exp(-k*hours)" --variables hours --output gradient.html',
        ),
    ),
    "show": (("the report of a saved fit", "sgdfit show fit.json"),),
    "demo": (("into a folder of your choice", "sgdfit demo --output story"),),
}
