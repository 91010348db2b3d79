"""The options in --help, in the man page and in the completion are the same, and what is
said of a wrong command line names the thing."""

import os
import pathlib
import re
import subprocess
import unittest

import rig

TOP = pathlib.Path(__file__).resolve().parents[2]


def vmferry(*arguments):
    program = os.environ.get("VMFERRY", rig.BUILT)
    return subprocess.run([program, *arguments], capture_output=True, text=True)


class Words(unittest.TestCase):
    def options(self, command="migrate"):
        said = vmferry(command, "--help").stdout
        return set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", said, re.MULTILINE))

    def test_help_knows_the_options(self):
        self.assertLess({"--disk", "--start", "--json", "--identity"}, self.options())

    def test_man_page_has_them_all_and_no_other(self):
        text = (TOP / "man/vmferry.1").read_text()
        text = text[text.index(".Sh OPTIONS"):text.index(".Sh SSH")]
        tags = "\n".join(re.findall(r"^\.It (.*)$", text, re.MULTILINE))
        self.assertEqual({f"--{name}" for name in re.findall(r"(?:Fl |, )-([\w-]+)", tags)},
                         self.options() | self.options("recover"))

    def commands(self):
        said = vmferry("--help").stdout
        return re.findall(r"^  (\w+) +(?:SOURCE|DESTINATION|\[VM\]|VM)", said, re.MULTILINE)

    def test_help_knows_the_commands(self):
        self.assertEqual(self.commands(), ["migrate", "check", "begin", "prepare", "perform",
                                           "finish", "confirm", "status", "cancel",
                                           "recover"])

    def test_man_page_tells_which_phase_has_which(self):
        text = (TOP / "man/vmferry.1").read_text()
        text = text[text.index(".Sh BY HAND"):text.index(".Sh THE OLD WAY")]
        shared = set(re.findall(r"-([\w-]+)", re.search(r"All of them take\n(.*)", text).group(1)))
        for phase in self.commands()[2:7]:
            part = re.search(rf"\.It Cm {phase}\n(.*?)\.(?:It|El)", text, re.DOTALL).group(1)
            part = part[part.index("Options:"):] if "Options:" in part else ""
            named = set(re.findall(r"(?:Fl |, )-([\w-]+)", part))
            self.assertEqual({f"--{name}" for name in named | shared}, self.options(phase), phase)

    def test_completion_has_them_all_and_no_other(self):
        for command in self.commands():
            done = subprocess.run(["bash", "-c", "complete() { :; }; . \"$0\" && "
                                   "_vmferry_options \"$1\"",
                                   TOP / "completions/vmferry.bash", command],
                                  capture_output=True, text=True, check=True)
            self.assertEqual(set(done.stdout.split()), self.options(command), command)

    def test_man_page_is_well_formed(self):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", TOP / "man/vmferry.1"],
                              capture_output=True, text=True)
        self.assertEqual(done.stdout, "")

    def test_completion_is_bash(self):
        subprocess.run(["bash", "-n", TOP / "completions/vmferry.bash"], check=True)

    def wrong(self, *arguments, words):
        done = vmferry(*arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_wrong_command_lines(self):
        self.wrong(words=["command"])
        self.wrong("fly", words=["fly"])
        self.wrong("migrate", words=["SOURCE"])
        self.wrong("migrate", "/a", words=["DESTINATION"])
        self.wrong("migrate", "/a", "b:/c", "d", words=["\"d\""])
        self.wrong("migrate", "--nope", "/a", "b:/c", words=["--nope"])
        self.wrong("migrate", "/a", "b:c", words=["b:c", "absolute"])
        self.wrong("migrate", "/a", "-oProxyCommand=x:/c", words=["-o"])
        self.wrong("migrate", "--bandwidth", "fast", "/a", "b:/c", words=["--bandwidth", "fast"])
        self.wrong("migrate", "--ports", "5-4", "/a", "b:/c", words=["--ports", "5-4"])
        self.wrong("migrate", "--timeout", "tea=5", "/a", "b:/c", words=["tea=5", "stall"])
        self.wrong("migrate", "--data-address", "hostb", "/a", "b:/c", words=["numeric"])
        self.wrong("migrate", "--map", "a=b", "/a", "b:/c", words=["--map", "a=b"])
        self.wrong("migrate", "--trust-backing", "/a", "b:/c",
                   words=["--trust-backing", "--incremental"])

    def test_each_threat_has_its_tests(self):
        there = {"unit": set(), "system": set()}
        for path in (TOP / "tests/unit").glob("test_*.c"):
            there["unit"] |= set(re.findall(r"START_TEST\((\w+)\)", path.read_text()))
        for path in (TOP / "tests/system").glob("test_*.py"):
            there["system"] |= set(re.findall(r"    def (test_\w+)", path.read_text()))
        rows = [row for row in (TOP / "src/threats.md").read_text().splitlines()
                if row.startswith("| ") and "what comes of it" not in row]
        self.assertGreater(len(rows), 30)
        for row in rows:
            named = re.findall(r"\b(unit|system):(\w+)", row)
            self.assertTrue(named, row)
            for kind, name in named:
                self.assertIn(name, there[kind], row)

    def test_version(self):
        self.assertRegex(vmferry("--version").stdout, r"^vmferry \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
