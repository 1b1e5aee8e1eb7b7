"""JSON of untrusted files."""

from __future__ import annotations

import json
import re
from typing import Any

from raystilts.readers.rows import OnError

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(text: str, where: str, line: int, on_error: OnError) -> tuple[Any, ...]:
    """(value,) of a JSON text that begins in `line`; () where it is not one that can be used, which is reported.

    Besides what is no JSON that is: arrays within arrays within arrays without end, numbers of thousands of digits, and escaped halves of
    surrogate pairs, which no file can be written with.
    """
    try:
        value = json.loads(text)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        what = f"this is not JSON ({error.msg} at column {error.colno}); is the file complete?"
        on_error(where, line + error.lineno - 1, what)
    except RecursionError:
        on_error(where, line, "this is JSON that is nested too deeply to be read.")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        on_error(where, line + text[: text.lower().find(half)].count("\n"), f"the escape {half} is half a character; write the file again.")
    except ValueError:
        on_error(where, line, "this is JSON with a number that has too many digits to be read.")
    else:
        return (value,)
    return ()
