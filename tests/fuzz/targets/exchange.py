"""Both halves of a session's opening: keys for what is proved and a point of the curve, else none.

The first byte's bits: 0 which half, the client's or the server's; 1 whether the message is proved;
2 whether its share is that of one. The rest is the message.
"""

from __future__ import annotations

from stiefelsystem.messages import MessageError, Offer, Role
from stiefelsystem.ramdisk.exchange import (
    Client,
    WrongKeyError,
    answer_request,
    read_request,
)
from tests.fuzz.by_hand import (
    PROOF,
    SESSION,
    SHARE_OF_ONE,
    is_point,
    is_signed,
    proof,
    session_keys,
)

CLIENT = Client(SESSION, Offer(Role.SERVER, b"n" * 32, b"c" * 32))


def fuzz(data: bytes) -> bool:
    """Returns whether there are keys."""
    choices, message = data[:1].ljust(1, b"\0")[0], data[1:]
    size, share_at = (167, 70) if choices & 1 else (119, 22)
    before = b"" if choices & 1 else CLIENT.request
    if choices & 4:
        message = message[:share_at] + SHARE_OF_ONE + message[share_at + len(SHARE_OF_ONE) :]
    if choices & 2:
        message = message[:-PROOF]
        message += proof(SESSION, before + message)
    proved = is_signed(SESSION, message, before)
    head = b"STFL\x01\x10" if choices & 1 else b"STFL\x01\x11"
    whole = len(message) == size and message[:6] == head
    share = message[share_at : share_at + len(SHARE_OF_ONE)]
    good = whole and proved and is_point(share)
    try:
        if choices & 1:
            _serve(message)
        else:
            _finish(message)
    except MessageError as error:
        assert not good, "a good message is refused"
        assert isinstance(error, WrongKeyError) == (whole and not proved)
    else:
        assert good, "keys for what is not good"
    return good


def _finish(answer: bytes) -> None:
    """The client's half."""
    keys = CLIENT.finish(answer)
    assert keys.id == answer[6:22]
    if answer[22:87] == SHARE_OF_ONE:
        # The other share's x is that of the client itself.
        expected = session_keys(CLIENT.request, answer, x=CLIENT.request[71:103])
        assert keys[1:] == expected, "other keys than the server's"


def _serve(request: bytes) -> None:
    """The server's half."""
    assert read_request(SESSION, request) == (request[6:38], request[38:70])
    answer, keys = answer_request(SESSION, request)
    assert (len(answer), answer[:22]) == (119, b"STFL\x01\x11" + keys.id)
    assert is_signed(SESSION, answer, before=request)
    if request[70:135] == SHARE_OF_ONE:
        expected = session_keys(request, answer, x=answer[23:55])
        assert keys[1:] == expected, "other keys than the client's"
