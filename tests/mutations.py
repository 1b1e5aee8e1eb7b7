"""Files that are almost valid: a seeded mutator of bytes, fast enough for a million inputs."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

TOKENS = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\t", b",", b" ", b"\0", b'"', b"'", b"\\", b"#", b"_", b":", b"|", b"-", b"1-2", b"2-1", b"5.1"),
    *(b"{", b"}", b"[", b"]", b"{}", b"[]", b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1", b"1e999", b"0.5", b"99999999999"),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1c", b"\x0b", b"\x1b[2J"),
    *("é".encode(), "e\u0301".encode(), "\u202eabc".encode(), "٣".encode(), "²".encode(), "𝟚".encode(), "\u200c".encode()),
    *(b"\\u0000", b"\\ud800", b"\\udfff", b"\\ud83d\\ude00", b"\\n", b"\\u2028"),
    *(b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"x" * 140_000),
)  # fmt: skip
RARE = 4
"""The last tokens are long: they are inserted seldom, or nothing else would be tried."""


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds after one to six changes: bytes, pieces, lines are replaced, removed, doubled, moved, joined with another's."""
    content = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 6)):
        start = random.randint(0, len(content))
        stop = min(len(content), start + random.choice((0, 1, 2, 8, 40)))
        change = random.randrange(8)
        if change == 0 and content:
            content[min(start, len(content) - 1)] = random.randrange(256)
        elif change == 1:
            del content[start:stop]
        elif change == 2:
            content[start:stop] = content[start:stop] * 2
        elif change == 3:
            del content[start:]
        elif change == 4:
            lines = content.split(b"\n")
            random.shuffle(lines)
            content = bytearray(b"\n".join(lines))
        elif change == 5:
            other = random.choice(seeds)
            content[start:stop] = other[random.randint(0, len(other)) :]
        else:
            content[start:stop] = random.choice(TOKENS if random.random() < 0.02 else TOKENS[:-RARE])
    return bytes(content)
