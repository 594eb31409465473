"""One line for each section of checks: ok and how many, or which failed."""

import sys


class Report:
    """Collects checks by section and prints each section when it is over."""

    def __init__(self):
        self.title, self.passed, self.faults, self.failed = None, 0, [], False

    def section(self, title):
        """Ends the section before, and begins another one."""
        self._flush()
        self.title = title

    def check(self, what, holds):
        """Notes that `what` holds, or that it does not."""
        if holds:
            self.passed += 1
        elif what not in self.faults:
            self.faults.append(what)

    def _flush(self):
        if self.title is None:
            return
        # A section in which nothing was looked at proves nothing.
        if self.faults or not self.passed:
            self.failed = True
            print(f"FAILED  {self.title}")
            for fault in self.faults or ["there was nothing to look at"]:
                print(f"        not so: {fault}")
        else:
            print(f"ok      {self.title} ({self.passed})")
        self.passed, self.faults = 0, []

    def end(self):
        """Prints the last section and ends the program."""
        self._flush()
        sys.exit(1 if self.failed else 0)
