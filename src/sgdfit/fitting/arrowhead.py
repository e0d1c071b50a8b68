"""Least squares with parameters of their own for thousands of groups of rows, and common ones.

Of y = a[site]*exp(-b*x) + c each group g of rows, those of a site, has parameters α_g = (a) beside
the common θ = (b, c). The normal equations are an arrowhead: between groups there is nothing,

    [ H_gg   H_gθ ] [ δα_g ]     [ g_g ]
    [ H_θg   H_θθ ] [ δθ   ]  = -[ g_θ ]

so that the groups are eliminated one by one (Björck 1996, Numerical Methods for Least Squares
Problems, section 6.3.1; as variable projection: Golub & Pereyra 1973, SIAM J. Numer. Anal. 10(2),
413-432, with Kaufman's 1975 form of the Jacobian). At any θ each α_g is brought to its minimum;
what is left is a loss of θ alone, whose Jacobian is J_θ less what the columns of the group span,
J_θ - J_g C_g with C_g = H_gg⁻¹H_gθ. `Eliminated` is a kernel of that loss, on which everything
works that works on a kernel: the loop, its tests of arrival, the errors of θ. With the covariance V
of θ and the variance s² of a row the rest of the covariance is

    cov(α_g, θ) = -C_g V,    cov(α_g, α_h) = C_g V C_hᵀ + [g = h] 2s² H_gg⁻¹.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import DataError, UsageError, listed
from sgdfit.fitting.dataset import TrainingData
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.multistart import BETTER, ROWS_OF_A_LEVEL, facts_of, missing, residual_misfit
from sgdfit.fitting.options import FORGETFUL, WALD, Options
from sgdfit.fitting.problem import Groups, Minimum, Misfit, Outcome, Problem, merge_runs, too_few
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.trust_region import box_of
from sgdfit.fitting.weights import SANDWICH, Weighting
from sgdfit.formula.formula import Formula, symbol
from sgdfit.formula.real import Select
from sgdfit.inference.covariance import BlockCovariance, correlation
from sgdfit.inference.intervals import confidence_interval
from sgdfit.inference.spectrum import EPS
from sgdfit.kernel.kernel import Chunk, Kernel, Rows
from sgdfit.kernel.numpy_kernel import STRIDE, make_numpy, sum_rows
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.model.parameters import Parameter
from sgdfit.model.symmetry import canonical_theta
from sgdfit.result.result import Estimate, Result
from sgdfit.result.status import StartSearch

Array = np.ndarray[Any, Any]
Expr = Any  # SymPy ships no types

# Steps of the groups at one θ, of which each takes as many as it needs.
MOST_STEPS = 100
# A group has arrived when its next step takes off less than this share of the loss of a row: a
# distance of 1e-11 standard errors, squared.
ARRIVED = 1e-22
# Damping as in `sgdfit.kernel.levenberg`, relative to the scaled curvature.
LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e10
ROUNDING = 1e-13
# Directions of a group's scaled curvature below this are not determined by its rows.
SINGULAR = 1e-14
# Up to so many free parameters all are taken together, which is as quick; up to so many they may
# be: by their formula with each written out 90 take 8 s, eliminated 0.06 s.
FEW_FREE, MOST_FREE = 12, 100
# Of more free parameters their covariance is kept in factors.
MOST_DENSE = 500
# Groups that are searched for starts.
SEARCHED = 8
# Parameters of groups whose residuals are looked at.
EXAMINED = 24
# Groups are tried from others' values where they are left with so many times the usual loss of a
# row.
MISFIT = 2.0
# Groups that lend others where they ended, and how often that is tried.
LENDERS, ROUNDS = 5, 5
# Places that are remembered, to begin the next one from the best of them.
REMEMBERED = 4


class Totals(NamedTuple):
    """Sums over the rows of each group."""

    loss: Array  # float64[g]
    gradient: Array  # float64[g, q]
    curvature: Array  # float64[g, q, q]
    cross: Array | None  # H_gθ, float64[g, q, p]


class Eliminated:
    """The loss as one of the common parameters alone; what it holds are the groups."""

    def __init__(self, model: Model, groups: Groups, data: TrainingData) -> None:
        """``model`` has the common parameters free, and those of groups as columns."""
        self.groups, self.data, self.count = groups, data, len(model.free)
        self.places: list[Minimum] = []
        columns = model.columns
        self.code = columns.index(groups.column)
        self.own = [columns.index(name) for name in groups.names]
        self.kernel = make_numpy(_shifted(model, groups.names), None)
        self.along = {*model.variables} - {*groups.names, groups.column}
        self.lock = threading.Lock()
        self.counts = np.zeros(len(groups.values))
        for chunk in data.chunks():
            self.counts += np.bincount(self._codes(chunk), minlength=len(self.counts))

    def as_kernel(self) -> Kernel:
        """Return the operations of a kernel, but for steps of textbook descent."""

        def rows(theta: Array, chunk: Chunk) -> Rows:
            place = self.at(theta)
            found = self._rows(place.theta, place.values, chunk)
            q, code = len(self.own), self._codes(chunk)
            slopes = found.jacobian[q:].copy()
            for k in range(q):
                slopes -= found.jacobian[k] * place.coupling[code, k].T
            return found._replace(jacobian=slopes)

        def panel_sums(theta: Array, chunk: Chunk, scores: bool = False) -> Array:
            return sum_rows(rows, theta, chunk, scores)

        source = f"{self.kernel.source}# without {', '.join(self.groups.names)}\n"
        return Kernel("numpy", source, rows, panel_sums, _no_sweep)

    def at(self, theta: Array) -> Minimum:
        """Return the groups at their minimum for these common parameters."""
        with self.lock:
            for place in self.places:
                if np.array_equal(place.theta, theta):
                    return place
            start, groups = self.groups.values, self.groups
            if self.places:
                best = min(self.places, key=lambda place: place.loss)
                start = best.values - best.coupling @ (theta - best.theta)
                start = np.where(np.isfinite(start), start, best.values)
            start = np.minimum(np.maximum(start, groups.low), groups.high)
            self.places = [*self.places[-(REMEMBERED - 1) :], self._minimum(theta, start)]
            return self.places[-1]

    def improve(self, theta: Array, lent: Array | None = None) -> bool:
        """Try each group from where others ended; return whether any has a lower minimum there.

        A group whose start led it astray drags the common parameters along. ``lent`` are values of
        a group each, float64[k, q]; without, those of some groups.
        """
        here = self.at(theta)
        if lent is None:
            order = np.argsort(here.losses, kind="stable")
            places = np.unique(np.linspace(0, len(order) - 1, LENDERS).astype(int))
            lent = np.array([np.median(here.values, axis=0), *here.values[order[places]]])
        if not len(lent):
            return False
        starts = [self._kept(here, values) for values in lent]
        losses = np.array([self._totals(theta, start, loss_only=True).loss for start in starts])
        best = np.nanargmin(np.where(np.isfinite(losses), losses, np.inf), axis=0)
        values = here.values.copy()
        lowest = here.losses.copy()

        def follow(start: Array, only: Array) -> None:
            """Keep what each group is led to, where that is lower."""
            other = self._minimum(theta, start, only=only)
            lower = only & (other.losses < (1 - BETTER) * lowest)
            values[lower], lowest[lower] = other.values[lower], other.losses[lower]

        follow(np.array(starts)[best, np.arange(len(best))], np.ones(len(best), dtype=bool))
        for start in starts:
            row = lowest / self.counts
            doubtful = ~(row <= MISFIT * np.median(row))
            if doubtful.any():
                follow(start, doubtful)
        found = bool((lowest < here.losses).any())
        self.places = [self._minimum(theta, values) if found else here]
        return found

    def _kept(self, here: Minimum, values: Array) -> Array:
        """Return values for every group, but of what is held; within the bounds."""
        start = np.where(self.groups.held, here.values, values)
        return np.minimum(np.maximum(start, self.groups.low), self.groups.high)

    def misfit(self, theta: Array) -> Misfit:
        """Look at the residuals of some of the groups, in each along every variable."""
        minimum, whole, q = self.at(theta), self.data.whole, len(self.own)
        assert whole is not None  # rows are in memory
        groups = np.linspace(0, len(minimum.values) - 1, max(2, EXAMINED // q)).astype(int)
        groups = np.unique(groups)
        some = whole.taken(np.flatnonzero(np.isin(self._codes(whole), groups))[:FEW])
        found, code = self._rows(minimum.theta, minimum.values, some), self._codes(some)
        own = [found.jacobian[k] * (code == g) for g in groups for k in range(q)]
        found = found._replace(jacobian=np.concatenate([own, found.jacobian[q:]]))
        keys = []
        for name, column in zip(self.data.model.columns, some.columns, strict=True):
            if name in self.along:
                key = np.empty(some.rows)
                key[np.lexsort((column, code))] = np.arange(some.rows)
                keys.append(key)
        return residual_misfit(found, some.weights, keys)

    def _codes(self, chunk: Chunk) -> Array:
        return chunk.columns[self.code].astype(np.intp)

    def _rows(self, theta: Array, values: Array, chunk: Chunk) -> Rows:
        """Return the rows with the slopes to the groups' own parameters, then to the common."""
        columns, code = list(chunk.columns), self._codes(chunk)
        for place, column in zip(self.own, values.T, strict=True):
            columns[place] = column[code]
        shifted = np.concatenate([np.zeros(len(self.own)), theta])
        return self.kernel.rows(shifted, Chunk(tuple(columns), chunk.weights))

    def _totals(
        self,
        theta: Array,
        values: Array,
        *,
        cross: bool = False,
        only: Array | None = None,
        loss_only: bool = False,
    ) -> Totals:
        """Add up the rows of each group, or ``only`` of some, bool[g]."""
        count, q = values.shape
        wide = q + self.count if cross else q
        loss, gradient = np.zeros(count), np.zeros((count, q))
        curvature = np.zeros((count, q, wide))
        for chunk in self.data.chunks():
            if only is not None and not only.all():
                chunk = chunk.taken(np.flatnonzero(only[self._codes(chunk)]))
            for first in range(0, chunk.rows, STRIDE):
                some = chunk.part(first, first + STRIDE)
                found, code = self._rows(theta, values, some), self._codes(some)
                weight = np.float64(1.0) if some.weights is None else some.weights
                loss += np.bincount(code, weight * found.loss, count)
                for k, slope in enumerate(() if loss_only else found.jacobian[:q]):
                    gradient[:, k] += np.bincount(code, weight * found.grad * slope, count)
                    bent = weight * found.hess * slope
                    for i in range(k, wide):
                        curvature[:, k, i] += np.bincount(code, bent * found.jacobian[i], count)
        for k in range(q):
            curvature[:, k + 1 : q, k] = curvature[:, k, k + 1 : q]
        return Totals(loss, gradient, curvature[:, :, :q], curvature[:, :, q:] if cross else None)

    def _minimum(self, theta: Array, values: Array, only: Array | None = None) -> Minimum:
        """Walk each group, or ``only`` some, to its minimum by damped steps.

        Levenberg 1944, Quarterly of Applied Mathematics 2, 164-168; Marquardt 1963, SIAM Journal
        11, 431-441.
        """
        groups, damping = self.groups, np.zeros(len(values))
        here = self._totals(theta, values, only=only)
        row = max(float(here.loss.sum()) / self.data.rows, np.finfo(float).tiny)
        moving = np.isfinite(here.loss) & (True if only is None else only)
        for _ in range(MOST_STEPS):
            free = self._free(values, here.gradient)
            some, step = np.flatnonzero(moving), np.zeros_like(values)
            inverse, _ = _inverse(here.curvature[some], free[some], damping[some])
            step[some] = -np.einsum("gkl,gl->gk", inverse, here.gradient[some])
            gain = -np.einsum("gk,gk->g", step, here.gradient) / 2
            moving &= ~(gain <= ARRIVED * row)
            if not moving.any():
                break
            trial = np.clip(values + np.where(moving[:, None], step, 0.0), groups.low, groups.high)
            there = self._totals(theta, trial, only=moving)
            with np.errstate(invalid="ignore"):
                lower = there.loss <= here.loss * (1 + ROUNDING)
                finite = np.isfinite(there.gradient).all(axis=1)
            accepted = moving & lower & finite
            values = np.where(accepted[:, None], trial, values)
            here = Totals(
                _chosen(accepted, there.loss, here.loss),
                _chosen(accepted, there.gradient, here.gradient),
                _chosen(accepted, there.curvature, here.curvature),
                None,
            )
            damping = np.where(
                accepted,
                np.where(damping > LEAST_DAMPING, damping / 10, 0.0),
                np.maximum(10 * damping, LEAST_DAMPING),
            )
            moving &= damping <= MOST_DAMPING
        here = self._totals(theta, values, cross=True, only=only)
        free = self._free(values, here.gradient)
        inverse, undetermined = _inverse(here.curvature, free, np.zeros(len(values)))
        coupling = inverse @ here.cross
        fitted = int(np.count_nonzero(free & ~undetermined))
        return Minimum(theta.copy(), values, here.loss, inverse, coupling, undetermined, fitted)

    def _free(self, values: Array, gradient: Array) -> Array:
        """Return which may move: those not held, nor pushed against their bound."""
        low = (values <= self.groups.low) & (gradient >= 0)
        high = (values >= self.groups.high) & (gradient <= 0)
        return np.asarray(~(self.groups.held | low | high))


