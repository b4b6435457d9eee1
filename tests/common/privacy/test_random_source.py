from __future__ import annotations

import copy
import hashlib
import hmac
import os
import pickle
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedward.common.privacy.random_source import RandomSource, RandomStream


def words(source: RandomSource, purpose: str, context: bytes, size: int = 8) -> list[int]:
    return source.stream(purpose=purpose, context=context).uint64(size).tolist()


def test_insecure_stream_is_hkdf_then_aes_ctr() -> None:
    """Recomputes RFC 5869 with hmac, and counter mode block by block."""
    purpose, context = b"noise", b"run 7"
    info = b"".join(len(p).to_bytes(8, "big") + p for p in (purpose, context))
    extracted = hmac.digest(b"fedward/random-source/1", (42).to_bytes(32, "big"), "sha256")
    key = hmac.digest(extracted, info + b"\x01", hashlib.sha256)
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    stream = b"".join(block.update(i.to_bytes(16, "big")) for i in range(4))
    expected = [int.from_bytes(stream[i : i + 8], "little") for i in range(0, 64, 8)]
    assert words(RandomSource.insecure(42), "noise", b"run 7") == expected


def test_insecure_words_are_pinned() -> None:
    """A change here breaks every recorded seeded run."""
    first = words(RandomSource.insecure(0), "noise", b"", 1)
    assert first == words(RandomSource.insecure(0), "noise", b"", 1) == [14578220481528129719]


def test_insecure_does_not_depend_on_order_or_piece_size() -> None:
    source = RandomSource.insecure(5)
    whole = words(source, "a", b"x", 10)
    words(source, "b", b"y")
    stream = source.stream(purpose="a", context=b"x")
    assert [*stream.uint64(3), *stream.uint64(0), *stream.uint64(7)] == whole


@pytest.mark.parametrize("size", [0, 1, 2**14 - 1, 2**14 + 1, 50_000])
def test_an_array_is_filled_with_the_next_words(size: int) -> None:
    source = RandomSource.insecure(5)
    filled = np.ones(size, dtype=np.uint64)
    source.stream(purpose="a", context=b"x").fill(filled)
    assert filled.tolist() == words(source, "a", b"x", size)
    if size:
        plain = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
        stream = RandomStream(key=bytes(32), purpose="a")
        assert stream.uint64(size).tobytes() == plain.update(bytes(8 * size))


@pytest.mark.parametrize(
    "wrong", [np.zeros(8), np.zeros(8, dtype=np.uint64)[::2]], ids=["float", "strided"]
)
def test_another_array_is_not_filled(wrong: NDArray[Any]) -> None:
    stream = RandomSource.insecure(5).stream(purpose="a", context=b"x")
    with pytest.raises(ValueError, match="contiguous"):
        stream.fill(wrong)
    assert not wrong.any()


def test_arguments_cannot_run_into_each_other() -> None:
    source = RandomSource.insecure(1)
    seen = [
        words(source, "ab", b"c"),
        words(source, "a", b"bc"),
        words(source, "abc", b""),
        words(RandomSource.insecure(2), "ab", b"c"),
    ]
    assert len({tuple(s) for s in seen}) == 4


def test_os_streams_never_repeat() -> None:
    source = RandomSource.from_os()
    assert source.is_secure
    assert not RandomSource.insecure(0).is_secure
    assert words(source, "a", b"x") != words(source, "a", b"x")


@pytest.mark.parametrize("seed", [-1, 2**256])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        RandomSource.insecure(seed)


def test_purpose_must_be_given() -> None:
    with pytest.raises(ValueError, match="purpose"):
        RandomSource.from_os().stream(purpose="", context=b"")


def test_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        RandomSource.from_os().stream(purpose="a", context=b"").uint64(-1)


def test_nothing_shows_or_copies_the_key() -> None:
    source = RandomSource.insecure(987654321)
    stream = source.stream(purpose="noise", context=b"")
    assert "987654321" not in repr(source)
    assert repr(stream) == "<RandomStream for noise>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="key"):
            attempt(stream)


def test_a_fork_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RandomSource.from_os().stream(purpose="noise", context=b"")
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.raises(RuntimeError, match="fork"):
        stream.uint64(1)


def test_words_are_uniform() -> None:
    drawn = RandomSource.insecure(3).stream(purpose="a", context=b"").uint64(200_000)
    for shift in (0, 28, 56):
        counts = np.bincount((drawn >> np.uint64(shift)) & np.uint64(255), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.97])
def test_rate_is_kept_and_a_wrong_one_rejected(rate: float) -> None:
    size = 1_000_000
    stream = RandomSource.insecure(11).stream(purpose="sampling", context=b"")
    hits = int(stream.below_rate(size, rate=rate).sum())
    assert stats.binomtest(hits, size, rate).pvalue > 1e-6
    wrong = rate * 1.2 if rate < 0.5 else rate - 0.02
    assert stats.binomtest(hits, size, wrong).pvalue < 1e-6


@given(rate=st.floats(min_value=2.0**-60, max_value=1.0), seed=st.integers(0, 2**32))
def test_coin_is_the_exact_comparison(rate: float, seed: int) -> None:
    source = RandomSource.insecure(seed)
    coins = source.stream(purpose="a", context=b"").below_rate(16, rate=rate)
    numerator, denominator = rate.as_integer_ratio()
    threshold = (numerator << 64) // denominator
    assert coins.tolist() == [w < threshold for w in words(source, "a", b"", 16)]


def test_rate_one_takes_as_many_words() -> None:
    source = RandomSource.insecure(4)
    stream = source.stream(purpose="a", context=b"")
    assert stream.below_rate(5, rate=1.0).all()
    assert stream.uint64(1)[0] == words(source, "a", b"", 6)[5]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_rate_out_of_range(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        RandomSource.from_os().stream(purpose="a", context=b"").below_rate(1, rate=rate)
