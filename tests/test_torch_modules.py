"""Modules of torch's as models: names, starts, values written back, saving, what is refused."""

import numpy as np
import pytest

import sgdfit
from sgdfit.errors import FormulaError, UsageError

X = np.linspace(0.0, 4.0, 40)
Y = 3 * np.exp(-1.3 * X) + 0.5 + 0.05 * np.random.default_rng(0).standard_normal(40)
DATA = {"x": X, "y": Y}


@pytest.fixture(scope="module")
def modules(torch):
    """Return classes of modules by their names."""

    class Decay(torch.nn.Module):
        def __init__(self, **values):
            super().__init__()
            for name, value in {"a": 1.0, "b": 1.0, "c": 0.0, **values}.items():
                setattr(self, name, torch.nn.Parameter(torch.tensor(value)))

        def forward(self, x):
            return self.a * torch.exp(-self.b * x) + self.c

    class Cubic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(4))
            self.register_buffer("powers", torch.arange(4.0))

        def forward(self, x):
            return x[:, None] ** self.powers @ self.weight

    class Cut(Decay):  # of one row
        def forward(self, x):
            return self.a * (1 - torch.linspace(0, 1, 4) * self.b * x).sum() + self.c

    class Branch(Decay):  # which vmap cannot follow
        def forward(self, x):
            return self.a * torch.exp(-self.b * x) + self.c if x > -1 else x

    return {kind.__name__: kind for kind in (Decay, Cubic, Cut, Branch)}


@pytest.mark.parametrize("name", ["Decay", "Branch"])
def test_a_module_is_fitted_as_its_formula_from_its_own_values(torch, modules, name):
    module = modules[name](a=2.0)
    fit = sgdfit.fit(module, DATA, response="y")
    known = sgdfit.fit("y = a*exp(-b*x) + c", DATA)
    assert fit.formula == f"y = {name}(x, a, b, c)"
    assert fit.called.endswith("slopes by torch.func")
    np.testing.assert_allclose(fit.trace.parameters[0], [2.0, 1.0, 0.0])
    np.testing.assert_allclose(list(fit.values.values()), list(known.values.values()), rtol=1e-9)
    np.testing.assert_allclose(fit.covariance, known.covariance, rtol=1e-6)
    # Written back by one line; until then the module is as it was.
    assert [p.item() for p in module.parameters()] == [2.0, 1.0, 0.0]
    found = torch.tensor(list(fit.values.values()))
    torch.nn.utils.vector_to_parameters(found, module.parameters())
    given = module(torch.tensor(1.0)).item()
    assert given == pytest.approx(float(fit.predict({"x": [1.0]})[0]), rel=1e-6)


def test_entries_are_named_bounded_tied_frozen_saved_and_loaded(torch, modules, tmp_path):
    module = modules["Cubic"]()
    known = np.polyfit(X, Y, 3)[::-1]
    fit = sgdfit.fit(module, DATA, response="y", start="weight[0]=1, weight[2]=0.5")
    assert list(fit.values) == [f"weight[{k}]" for k in range(4)]
    np.testing.assert_allclose(list(fit.values.values()), known, rtol=1e-8)
    fit.save(tmp_path / "fit.json")
    again = sgdfit.load(tmp_path / "fit.json", function=module)
    one, two = (f.predict({"x": [1.5]}, interval="prediction") for f in (fit, again))
    assert str(one) == str(two)
    how = {"bounds": "weight[0] < 3", "tied": "weight[3] = -weight[2]/10"}
    held = sgdfit.fit(module, DATA, response="y", fixed={"weight[1]": -2.0}, **how).values
    assert held["weight[1]"] == -2.0
    assert held["weight[0]"] <= 3.0
    assert held["weight[3]"] == pytest.approx(-held["weight[2]"] / 10)
    frozen = modules["Decay"](c=0.5)
    frozen.c.requires_grad_(False)
    fit = sgdfit.fit(frozen, DATA, response="y")
    assert fit.free == ("a", "b")
    assert fit.values["c"] == 0.5


