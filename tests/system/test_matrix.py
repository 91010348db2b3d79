"""Every step of a move times every fault: see matrix.py. Prints the tables of what came of it.

All of it takes hours; without a word a sample of it is played. Environment:

    VMFERRY_TEST_MATRIX       all, or a number: how many cells (the sample), or patterns of cells
                              as the tables and failures name them, with commas: plain:*:sigint
    VMFERRY_TEST_MATRIX_SEED  what the sample depends on; it is printed

The sample is of the variants that the machine's own QEMU plays.
"""

import fnmatch
import os
import pathlib
import random
import re
import sys
import unittest

from matrix import FAULTS, VARIANTS, Cell, Plan, Scene
from test_faults import FaultTest

SAMPLE = 40  # fits ten minutes
SEED = "1"
TABLE = pathlib.Path(__file__).resolve().parents[2] / "src/migrate/steps.c"

# Rows of the table that no variant comes to by itself.
ELSEWHERE = {
    "rejoin": "the destination has died before, once: test_retries",
    "expect": "by hand only, where each process has rows of its own: test_phases",
    "unserve": "by hand only: test_phases",
}


class Matrix(FaultTest):
    plans = {}

    @classmethod
    def setUpClass(cls):
        cls.outcomes = {}

    def setUp(self):
        pass  # each cell has hosts of its own

    def test_plain(self):
        self.play_all("plain")

    def test_paused(self):
        self.play_all("paused")

    def test_start(self):
        self.play_all("start")

    def test_clone(self):
        self.play_all("clone")

    def test_ssh(self):
        self.play_all("ssh")

    def test_old(self):
        self.play_all("old")

    def test_new(self):
        """Only this has `sync`, which QEMUs before 8.2 have not."""
        if not VARIANTS["new"].is_here():
            self.skipTest("tests/versions/setup unpacks its QEMU")
        self.play_all("new")

    def test_every_row_of_the_table_is_in_it(self):
        if not (self.wanted() == "all" or self.wanted().isdigit()):
            self.skipTest("only some cells are asked for")
        rows = re.findall(r'^\tSTEP\("(\w+)"', TABLE.read_text(), re.MULTILINE)
        played = {step.name for variant in VARIANTS if VARIANTS[variant].is_here()
                  for step in self.plan(variant).steps}
        if not VARIANTS["new"].is_here():
            played.add("sync")
        self.assertEqual(sorted(rows), sorted([*played, *ELSEWHERE]))

    def play_all(self, variant):
        chosen = self.chosen(variant)
        try:
            for cell in chosen:
                with self.subTest(cell=str(cell)):
                    self.outcomes[cell] = "FAILED"
                    self.fresh_hosts()
                    self.outcomes[cell] = Scene(self, cell, self.plan(variant)).play()
                print(cell, self.outcomes[cell], file=sys.stderr, flush=True)
        finally:
            if chosen:
                print(self.table(variant), file=sys.stderr, flush=True)

    def fresh_hosts(self):
        self.doCleanups()
        super().setUp()

    def plan(self, variant):
        if variant not in self.plans:
            self.fresh_hosts()
            self.plans[variant] = Plan(self, variant)
            self.fresh_hosts()
        return self.plans[variant]

    @staticmethod
    def wanted():
        return os.environ.get("VMFERRY_TEST_MATRIX", str(SAMPLE))

    def chosen(self, variant):
        wanted = self.wanted()
        if wanted.isdigit():
            return [cell for cell in self.sample(int(wanted)) if cell.variant == variant]
        patterns = ["*"] if wanted == "all" else wanted.split(",")
        if not any(fnmatch.fnmatchcase(variant, pattern.split(":")[0]) for pattern in patterns):
            return []
        return [cell for cell in self.cells(variant)
                if any(fnmatch.fnmatchcase(str(cell), pattern) for pattern in patterns)]

    def cells(self, variant):
        return [Cell(variant, step.name, fault) for step in self.plan(variant).steps
                for fault in FAULTS]

    def sample(self, count):
        seed = os.environ.get("VMFERRY_TEST_MATRIX_SEED", SEED)
        cells = sum((self.cells(name) for name, variant in VARIANTS.items() if not variant.suite),
                    [])
        print(f"{count} of {len(cells)} cells, VMFERRY_TEST_MATRIX_SEED={seed}", file=sys.stderr)
        return random.Random(seed).sample(cells, min(count, len(cells)))

    def table(self, variant):
        """Steps down, faults across."""
        mine = {cell: outcome for cell, outcome in self.outcomes.items()
                if cell.variant == variant}
        rows = [["", *FAULTS]]
        for step in self.plan(variant).steps:
            rows.append([step.name, *(mine.get(Cell(variant, step.name, fault), "")
                                      for fault in FAULTS)])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip()
                 for row in rows]
        counts = {outcome: list(mine.values()).count(outcome)
                  for outcome in ("stayed", "moved", "human", "-", "FAILED")}
        counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        legend = [f"  {name}: {fault.words}" for name, fault in FAULTS.items()]
        return "\n".join([f"\n{variant}: {VARIANTS[variant].words}", *lines, *legend,
                          f"{len(mine)} cases: {counted} (-: nothing there to strike)"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
