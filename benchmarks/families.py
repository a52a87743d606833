"""What tests verify for every family of Mamba-2 models, each cell from a run of its tests.

    python -m benchmarks.families [--write]

Models are tiny and random, with every option on that changes the arithmetic. A cell is the largest error
that its tests measured, or how many passed: `terms exact` compares with what the model's own scan receives,
`decode` with one pass over the whole text, and `padding` with every text alone, there without the bias of
`in_proj`, with which the models themselves read pads. `--write` puts the table in README.md.
"""

import argparse
import math
import re
import sys
from collections import defaultdict
from collections.abc import Generator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
import transformers

from benchmarks.measure import print_table
from components.bridge.families import FAMILIES

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "bridge" / "test_families.py"
COLUMNS = {
    "loads": "loads",
    "terms": "terms exact",
    "faithfulness": "faithfulness",
    "edits": "edits",
    "padding": "padding",
    "decode": "decode",
    "offload": "offload",
}
"""Column by the word after `test_`."""
PADDING = "Padding: against each text alone, in models whose `in_proj` has no bias; with one, they read pads."
BETWEEN = re.compile(r"(?<=<!-- families -->\n).*?(?=<!-- families -->)", re.DOTALL)


class Outcomes:
    """A plugin that records whether every test of a family passed, and the error that it measured."""

    def __init__(self) -> None:
        self.passed: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.errors: dict[tuple[str, str], list[float]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record a test that ran, or whose fixtures failed."""
        report = yield
        column = item.originalname.split("_")[1]
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if case and (report.when == "call" or not report.passed):
            self.passed[case.family, column].append(report.passed)
            self.errors[case.family, column] += [e for name, e in report.user_properties if name == "error"]
        return report

    def cell(self, family: str, column: str) -> str:
        """`✗` where a test failed or none ran; else the largest error, or the number of tests."""
        passed, errors = self.passed[family, column], self.errors[family, column]
        if not passed or not all(passed):
            return "✗"
        if not errors:
            return f"✓ {len(passed)}"
        return rounded_up(max(errors)) if max(errors) else "exact"


def rounded_up(error: float) -> str:
    """One digit, such as 4e-7, and no less than the error."""
    exponent = math.floor(math.log10(error))
    digit = math.ceil(error / 10**exponent)
    return f"{digit}e{exponent}" if digit < 10 else f"1e{exponent + 1}"


def main() -> int:
    """Run the tests, print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table in README.md")
    options = parser.parse_args()
    outcomes = Outcomes()
    with redirect_stdout(sys.stderr):
        # Without the options of pyproject.toml: jaxtyping cannot check modules that are already imported.
        arguments = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", str(TESTS)]
        failed = pytest.main(arguments, plugins=[outcomes])
    table = StringIO()
    with redirect_stdout(table):
        print_table(
            ["family", *COLUMNS.values()],
            [
                [f"`{family.model_type}`", *(outcomes.cell(family.model_type, column) for column in COLUMNS)]
                for family in FAMILIES
            ],
        )
        versions = (transformers.__version__, torch.__version__.partition("+")[0])
        print("\nWith transformers {}, torch {}, on a CPU.".format(*versions), PADDING)
    print(table.getvalue())
    if options.write:
        readme = ROOT / "README.md"
        text = readme.read_text(encoding="utf-8")
        readme.write_text(BETWEEN.sub(lambda _: table.getvalue(), text, count=1), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