def groups_of(model: Model, options: Options, weighting: Weighting) -> Groups | None:
    """Return what groups have of their own; None where they take the way of all parameters.

    Raises
    ------
    UsageError
        When there are too many for that way, and something does not go with this one.
    """
    families, count = model.formula.families, len(model.free)
    if not families or count <= FEW_FREE:
        return None
    names = {n: own for n, (own, _) in model.formula.subscripts.items() if n in families}
    columns = sorted({model.formula.subscripts[name][1] for name in families})
    tied = [p.name for p in model.parameters.values() if p.role == "tied"]
    why = ""
    if len(columns) > 1:
        why = f"a single column may index them, not {' and '.join(columns)}"
    elif tied:
        why = f"none may be tied, as {tied[0]!r} is"
    elif options.optimizer is not None:
        why = f"auto has to step, not {options.optimizer.name}"
    elif model.loss.name != SQUARED:
        why = f"the loss has to be mse, not {model.loss.name}"
    elif weighting.covariance == SANDWICH or weighting.root is not None:
        why = "rows have to be independent, with classical standard errors"
    elif options.intervals != WALD:
        why = f"intervals have to be 'wald', not {options.intervals!r}"
    elif {*model.base.free} <= {*names.values()}:
        why = (
            "some have to be common to all groups; fit each group by itself with sgdfit.fit_many"
            " (--by on the command line)"
        )
    if why and count > MOST_FREE:
        raise UsageError(
            f"'{model.formula}' has {count:,} free parameters; of more than {MOST_FREE} {why}"
        )
    if why:
        return None
    own = [[model.parameters[member] for member in members] for members in families.values()]
    start, low, high = (
        np.array([[getattr(p, field) for p in row] for row in own], dtype=np.float64).T
        for field in ("start", "low", "high")
    )
    held = np.array([[p.role == "fixed" for p in row] for row in own]).T
    return Groups(model, tuple(names.values()), columns[0], start, low, high, held)


