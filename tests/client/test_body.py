"""Bodies say who wrote them, and any change to what they say is noticed."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from earwitness.harness.client.body import Body, decode, decode_fields, encode, overhead

numbers = st.integers(0, (1 << 31) - 1)
payload = st.text(max_size=60)


@given(numbers, numbers, st.integers(1, (1 << 32) - 1), st.integers(0, 10**6), st.integers(1, 255), payload)
def test_what_was_encoded_is_decoded(author: int, conv: int, counter: int, proc: int, attempt: int, text: str) -> None:
    """Every field comes back; the proc modulo 256; colons and any other character may be in the payload."""
    body, digest = encode("run1", author, conv, counter, proc, attempt, text)
    assert decode(body) == Body("run1", author, conv, counter, proc % 256, attempt, digest, True)


@given(payload, st.integers(0, 200), st.characters())
@example("hello", 20, "9")
def test_one_changed_character_is_never_sound_with_another_identity(text: str, at: int, other: str) -> None:
    """A changed body is not ours any more, or unsound, or says the same (proc and attempt are not covered)."""
    body, digest = encode("run1", 7, 3, 41, 2, 1, text)
    at %= len(body)
    changed = body[:at] + other + body[at + 1 :]
    found = decode(changed)
    if found is not None and found.sound and changed != body:
        assert (found.tag, found.author, found.conv, found.counter, found.digest) == ("run1", 7, 3, 41, digest)


@given(st.text(max_size=80))
@example("ew1:::::::")
@example("ew1:r:-1:0:1:0.1:0:x")
@example("ew1:r:1:0:0:0.1:0:x")
@example("ew1:r:1:0:4294967296:0.1:0:x")
@example("ew1:r:2147483648:0:1:0.1:0:x")
@example("ew1:r:1:0:1:256.1:0:x")
@example("ew1:r:1:0:1:1.0:0:x")
@example("ew1:r:1:0:1:1:0:x")
@example("ew1:r\ud800:1:0:1:1.1:0:\udfff")
def test_nothing_raises_and_no_number_is_out_of_range(text: str) -> None:
    """Whatever a platform sends, with or without our prefix, it fits the record or is None."""
    for candidate in (text, f"ew1:{text}"):
        found = decode(candidate)
        assert found is None or (
            0 <= found.author < 1 << 31
            and 0 <= found.conv < 1 << 31
            and 0 < found.counter < 1 << 32
            and 0 <= found.proc < 256
            and 0 < found.attempt < 256
        )


def test_a_retry_has_the_same_digest() -> None:
    """proc and attempt are outside the checksum."""
    assert encode("r", 1, 2, 3, 4, 1, "x")[1] == encode("r", 1, 2, 3, 9, 2, "x")[1]


def test_the_plain_tuple_is_the_body() -> None:
    """`decode_fields` is `decode` without the names."""
    body, _ = encode("r", 1, 2, 3, 4, 1, "x")
    assert decode(body) == decode_fields(body)


@given(numbers, numbers, st.integers(1, (1 << 32) - 1), st.integers(0, 10**6), st.integers(1, 255), payload)
def test_the_room_that_a_payload_has(author: int, conv: int, counter: int, proc: int, attempt: int, text: str) -> None:
    """A body is as many bytes longer than its payload as `overhead` says."""
    body, _ = encode("run1", author, conv, counter, proc, attempt, text)
    around = overhead("run1", author, conv, counter, proc, attempt)
    assert len(body.encode("utf-8", "surrogatepass")) == around + len(text.encode("utf-8", "surrogatepass"))
