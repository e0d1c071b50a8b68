"""What a fit found: declared facts, saved as JSON, read back and checked as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

import sgdfit
from sgdfit.checkpoint.atomic import replacing
from sgdfit.data.levels import Levels
from sgdfit.data.times import TimeScale, TimeScales
from sgdfit.errors import (
    UsageError,
    did_you_mean,
    require,
)
from sgdfit.inference.covariance import BlockCovariance, Determined
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.intervals import Band
from sgdfit.result.codec import encode
from sgdfit.result.rounding import interval_text, plus_minus
from sgdfit.result.status import StartSearch, Status
from sgdfit.result.trace import Trace

FORMAT = "sgdfit"
VERSION = 1
# So many of the files of a fit are saved by name.
MOST_FILES = 1_000


class _Labelled(Protocol):
    """A frame of pandas, or a Dataset or DataArray of xarray."""

    loc: Any


@dataclass(frozen=True, repr=False)
class Estimate:
    """One parameter: its value, how sure it is, and where it came from.

    Attributes
    ----------
    name : of the parameter
    value : in the parameter's own units, as all that follows
    stderr : the standard error; None for a fixed parameter, or where it is not known
    interval : the confidence interval, of the result's level; infinite on a side where a profile
        excludes no value
    start : where the descent began
    start_origin : "given", "default 1.0", "random", "search …", "solved", "fixed" or "tied"
    role : "free", "fixed" or "tied"
    low : the lower bound; -inf where there is none
    high : the upper bound; inf where there is none
    tie : the expression that a tied parameter follows, such as "2*a"
    at_bound : whether the estimate stands on one of its bounds
    """

    name: str
    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    start: float = 1.0
    start_origin: str = "default 1.0"
    role: str = "free"
    low: float = -np.inf
    high: float = np.inf
    tie: str | None = None
    at_bound: bool = False

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.name} = {plus_minus(self.value, self.stderr)}"

    def __repr__(self) -> str:
        if self.interval is None:
            return f"Estimate({self})"
        return f"Estimate({self}, {interval_text(*self.interval, self.value, self.stderr)})"


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a fit found, how sure it is, and how it got there.

    ``print(result)`` gives the report, `save` writes a JSON file that `sgdfit.load` reads on any
    machine, since the formula is text.

    Attributes
    ----------
    formula : as text, which parses to the same formula again
    loss_name : what is averaged over the rows: "mse", "huber(delta=1.5)", or a formula
    optimizer : with its options
    learning_rate : a number, or a schedule such as "cosine(rate=0.2, steps=1000)"
    batch_size : rows of one step; None for all
    seed : of shuffling and of random starts
    kernel : what computed: "numpy", "compiled", "torch" or, on a GPU, "torch on cuda"
    dtype : arithmetic of the descent: "float64" or "float32"
    estimates : every parameter, in the order of the formula
    free : the p free parameters, in the order of the rows of covariance
    covariance : of the free parameters, shape (p, p), in products of their units; None where
        not known
    correlation : the same scaled to a diagonal of ones, shape (p, p)
    covariance_method : "classical", "sandwich", or "none: …" with the reason
    loss : the mean loss at the estimates
    residual_sum_of_squares : Σ w (y − prediction)², in squared units of the response
    rows : that were used
    rows_dropped : that were left out for a missing value
    degrees_of_freedom : rows less free parameters, but those on a bound or not determined
    reduced_chi_square : residual_sum_of_squares / degrees_of_freedom, in squared units of the
        response; None where undefined, as the next four
    r_squared : the share of the variance that the curve explains
    aic : Akaike's information criterion
    aicc : the same, corrected for few rows
    bic : the Bayesian information criterion
    steps : updates made
    epochs : passes through the data completed
    seconds : that the descent took
    status : how the run ended, with cause and cure
    distance : to the optimum, in standard errors: the relative offset of Bates and Watts,
        Technometrics 23 (1981) 179; None where not known
    diagnosis : curvature at the start, and the learning rates that it allows
    trace : every step, or some of many
    warnings : what the user should know, one sentence each
    data_label : where the rows came from
    weights : what weighs the rows, a column or an expression; "1/(sigma)**2" for a given sigma
    noise_variance : of a row of weight one, in squared units of the response: the reduced χ²
        where the residuals tell it, 1.0 where absolute_sigma; None for losses other than mse
    sigma : what gave each row's standard deviation: a column or an expression
    absolute_sigma : whether standard deviations (or weights, as inverse variances) were taken
        at their word, rather than scaled by the residuals
    rows_visited : rows that passes and steps looked at, each as often as they did; not what was
        read to count rows and to draw samples
    shards : on how many shares of the rows the workers of a cluster stepped by themselves, which
        were averaged after each epoch; None for a single descent
    drawn_from : how many rows those used were drawn from, where the run ended before it had
        seen all of them
    search : for starting values, where there was one
    undetermined : parameters that the data leave open, in one text those that only act together
    determined : those that they determine; where the model is not linear, near the estimates
    intervals : of the parameters: "wald", by Student's t, "profile" likelihood or "bootstrap"
    bootstrap : how these drew rows, and how often: "pairs(2000)" or "residuals(2000)"
    level : the confidence of the intervals
    time_scales : of columns that hold times, how these are counted; None where that was not
        saved, and all are in seconds since 1970
    levels : of columns that index parameters, the levels of the fit, in the order of the codes that
        stand for them
    loss_scale : what a robust loss took for the scale of the residuals of a row of weight 1, in
        units of the response; None for a loss that has none
    function : where the formula is a function that is called, its module and name
    called : why it is, and where its slopes come from
    correlations : a digest of those between rows, where sigma was their covariance matrix
    block_covariance : in place of covariance, of more than 500 parameters of levels, in factors;
        `covariance_of` returns that of some
    """

    formula: str
    loss_name: str
    optimizer: str
    learning_rate: str
    batch_size: int | None
    seed: int
    kernel: str
    dtype: str
    estimates: dict[str, Estimate]
    free: tuple[str, ...]
    covariance: NDArray[np.float64] | None
    correlation: NDArray[np.float64] | None
    covariance_method: str
    loss: float
    residual_sum_of_squares: float
    rows: int
    rows_dropped: int
    degrees_of_freedom: int
    reduced_chi_square: float | None
    r_squared: float | None
    aic: float | None
    aicc: float | None
    bic: float | None
    steps: int
    epochs: int
    seconds: float
    status: Status
    distance: float | None
    diagnosis: Diagnosis | None
    trace: Trace
    warnings: tuple[str, ...] = ()
    data_label: str = "data in memory"
    weights: str | None = None
    noise_variance: float | None = None
    sigma: str | None = None
    absolute_sigma: bool = False
    rows_visited: int | None = None
    shards: int | None = None
    drawn_from: int | None = None
    search: StartSearch | None = None
    undetermined: tuple[str, ...] = ()
    determined: tuple[Determined, ...] = ()
    intervals: str = "wald"
    bootstrap: str | None = None
    level: float = 0.95
    time_scales: dict[str, TimeScale] | None = None
    levels: dict[str, tuple[str, ...]] | None = None
    loss_scale: float | None = None
    function: str | None = None
    called: str | None = None
    correlations: str | None = None
    block_covariance: BlockCovariance | None = None
    # The formula of a function that is called; a result that was read from a file may have none.
    callable: ClassVar[Any] = None
    # The table that was fitted; a result that was read from a file has none.
    table: ClassVar[Any] = None

    @property
    def has_covariance(self) -> bool:
        """Whether the fit tells how sure its parameters are, and how they vary together."""
        return self.covariance is not None or self.block_covariance is not None

    def covariance_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the covariance of some free parameters, shape (k, k); NaN where not known.

        Examples
        --------
        >>> fit = sgdfit.fit("y = a*x + b", {"x": [0, 1, 2], "y": [1.1, 2.9, 5.1]})
        >>> fit.covariance_of(["b", "a"]).round(4)
        array([[ 0.0222, -0.0133],
               [-0.0133,  0.0133]])
        """
        places = {name: place for place, name in enumerate(self.free)}
        some = [places[name] for name in names]
        if self.block_covariance is not None:
            return self.block_covariance.dense(some)
        if self.covariance is None:
            return np.full((len(some), len(some)), np.nan)
        return self.covariance[np.ix_(some, some)]

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of a parameter: ``fit["a"].value``, ``fit["a"].stderr``."""
        if name not in self.estimates:
            hint = did_you_mean(name, self.estimates)
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self.estimates)}.{hint}")
        return self.estimates[name]

    def __contains__(self, name: object) -> bool:
        return name in self.estimates

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    @property
    def fitted(self) -> NDArray[np.float64]:
        """The fitted curve at the rows of the fit, float64[n], in units of the left side.

        Rows with missing values that were left out are not among them. A `UsageError` says so where
        the result does not know its rows, as after `sgdfit.load`; give them to `predict`.
        """
        return self._at_rows()[1]

    @property
    def residuals(self) -> NDArray[np.float64]:
        """What was observed less `fitted`, float64[n], not weighted."""
        observed, fitted = self._at_rows()
        return observed - fitted

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the facts."""
        return {
            name: value for name, value in vars(self).items() if name not in ("table", "callable")
        }

    def _at_rows(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.table is None:
            raise UsageError(
                "this result does not know the rows of its fit, since it came from a file or a"
                " stream; give them to fit.predict(data)"
            )
        found: tuple[NDArray[np.float64], ...] = sgdfit.higher("at_rows")(self, self.table)
        return found[0], found[1]

    @property
    def scales(self) -> TimeScales | None:
        """How times are counted where the curve is predicted: as in the fit."""
        if self.time_scales is None:
            return None
        scales = TimeScales(self.time_scales)
        scales.levels |= {name: Levels(known) for name, known in (self.levels or {}).items()}
        return scales

    def to_pandas(self) -> Any:
        """Return the estimates as a pandas DataFrame, a row for each parameter.

        Raises
        ------
        MissingDependencyError
            When pandas is not installed.
        """
        columns = ("value", "stderr", "low", "high", "role")
        rows = [
            (e.value, e.stderr, *(e.interval or (None, None)), e.role)
            for e in self.estimates.values()
        ]
        frame = require("pandas", "a table of estimates").DataFrame(
            rows, columns=columns, index=list(self.estimates)
        )
        frame.index.name = "parameter"
        return frame.astype(dict.fromkeys(columns[:-1], float))

    def to_latex(self) -> str:
        r"""Return the estimates as a table of LaTeX, rounded as in the report; needs booktabs.

        Examples
        --------
        >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2, 3], "y": [2.1, 3.9, 6.2]})
        >>> print(fit.to_latex())
        \begin{tabular}{lcc}
        \toprule
        parameter & estimate & 95\% interval \\
        \midrule
        $a$ & $2.036 \pm 0.039$ & $1.869 \ldots 2.203$ \\
        \bottomrule
        \end{tabular}
        """
        return str(sgdfit.higher("as_latex")(self))

    @property
    def values(self) -> dict[str, float]:
        """The value of every parameter by name."""
        return {name: estimate.value for name, estimate in self.estimates.items()}

    def derive(self, *quantities: str, level: float | None = None) -> Any:
        """Return functions of the parameters, with standard errors, intervals and covariance.

        Each of the ``quantities`` is an expression such as ``"log(2)/k"``, or one with a name, as
        in ``"half_life = log(2)/k"``. Errors follow by the delta method from the covariance of all
        parameters, those that are tied included: var g = ∇gᵀ C ∇g (Bates & Watts 1988, Nonlinear
        Regression Analysis and Its Applications, section 2.3.2); where g bends much within them,
        quantiles of g over `sample` are better. Intervals have the confidence ``level``, by
        default that of the fit. A parameter on a bound counts as fixed.

        Returns
        -------
        Estimate, or Derived
            Of one quantity its ``value``, ``stderr`` and ``interval``; of several a
            `sgdfit.result.derived.Derived`, which has these by name and their ``covariance``.

        Raises
        ------
        FormulaError, UsageError
            When a quantity cannot be read, is not one of parameters, or has no finite value.

        Examples
        --------
        >>> fit = sgdfit.fit("y = a*exp(-k*t)", {"t": [0, 1, 2, 3], "y": [8.1, 3.9, 2.1, 0.9]})
        >>> fit.derive("log(2)/k").stderr.__round__(3)
        0.03
        >>> print(fit.derive("half_life = log(2)/k", "area = a/k"))
        derived    value          95% interval
        half_life  0.980 ± 0.030  0.849 … 1.111
        area       11.43 ± 0.32   10.06 … 12.79
        """
        if not quantities:
            raise UsageError("name what to derive, as in fit.derive('half_life = log(2)/k')")
        found = sgdfit.higher("derive_quantities")(self, quantities, level)
        return found if len(quantities) > 1 else next(iter(found.estimates.values()))

    def sample(self, n: int, seed: int = 0) -> dict[str, NDArray[np.float64]]:
        """Draw ``n`` times from the distribution of the estimates: float64[n] by parameter.

        It is the multivariate t about the estimates whose quantiles are the intervals of the fit:
        normal with its `covariance`, over the root of a χ² of the residuals' degrees of freedom per
        degree, since their variance is estimated; normal where ``absolute_sigma`` was set. Fixed
        parameters do not vary, tied ones follow. Bounds do not hold the draws.

        Raises
        ------
        UsageError
            When the fit does not tell how sure a parameter is.

        Examples
        --------
        >>> fit = sgdfit.fit("y = a*exp(-k*t)", {"t": [0, 1, 2, 3], "y": [8.1, 3.9, 2.1, 0.9]})
        >>> drawn = fit.sample(10_000, seed=1)
        >>> np.quantile(np.log(2)/drawn["k"], [0.025, 0.975]).round(2)
        array([0.86, 1.13])
        """
        found: dict[str, NDArray[np.float64]] = sgdfit.higher("sample")(self, n, seed)
        return found

    @overload
    def predict(
        self, data: _Labelled, interval: str | None = None, level: float | None = None
    ) -> Any: ...
    @overload
    def predict(
        self, data: Any, interval: None = None, level: float | None = None
    ) -> NDArray[np.float64]: ...
    @overload
    def predict(
        self, data: Any, interval: Literal["confidence", "prediction"], level: float | None = None
    ) -> Band: ...
    @overload
    def predict(
        self, data: Any, interval: str | None, level: float | None = None
    ) -> NDArray[np.float64] | Band: ...
    def predict(self, data: Any, interval: str | None = None, level: float | None = None) -> Any:
        """Return the fitted curve at the rows of ``data``.

        Parameters
        ----------
        data : dict of arrays, data frame, file, …
            As in `sgdfit.fit`, with the formula's variables; or text that states them:
            ``"x=0,5"``, ``"x=0:30:0.5"``; dates ``"day=2024-03-01:2024-12-31:7d"``, in steps of w,
            d, h, min or s; times of day ``"clock=08:30"``. Where the fit counted times, numbers
            are in its units.
        interval : str, optional
            ``"confidence"``: where the curve may lie, given how sure the estimates are.
            ``"prediction"``: where a new observation may fall, whose noise has the variance that
            the fit found for a row of weight 1, over the row's own weight where ``data`` hold it.
        level : float, optional
            The confidence of the interval in each single row, between 0 and 1; default that of
            the fit.

        Returns
        -------
        float64[n], or Band
            Of a pandas frame a Series with its index, of an xarray Dataset or DataArray a
            DataArray with its coordinates. A `sgdfit.inference.intervals.Band` of prediction,
            stderr, low and high, each of that kind, where an ``interval`` was asked for, by the
            delta method and Student's t, or the normal distribution where ``absolute_sigma`` was
            set (Bates & Watts 1988, Nonlinear Regression Analysis and Its Applications, section
            2.3.2). A parameter on a bound counts as fixed.

        Raises
        ------
        DataError, UsageError
            When a variable is missing or cannot be read; when the fit does not tell the interval.

        Examples
        --------
        >>> fit = sgdfit.fit("y = a*x", {"x": [1, 1, 1], "y": [1, 2, 3]})
        >>> fit.predict({"x": [10]}).round(6)
        array([20.])
        >>> import pandas
        >>> fit.predict(pandas.DataFrame({"x": [10]}, index=["new"])).round(6).to_dict()
        {'new': 20.0}
        >>> band = fit.predict({"x": [0, 2]}, interval="confidence")
        >>> band.low.round(3).tolist(), band.high.round(3).tolist()
        ([0.0, -0.968], [0.0, 8.968])
        """
        return sgdfit.higher("predict")(self, data, interval, level)

    def write_predictions(
        self,
        data: Any,
        path: str | os.PathLike[str],
        interval: str | None = None,
        level: float | None = None,
        *,
        residuals: bool = False,
        missing: str = "error",
        where: str | None = None,
        memory: int | str | None = None,
        threads: int | None = None,
        cluster: object = None,
    ) -> Any:
        r"""Predict rows in their order and write them to a file, of which only a few are held.

        Parameters
        ----------
        data, interval, level
            See `predict`; files are read in pieces, once.
        path : path
            Ends in ``.csv``, ``.tsv`` or ``.parquet``. It holds the columns of the data as they
            came, but for those that share a name, ``prediction`` and, with an ``interval``,
            ``stderr``, ``low`` and ``high``; a name that a column has already begins with
            ``fitted_``. The file is put there whole or not at all. With a ``cluster``, it is a
            folder of Parquet files, in the order of the rows, that must not exist yet.
        residuals : bool
            Whether to add a column ``residual``: what was observed less the prediction.
        missing : "error" or "drop"
            With ``"drop"`` a first column ``row`` has the number that each row has in the data,
            from 1, or among those of ``where``.
        where, memory, threads, cluster
            As in `sgdfit.fit`.

        Returns
        -------
        sgdfit.fitting.prediction_files.Written

        Raises
        ------
        DataError, UsageError
            When a column cannot be read, or there is no row; when the fit does not tell the
            interval, or the file cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2, 3], "y": [2, 4, 6]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "curve.csv")
        ...     done = fit.write_predictions({"x": [10.0, np.nan, 30.0]}, path, missing="drop")
        ...     done.rows, done.dropped, path.read_text()
        (2, Dropped(rows=1, first=(2,)), 'row,x,prediction\n1,10.0,20.0\n3,30.0,60.0\n')
        """
        write = sgdfit.higher("write_predictions")
        how: dict[str, Any] = {"missing": missing, "where": where, "residuals": residuals}
        how |= {"memory": memory, "threads": threads, "cluster": cluster}
        return write(self, data, path, interval, level, **how)

    def to_dict(self) -> dict[str, Any]:
        """Return all facts, the trace included, as values of strict JSON.

        NaN and the infinities, which JSON lacks, are ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.
        """
        return {"format": FORMAT, "version": VERSION, **encode(self, Result)}

    def to_json(self) -> str:
        """Return all facts, the trace included, as strict JSON text."""
        return _as_json(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all facts to a JSON file, from which `sgdfit.load` restores them exactly.

        Raises
        ------
        UsageError
            When the file cannot be written, or is one of those that were fitted.
        """
        here, inputs = os.path.dirname(os.path.abspath(path)), self.trace.inputs[:MOST_FILES]
        # So that no output takes their place when it is loaded, also where both were moved.
        files = [*inputs, *(os.path.relpath(name, here) for name in inputs)]
        content = _as_json({**self.to_dict(), "files": files}).encode()
        try:
            with replacing(path, self.trace.inputs) as file:
                file.write(content)
        except OSError as error:
            raise UsageError(f"cannot save to {os.fspath(path)!r}: {error.strerror}") from error

    def report(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        full: bool = False,
        width: int = 80,
        data: object = None,
        derive: Sequence[str] = (),
    ) -> str:
        """Return what ``print(result)`` shows; or write it to a file that can be shared.

        Parameters
        ----------
        path : str or path, optional
            With the ending .html a page in one file, with the derivation, the plots, the steps and
            what repeats the fit; with .md the same in words; with .tex the formula and the table of
            estimates, for a paper.
        full : bool
            Also how the fit was found; a file has that in any case.
        width : int
            Columns of the text.
        data : dict of arrays, data frame, path, …, optional
            The rows that are plotted; by default those of the fit, which one from a file lacks.
        derive : sequence of str, optional
            What follows from the estimates, as in ``"half_life = log(2)/k"``.

        Raises
        ------
        UsageError
            When the ending is another one, or the file cannot be written.
        """
        if path is not None:
            sgdfit.higher("write_document")(self, path, data, derive)
        return str(sgdfit.higher("as_text")(self, width, full))

    def plot(
        self,
        data: object = None,
        ax: Any = None,
        *,
        log: str | None = None,
        over: str | None = None,
        groups: str | Sequence[Any] = "first",
        style: str = "light",
    ) -> Any:
        """Draw data and curve with their bands, and the residuals beneath, by matplotlib.

        Parameters
        ----------
        data : dict of arrays, data frame, path, …, optional
            The rows; by default those of the fit, which one from a file lacks.
        ax : matplotlib.axes.Axes, optional
            Onto which the curve is drawn, without residuals.
        log : "x", "y", "xy" or "", optional
            Which axes are logarithmic; by default the first where data are spread over decades.
        over : str, optional
            Of several variables the one that is drawn over, the others at their medians; by default
            the first four have axes of their own.
        groups : "first", "worst" or list, optional
            Where a column indexes parameters, its groups of rows stand side by side, 16 at most:
            the first, those with the largest residuals, or those named, as in ``["A", "B"]``.
        style : "light" or "dark"

        Returns
        -------
        array of Axes, or ``ax``
            Shape (2,), curve and residuals, or (2, k) over k variables; (g,) of g groups. A
            notebook shows their figure, ``axes.flat[0].figure``.

        Raises
        ------
        UsageError
            When the rows are not known, or an option cannot be used.
        """
        chosen = {"log": log, "over": over, "groups": groups, "style": style}
        return sgdfit.higher("plot_fit")(self, data, ax, **chosen)

    def plot_trace(self, ax: Any = None, *, style: str = "light") -> Any:
        """Draw the loss and the parameters by steps; onto given axes the loss alone."""
        return sgdfit.higher("plot_trace")(self, ax, style=style)

    def plot_parameters(self, ax: Any = None, *, style: str = "light") -> Any:
        """Draw every free parameter by steps; return the axes."""
        return sgdfit.higher("plot_parameters")(self, ax, style=style)

    def plot_path(
        self,
        parameters: tuple[str, str] | None = None,
        data: object = None,
        ax: Any = None,
        *,
        style: str = "light",
    ) -> Any:
        """Draw the way of two parameters over contours of the loss, the others at their ends."""
        return sgdfit.higher("plot_path")(self, parameters, data, ax, style=style)

    def plot_pairs(
        self, parameters: Sequence[str] | None = None, data: object = None, *, style: str = "light"
    ) -> Any:
        """Draw where pairs of parameters lie together, with the result's confidence.

        The ellipse of the covariance and, where rows are few, the likelihood region: where the
        least sum of squares with both held is that of the ellipse's edge in a linear model (Bates &
        Watts 1988, Nonlinear Regression Analysis and Its Applications, section 6.1).

        Returns
        -------
        array of Axes, shape (k - 1, k - 1) for k parameters
        """
        return sgdfit.higher("plot_pairs")(self, parameters, data, style=style)

    def animate(
        self,
        path: str | os.PathLike[str],
        data: object = None,
        *,
        style: str = "light",
        frames: int = 120,
        loop: bool | None = None,
    ) -> None:
        """Write the descent as a moving picture: the curve, step by step, and the way of the loss.

        ``path`` ends with .gif, .html or .mp4, which takes the program ffmpeg or the package
        imageio-ffmpeg; there are at most so many ``frames``. A .gif moves for five seconds at most
        and then holds its last frame, as WCAG 2.2.2 asks of what cannot be paused; with
        ``loop=True`` it repeats for ever, with ``loop=False`` it plays once.
        """
        sgdfit.higher("animate")(self, path, data, style=style, frames=frames, loop=loop)

    def __str__(self) -> str:
        return self.report()

    def __repr__(self) -> str:
        estimates = ", ".join(str(estimate) for estimate in self.estimates.values())
        return f"Result({self.formula}: {self.status.label}, {estimates})"

    def __rich__(self) -> Any:
        return sgdfit.higher("as_rich")(self)

    def _repr_html_(self) -> str:
        return str(sgdfit.higher("as_html")(self))


def _as_json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, allow_nan=False, ensure_ascii=False) + "\n"