def common_model(groups: Groups) -> Model:
    """Return the model of one group, among whose columns is that of the groups' numbers."""
    base = groups.model.base
    return replace(base, variables=(*base.variables, groups.column))


def eliminate_groups(problem: Problem, groups: Groups) -> tuple[Problem, Eliminated]:
    """Return the problem of the common parameters, those of the groups at their minimum.

    ``problem`` is that of `common_model`, its rows in memory.
    """
    model, whole = problem.model, problem.chunk
    named = dict(zip(model.columns, whole.columns, strict=True))
    code = named[groups.column].astype(np.intp)
    named |= {name: groups.values[code, k] for k, name in enumerate(groups.names)}
    common = replace(
        model,
        variables=(*model.variables, *groups.names),
        parameters={n: p for n, p in model.parameters.items() if n not in groups.names},
    )
    chunk = Chunk(tuple(named[name] for name in common.columns), whole.weights)
    old = problem.data
    data = TrainingData(common, chunk, chunk, old.threads, FORGETFUL, mean_weight=old.mean_weight)
    eliminated = Eliminated(common, groups, data)
    few = problem._replace(
        model=common,
        data=data,
        kernel=eliminated.as_kernel(),
        box=box_of(common),
        linear=np.zeros(0, dtype=np.intp),
        groups=groups,
    )
    return few, eliminated


