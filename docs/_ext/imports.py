"""The picture of the packages: drawn from the imports in the source, not from memory."""

import ast
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "sgdfit"
WIDTH, HEIGHT = 1.9, 0.46  # of a box, where layers are 1 apart
APART, EDGE = 2.2, 3.3  # of boxes in a layer, and where the outermost stand
CURVES = {1: 0.0, 2: 0.12}  # how much an arrow bends that leads so many layers up


def layers() -> list[set[str]]:
    """Return the packages in the order that tests/test_architecture.py holds."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS"
    )
    found: list[set[str]] = ast.literal_eval(table)
    return found


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports() -> dict[str, set[str]]:
    """Return which packages each package imports from."""
    packages = set().union(*layers())
    found: dict[str, set[str]] = {package: set() for package in packages}
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        names = (name.split(".") for name in _imported(path) if name.startswith("sgdfit."))
        if package in packages:
            found[package] |= {parts[1] for parts in names} & packages - {package}
    return found


def direct(needs: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out what a package reaches by way of another that it imports."""
    reached: dict[str, set[str]] = {}
    for package in (package for layer in layers() for package in sorted(layer)):
        reached[package] = set().union(needs[package], *(reached[n] for n in needs[package]))
    return {
        package: near - set().union(*(reached[n] for n in near)) for package, near in needs.items()
    }


def draw() -> Figure:
    """Return the packages as boxes, layer by layer, with an arrow to each that one imports."""
    needs, place = direct(imports()), dict[str, tuple[float, float]]()
    for depth, layer in enumerate(layers()):
        # Each near the middle of what it imports, so that few arrows cross.
        wished = {
            name: sum(place[n][0] for n in needs[name]) / max(len(needs[name]), 1)
            for name in sorted(layer)
        }
        ordered = sorted(wished, key=wished.__getitem__)
        count, middle = len(ordered), sum(wished.values()) / len(ordered)
        reach = EDGE - APART * (count - 1) / 2
        middle = min(max(middle, -reach), reach)
        for k, name in enumerate(ordered):
            place[name] = (middle + APART * (k - (count - 1) / 2), -float(depth))
    figure = Figure(figsize=(7.2, 8.4), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-4.6, 4.6), ylim=(0.5 - len(layers()), 0.5))
    axes.set_axis_off()
    for name, (x, y) in place.items():
        axes.text(x, y, name, ha="center", va="center", fontsize=11, color="#1a1a1a", zorder=3)
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor="#e8f0f8",
                edgecolor="#46627f",
                zorder=2,
            )
        )
        for other in needs[name]:
            u, v = place[other]
            bend = CURVES.get(round(v - y), 0.2) * (1 if u >= x else -1)
            axes.add_patch(
                FancyArrowPatch(
                    (x, y + HEIGHT / 2),
                    (u, v - HEIGHT / 2),
                    connectionstyle=f"arc3,rad={bend}",
                    arrowstyle="-|>",
                    mutation_scale=10,
                    color="#46627f",
                    linewidth=0.9,
                    shrinkA=0,
                    shrinkB=0,
                )
            )
    return figure
