"""Checks that print a line each and are counted. A failed check never ends a suite."""

import atexit
import contextlib
import os
import sys
import time
import traceback

_passed = 0
_failed = 0


@contextlib.contextmanager
def check(sentence):
    """One thing that must hold; whatever is raised inside is its failure."""
    global _passed, _failed
    try:
        yield
    except Exception as error:
        _failed += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        mine = [
            frame for frame in traceback.extract_tb(error.__traceback__) if "conformance/" in frame.filename
        ]
        line = (mine or [place])[-1]
        reason = str(error).strip() or line.line
        print(
            f"FAILED {sentence}: {type(error).__name__}: {reason} ({line.filename.rsplit('/', 1)[-1]}:{line.lineno})"
        )
    else:
        _passed += 1
        print(f"ok     {sentence}")
    sys.stdout.flush()


def equal(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def eventually(look, seconds=10.0, what="what was waited for"):
    """The first true value of `look`, asked again and again."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)


def end():
    """Ends the suite with the count that the runner reads."""
    print(f"{_passed} passed, {_failed} failed")
    sys.stdout.flush()
    # Not by sys.exit: threads that a kit left behind would be waited for. What is to be closed is closed first.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(1 if _failed else 0)