def minimize_groups(problem: Problem) -> tuple[Problem, Outcome]:
    """Return how the run went, and the problem of the common parameters."""
    groups = problem.groups
    assert groups is not None  # the caller has looked
    if problem.rows < len(groups.model.free):
        raise DataError(too_few(problem.label, problem.rows, groups.model.free))
    whole, facts = problem, None
    lent: Array = groups.values[:0]
    if missing(groups.model) and problem.options.search is not False:
        whole, lent, facts = search_groups(problem)
        groups = whole.groups or groups
    problem, eliminated = eliminate_groups(whole, groups)
    start = np.array(problem.model.start)
    eliminated.improve(start, lent)
    outcome = walk(problem, start, [problem.rows])
    if outcome.ending == "lost":
        return problem, outcome
    for _ in range(ROUNDS):
        if outcome.is_called_off or not eliminated.improve(outcome.theta):
            break
        outcome = merge_runs(outcome, walk(problem, outcome.theta, [problem.rows]))
    minimum = eliminated.at(outcome.theta)
    problem, _ = eliminate_groups(whole, groups._replace(values=minimum.values, minimum=minimum))
    outcome = outcome._replace(misfit=eliminated.misfit(outcome.theta), search=facts)
    return problem, outcome


def search_groups(problem: Problem) -> tuple[Problem, Array, StartSearch | None]:
    """Search some of the groups for starts; return the problem with them, and theirs, [k, q].

    All others begin where the median of these does.
    """
    from sgdfit.starts.levels import find_level_starts, has_indexed
    from sgdfit.starts.search import find_starts

    groups, whole = problem.groups, problem.chunk
    assert groups is not None  # the caller has looked
    chosen = np.unique(np.linspace(0, len(groups.values) - 1, SEARCHED).astype(int))
    some = _of_levels(groups, chosen.tolist())
    columns = dict(zip(problem.model.columns, whole.columns, strict=True))
    code = columns[groups.column].astype(np.intp)
    rows = np.concatenate([np.flatnonzero(code == g)[:ROWS_OF_A_LEVEL] for g in chosen])
    columns = {name: column[rows] for name, column in columns.items()}
    columns[groups.column] = np.searchsorted(chosen, code[rows]).astype(np.float64)
    weights = None if whole.weights is None else whole.weights[rows]
    chunk = Chunk(tuple(columns[name] for name in some.columns), weights)
    sought = missing(some)
    given = {n: some.parameters[n].start for n in some.free if n not in sought}
    find = find_level_starts if has_indexed(some, sought) else find_starts
    found = find(some, chunk, given, problem.seed)
    if not found.candidates:
        return problem, groups.values[:0], None
    best = found.candidates[0]
    theta = canonical_theta(some, best.theta, sought)[0]
    values = dict(zip(some.free, map(float, theta), strict=True))
    families = some.formula.families.values()
    known = {n: p.start for n, p in some.parameters.items()} | values
    lent = np.array([[known[member] for member in members] for members in families]).T
    facts = facts_of(found, chunk.rows)
    families, unsaid = groups.model.formula.families.values(), {*missing(groups.model)}
    open_ = np.array([[member in unsaid for member in members] for members in families]).T
    start = np.where(open_, np.median(lent, axis=0), groups.values)
    common = replace(
        problem.model,
        parameters={
            name: replace(p, start=values[name], origin="search") if name in sought else p
            for name, p in problem.model.parameters.items()
        },
    )
    everything = dict(groups.model.parameters)
    for k, members in enumerate(families):
        for g, member in enumerate(members):
            if open_[g, k]:
                own = everything[member]
                everything[member] = replace(own, start=float(start[g, k]), origin="search")
    full = replace(groups.model, parameters=everything)
    return (
        problem._replace(model=common, groups=groups._replace(model=full, values=start)),
        lent,
        facts,
    )


