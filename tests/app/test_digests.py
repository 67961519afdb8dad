"""The digests are the standard library's."""

from __future__ import annotations

import hashlib
import hmac
import threading

import pytest

from app.digests import PIECE, SHORT, Hmac, sha256

SIZES = [0, 1, 63, 64, 65, PIECE, PIECE + 1, 5_500, SHORT, SHORT + 1, 1_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_digests_of_every_size_are_the_standard_ones(size: int) -> None:
    message = bytes(number % 251 for number in range(size))
    assert sha256(message) == hashlib.sha256(message).hexdigest()
    for key in (b"", b"k", b"k" * 32, b"k" * 64, b"k" * 65, b"k" * 200):
        assert Hmac(key).hexdigest(message) == hmac.digest(key, message, "sha256").hex()


def test_one_key_serves_many_threads() -> None:
    made, wrong = Hmac(b"key"), []

    def work(number: int) -> None:
        for i in range(500):
            message = b"%d.%d" % (number, i) * 400
            if made.hexdigest(message) != hmac.digest(b"key", message, "sha256").hex():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
