"""A file system that fails and dawdles at random, for Ray's workers: Python imports this by itself where its folder is on PYTHONPATH.

The first log of a training cannot be opened in any case, so that at least one fault is where it costs a try.
"""

import errno
import os
import sys

if any("default_worker.py" in argument for argument in sys.orig_argv) and "FLAKY_BELOW" in os.environ:
    import builtins
    import io
    import random
    import time

    BELOW = os.environ["FLAKY_BELOW"]
    FAULTS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
    RATE = 0.004
    chance = random.Random(f"{os.environ['FLAKY_SEED']} {os.getpid()}")  # noqa: S311  no secret

    def flaky(function):
        """The function, which fails now and then before it does anything, where its first argument is a path below the store."""

        def call(path, *arguments, **options):
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(BELOW):
                drawn = chance.random()
                sure = os.fspath(path).endswith("log.jsonl") and not exists(os.environ["FLAKY_LOG"] + ".sure")
                if sure:
                    os.close(opened(os.environ["FLAKY_LOG"] + ".sure", os.O_WRONLY | os.O_CREAT))
                if drawn < RATE or sure:
                    number = chance.choice(FAULTS)
                    with os.fdopen(opened(os.environ["FLAKY_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as log:
                        log.write(f"{function.__name__} {errno.errorcode[number]} {path}\n")
                    raise OSError(number, os.strerror(number), os.fspath(path))
                if drawn < 3 * RATE:
                    time.sleep(0.05)
            return function(path, *arguments, **options)

        return call

    exists, opened = os.path.exists, os.open
    for name in ("open", "stat", "mkdir", "rename", "replace", "unlink", "rmdir", "listdir", "scandir"):
        setattr(os, name, flaky(getattr(os, name)))
    io.open = builtins.open = flaky(io.open)