def _of_levels(groups: Groups, chosen: Sequence[int]) -> Model:
    """Return the model of some of the groups."""
    model, formula = groups.model, groups.model.formula
    put, left = dict[Expr, Expr](), set(model.parameters)
    for name, members in formula.families.items():
        code = symbol(formula.subscripts[name][1])
        few = [members[g] for g in chosen]
        put[Select(code, *map(symbol, members))] = Select(code, *map(symbol, few))
        left -= {*members} - {*few}
    few_levels = [formula.levels[groups.column][g] for g in chosen]
    some = replace(
        formula,
        expression=formula.expression.xreplace(put),
        names=tuple(n for n in formula.names if n in left or n in model.variables),
        levels={groups.column: tuple(few_levels)},
    )
    parameters = {name: p for name, p in model.parameters.items() if name in left}
    return replace(model, formula=some, parameters=parameters)


def with_groups(problem: Problem, result: Result) -> Result:
    """Return the result of the common parameters together with those of the groups."""
    groups, mean = problem.groups, problem.data.mean_weight
    assert groups is not None  # the caller has looked
    model, minimum = groups.model, groups.minimum
    where = {
        member: (g, k)
        for k, members in enumerate(model.formula.families.values())
        for g, member in enumerate(members)
    }
    table: dict[str, Estimate] = {}
    for name, parameter in model.parameters.items():
        if name in result.estimates:
            table[name] = result.estimates[name]
            continue
        value = parameter.start if minimum is None else float(minimum.values[where[name]])
        table[name] = Estimate(
            name=name,
            value=value,
            start=parameter.start,
            start_origin=parameter.origin,
            role=parameter.role,
            low=parameter.low,
            high=parameter.high,
            at_bound=parameter.role == "free" and value in (parameter.low, parameter.high),
        )
    changes: dict[str, Any] = {
        "formula": str(model.formula),
        "estimates": table,
        "free": model.free,
        "levels": dict(model.formula.levels),
        "covariance": None,
        "correlation": None,
    }
    if minimum is not None and result.covariance is not None and result.noise_variance is not None:
        rows = [
            where.get(n, (-1, result.free.index(n) if n in result.free else 0)) for n in model.free
        ]
        known = _covariance_of(minimum, result.covariance, result.noise_variance / mean, rows)
        dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
        for name, variance in zip(model.free, known.diagonal().tolist(), strict=True):
            error = math.sqrt(variance) if variance >= 0 else None
            interval = confidence_interval(table[name].value, error, dof, result.level)
            table[name] = replace(table[name], stderr=error, interval=interval)
        if len(model.free) > MOST_DENSE:
            changes["block_covariance"] = known
        else:
            whole = known.dense(np.arange(len(model.free)))
            changes |= {"covariance": whole, "correlation": correlation(whole)}
    if minimum is not None and minimum.open.any():
        left = [name for name in model.free if name in where and minimum.open[where[name]]]
        changes["undetermined"] = (*result.undetermined, *left)
        changes["warnings"] = (
            *result.warnings,
            f"the rows of their groups do not determine {listed(left)}: near these estimates other"
            " values fit as well, so there is no standard error; leave such groups out, or fix or"
            " tie their parameters",
        )
    return replace(result, **changes)


