"""The directions of imports that docs/architecture.md draws, read from the source itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sgdfit"

# Each package may import from those on lines above its own, and from itself.
LAYERS = [
    {"errors"},
    {"choice", "checkpoint"},
    {"formula", "data", "inference", "optimizers"},
    {"model"},
    {"derivation", "kernel", "result"},
    {"starts"},
    {"fitting", "report"},
    {"plot", "online"},
    {"demo", "document", "scipy", "sklearn"},
    {"page"},
    {"cli"},
]

# The kernel takes a table's rows, an optimizer and an order, and a derivation reads the data.
OUTSIDE = {
    "latex2mathml": {"derivation"},
    "sympy": {"formula", "model", "derivation", "kernel"},
    "numba": {"kernel"},
    "llvmlite": {"kernel"},
    "pyarrow": {"data", "result", "cli"},
    "matplotlib": {"plot", "demo", "document"},
    "rich": {"report", "demo", "cli"},
    "typer": {"cli"},
    "torch": {"formula", "derivation", "kernel"},
    "starlette": {"page"},
    "uvicorn": {"page"},
    "anywidget": {"page"},
    "contourpy": {"page"},
    "pandas": set(),
    "polars": set(),
    "sklearn": {"sklearn"},
}


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if name not in ("__init__", "__main__"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree):
    """Yield every name that is imported, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = dict(modules())


def level(package):
    return next(i for i, layer in enumerate(LAYERS) if package in layer)


def targets():
    """Yield the package of each module, and what it imports, by names that tell a fault."""
    for name, tree in MODULES.items():
        for target in imported(tree):
            yield name.split(".")[0], target, f"{name} imports {target}"


def test_imports_run_one_way():
    wrong = [
        told
        for package, target, told in targets()
        if target.startswith("sgdfit.")
        and (other := target.split(".")[1]) not in (package, "__version__")
        and level(other) >= level(package)
    ]
    assert wrong == []


def test_each_dependency_has_its_place():
    wrong = [
        told
        for package, target, told in targets()
        if (top := target.split(".")[0]) in OUTSIDE and package not in OUTSIDE[top]
    ]
    assert wrong == []


def test_no_file_imports_itself_by_way_of_others():
    needs = {
        name: {
            target.removeprefix("sgdfit.")
            for full in imported(tree)
            for target in (full, full.rpartition(".")[0])
            if target.startswith("sgdfit.") and target.removeprefix("sgdfit.") in MODULES
        }
        for name, tree in MODULES.items()
    }
    while leaves := {name for name, needed in needs.items() if not needed & needs.keys()}:
        needs = {name: needed for name, needed in needs.items() if name not in leaves}
    assert not needs


def test_parts_that_plug_in_do_not_know_one_another():
    parts = {"optimizers.schedule", "data.table", "model.loss"}
    for name in parts:
        for target in imported(MODULES[name]):
            assert target.removeprefix("sgdfit.").rpartition(".")[0] not in parts - {name}


def test_no_module_bears_the_name_of_its_function():
    for name, tree in MODULES.items():
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name.rpartition(".")[2] not in functions, name


def test_what_is_called_of_higher_packages_is_named_in_one_place():
    """All that `import sgdfit` is for within the package."""
    import sgdfit

    for path in SOURCE.rglob("*.py"):
        used = re.findall(r"^[^>\n]*\bsgdfit\.higher\(\"(\w+)", path.read_text("utf-8"), re.M)
        assert all(callable(sgdfit.higher(name)) for name in used), path


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import sgdfit", ["numpy", "sympy", "scipy", "numba", "pyarrow", "matplotlib", "rich"]),
        ("import sgdfit; sgdfit.fit", ["numba", "matplotlib", "pandas", "scipy.stats", "typer"]),
        (
            "import sgdfit; sgdfit.fit('y = a*x', {'x': [1., 2.], 'y': [2., 4.]}, steps=3)",
            ["numba", "matplotlib", "pandas", "pyarrow", "scipy.stats", "rich", "typer"],
        ),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement, absent):
    listing = f"import sys; {statement}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", listing], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import sgdfit

    for name in sgdfit.__all__:
        assert getattr(sgdfit, name) is not None
    assert dir(sgdfit) == sgdfit.__all__
