"""The directive ``command``: lines that are run by a shell, shown with what they print.

    ```{command}
    sgdfit fit decay.csv "y = a*exp(-b*x)"
    ```

A command that ends with another status than the option ``:status:``, 0 unless given, ends the
build.
"""

import os
import subprocess
import sys

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective


class Command(SphinxDirective):
    """Run lines, and show them with what they print."""

    has_content = True
    option_spec = {"status": directives.nonnegative_int, "quiet": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the lines, and below them what was printed."""
        lines = "\n".join(self.content)
        own = os.path.dirname(sys.executable)
        environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-e", "-c", lines],
            cwd=self.config.commands_folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != self.options.get("status", 0):
            raise ExtensionError(f"{self.get_location()}: {lines}\n{done.stdout}")
        found: list[nodes.Node] = [nodes.literal_block(lines, lines, language="sh")]
        if done.stdout.strip() and "quiet" not in self.options:
            text = done.stdout.strip("\n")
            found.append(nodes.literal_block(text, text, language="text", classes=["output"]))
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_config_value("commands_folder", "", "env")
    app.add_directive("command", Command)
    return {"parallel_read_safe": True}