def _covariance_of(
    place: Minimum, common: Array, noise: float, rows: Sequence[tuple[int, int]]
) -> BlockCovariance:
    """Return that of all free parameters, ``rows`` of which are their group and their place there.

    Nothing is known of what stands on a bound or is not determined.
    """
    group, which = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    inside, own = group >= 0, 2 * noise * place.inverse
    at = group[inside], which[inside]
    slopes, block = np.zeros((len(rows), len(common))), np.zeros((len(rows), own.shape[1]))
    slopes[inside], block[inside] = -place.coupling[at], own[at]
    slopes[~inside, which[~inside]] = 1.0
    known = ~np.isnan(common.diagonal())
    slopes[~inside] = np.where(known[which[~inside], None], slopes[~inside], np.nan)
    lost = place.open[at] | (own[*at, which[inside]] == 0)
    slopes[inside] = np.where(lost[:, None], np.nan, slopes[inside])
    common = np.where(np.isnan(common), 0.0, common)
    return BlockCovariance(common, slopes, group, np.where(inside, which, 0), block)


def _chosen(accepted: Array, new: Array, old: Array) -> Array:
    """Return the new values for groups that accepted them."""
    return np.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _no_sweep(*_: Any) -> Any:
    raise AssertionError("groups take no steps of textbook descent")


