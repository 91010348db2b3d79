"""Every step of a move times every fault: see matrix.py. Prints the tables of what came of it.

All of it takes hours; without a word a sample of it is played. Environment:

    VMFERRY_TEST_MATRIX       all, or a number: how many cells (the sample), or patterns of cells
                              as the tables and failures name them, with commas: plain:*:sigint
    VMFERRY_TEST_MATRIX_SEED  what the sample depends on; it is printed
"""

import fnmatch
import os
import random
import sys
import unittest

from matrix import FAULTS, VARIANTS, Cell, Plan, Scene
from test_faults import FaultTest

SAMPLE = 40  # fits ten minutes
SEED = "1"


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

    def chosen(self, variant):
        wanted = os.environ.get("VMFERRY_TEST_MATRIX", str(SAMPLE))
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
        cells = sum(map(self.cells, VARIANTS), [])
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