def test_layers_that_take_columns_are_given_them(torch):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 1))
    fit = sgdfit.fit(net, {"input": X[:, None], "y": Y}, response="y", steps=30, search=False)
    assert list(fit.values)[:3] == ["0.weight[0,0]", "0.weight[1,0]", "0.bias[0]"]
    torch.nn.utils.vector_to_parameters(
        torch.tensor(list(fit.values.values()), dtype=torch.float64), net.parameters()
    )
    given = net(torch.tensor(X)[:, None]).detach().numpy()[:, 0]
    np.testing.assert_allclose(fit.predict({"input": X}), given, rtol=1e-12)
    assert fit.loss == pytest.approx(np.mean((given - Y) ** 2), rel=1e-12)


def test_rows_one_by_one_are_mapped(torch, modules):
    fit = sgdfit.fit(modules["Cut"](), DATA, response="y", fixed="c=0.5", search=False)
    assert fit.called.startswith("called row by row with tensors by torch.vmap, ")
    line = np.polyfit(X, Y - 0.5, 1)
    np.testing.assert_allclose(fit.values["a"], line[1] / 4, rtol=1e-8)
    np.testing.assert_allclose(fit.values["b"] * fit.values["a"] * -2, line[0], rtol=1e-8)


def test_steps_on_batches_are_those_of_torchs_own_loop(torch, modules, tmp_path):
    module = modules["Decay"]().double()
    how = {"response": "y", "optimizer": "sgd(momentum=0.9)", "learning_rate": 0.05, "steps": 40}
    how |= {"batch_size": 8, "shuffle": False, "checkpoint": tmp_path / "run", "trace_every": 1}
    stopped = sgdfit.fit(module, DATA, callback=lambda p: p.step >= 15, **how)
    assert stopped.status.name == "stopped"
    fit = sgdfit.fit(module, DATA, resume=True, **how)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    path, batches = [], torch.tensor(np.array([X, Y])).reshape(2, 5, 8)
    for step in range(40):
        path.append([p.item() for p in module.parameters()])
        optimizer.zero_grad()
        ((module(batches[0, step % 5]) - batches[1, step % 5]) ** 2).mean().backward()
        optimizer.step()
    np.testing.assert_allclose(fit.trace.parameters[:40], path, rtol=1e-12, atol=1e-12)


def test_what_is_no_model_is_refused(torch, modules):
    nn, decay = torch.nn, modules["Decay"]

    class Unnamed(decay):
        def forward(self, *columns):
            return self.a * columns[0]

    class Two(decay):
        def forward(self, x):
            return torch.stack([self.a * x, self.b * x, self.c * x], 1)

    def refused(module, sentence, error=FormulaError, **more):
        with pytest.raises(error, match=sentence):
            sgdfit.fit(module, {**DATA, "input": X, **more}, response="y")

    layers = nn.Sequential(nn.Linear(1, 2), nn.Dropout(), nn.Linear(2, 1))
    refused(layers, r"Sequential is in training mode, in which its Dropout .*call \.eval\(\)")
    refused(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2)), "its BatchNorm1d draws or mixes")
    refused(nn.Sequential(nn.Linear(1, 99), nn.Linear(99, 9)), r"has 1,098 free .* up to 500")
    refused(nn.Tanh(), "has no parameters")
    refused(decay, "Decay is a class of modules; pass one of them, as in")
    refused(decay(a=float("nan")), "has a parameter 'a' that is no finite real number")
    refused(Unnamed(), "names no columns in its forward")
    refused(Two(), r"returned the shape \(40, 3\) for 40 rows")
    refused(decay(), "has a parameter 'a', and the data a column", a=X)
    with pytest.raises(FormulaError, match=r"takes the column 'x'.* which the data lack"):
        sgdfit.fit(decay(), {"t": X, "y": Y}, response="y")
    with pytest.raises(UsageError, match=r"no parameter .*; its parameters are a, b, c"):
        sgdfit.fit(decay(), DATA, response="y", start={"d": 1.0})


@pytest.mark.parametrize(("kind", "told"), [("int32", "whole numbers"), ("float32", "few digits")])
def test_numbers_of_few_digits_are_warned_of(torch, kind, told):
    fit = sgdfit.fit(
        lambda a, b, x: (a + torch.cumsum(torch.diag(x), 0)[-1] * b).to(getattr(torch, kind)),
        {"x": X, "y": 3 + 20 * X},
        response="y",
        start={"a": 1.0, "b": 15.0},
    )
    assert any(f"returns {kind}" in warning and told in warning for warning in fit.warnings)