def _shifted(model: Model, names: Sequence[str]) -> Model:
    """Return the model with the parameters of groups free, as what is added to their columns."""
    shifts = {name: f"{name}+" for name in names}
    expression = model.formula.expression.xreplace(
        {symbol(name): symbol(name) + symbol(shift) for name, shift in shifts.items()}
    )
    own = {shift: Parameter(shift, 0.0, "shift") for shift in shifts.values()}
    return replace(
        model,
        formula=Formula(expression, model.formula.response),
        parameters={**own, **model.parameters},
    )


def _inverse(curvature: Array, free: Array, damping: Array) -> tuple[Array, Array]:
    """Return the inverse of each group's curvature and which parameters are not determined.

    Of the ``free`` ones, bool[g, q], scaled to a diagonal of 1 + damping; 0 along the others, and
    along directions that the rows of the group do not determine.
    """
    diagonal = np.where(free, np.einsum("gkk->gk", curvature), 0.0)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    both = (diagonal > 0)[:, :, None] & (diagonal > 0)[:, None, :]
    scaled = np.where(both, curvature / scale[:, :, None] / scale[:, None, :], 0.0)
    scaled = np.where(np.isfinite(scaled), scaled, 0.0)
    sizes, vectors = np.linalg.eigh(scaled)
    known = sizes > SINGULAR
    shares = np.where(known, 1 / np.where(known, sizes + damping[:, None], 1.0), 0.0)
    inverse = np.einsum("gki,gi,gli->gkl", vectors, shares, vectors)
    inverse = inverse / scale[:, :, None] / scale[:, None, :]
    lost = np.einsum("gki,gi->gk", vectors**2, ~known)
    return inverse, free & (lost > EPS)
