# SPDX-License-Identifier: Apache-2.0
"""Ruby's own tests (minitest) beside a bus. What is missing on this machine skips the test, with its reason."""
import os
import subprocess
import sys

from tests.clients.nodes import need_program, skip
from tests.support.bus import SRC

GEM = os.path.join(SRC, "clients", "ruby")


def need_ruby(*libraries):
    """Ruby's path, if it is new enough and can load these."""
    ruby = need_program("ruby")
    for condition, reason in [("RUBY_VERSION.to_f >= 3.0", "ruby is older than 3.0")] + [
            (f"begin require '{name}'; true; rescue LoadError; false end", f"Ruby has no {name}") for name in libraries]:
        if subprocess.run([ruby, "-e", f"exit({condition})"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
            skip(reason)
    return ruby


def run_minitest(*files, libraries=()):
    """Runs the files and exits with their result. Arguments are minitest's: -n /name/, --seed 1."""
    ruby = need_ruby("minitest", *libraries)
    load = " ".join(f"load '{os.path.join(GEM, 'test', f)}';" for f in files)
    sys.exit(subprocess.run([ruby, "-I", os.path.join(GEM, "lib"), "-e", load, "--", *sys.argv[1:]], check=False).returncode)
