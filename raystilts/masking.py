"""Takes secrets out of what is shown, logged or written: credentials in addresses, values of environment variables."""

from __future__ import annotations

import os
import re

SHORTEST = 8  # characters; a shorter value would be found in ordinary words
_NAME = re.compile(r"token(?!izers)|secret|passw|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_USER = re.compile(r"(?<=://)(?!anonymous@)[^\s/@]+@")  # Google's way to say that there are no credentials
_OPTION = re.compile(r"([?&][^=&\s]*(?:token|secret|passw|credential|key|sig)[^=&\s]*=)[^&\s#'\"]+", re.IGNORECASE)


def masked(text: str) -> str:
    """The text without secrets: an environment variable's value becomes its name.

    >>> masked("s3://ID:SECRET@bucket/folder?region=eu&session_token=abc")
    's3://***@bucket/folder?region=eu&session_token=***'
    """
    text = _OPTION.sub(r"\1***", _USER.sub("***@", text))
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and value in text and _NAME.search(name):
            text = text.replace(value, f"[{name}]")
    return text
