"""The control for paged results (RFC 2696) as bytes. Pure."""

from __future__ import annotations

from syncd.ldap import ber

PAGED_RESULTS = "1.2.840.113556.1.4.319"
_CONTROLS = 0xA0


def cookie_of(value: bytes) -> bytes:
    """SEQUENCE {size INTEGER, cookie OCTET STRING} (section 2), and nothing else: an empty one means the end."""
    return _size_and_cookie(value)[1]


def next_page(request: bytes, number: int, cookie: bytes) -> bytes:
    """The message of a paged search again, with this number and this cookie. Raises Malformed if it is none."""
    match ber.elements(request):
        case [(ber.SEQUENCE, message)]:
            match ber.elements(message):
                case [(ber.INTEGER, _), (operation, search), (tag, controls)] if tag == _CONTROLS:
                    again = b"".join(_with_cookie(each, cookie) for _, each in ber.elements(controls))
                    parts = ber.number(number), ber.element(operation, search), ber.element(_CONTROLS, again)
                    return ber.element(ber.SEQUENCE, b"".join(parts))
    raise ber.Malformed("the request is not a search with controls")


def _with_cookie(control: bytes, cookie: bytes) -> bytes:
    name, *others = ber.elements(control)
    if name[1] != PAGED_RESULTS.encode():
        return ber.element(ber.SEQUENCE, control)
    size, _ = _size_and_cookie(others.pop()[1])
    value = ber.element(ber.SEQUENCE, ber.element(ber.INTEGER, size) + ber.element(ber.OCTETS, cookie))
    parts = [name, *others, (ber.OCTETS, value)]
    return ber.element(ber.SEQUENCE, b"".join(ber.element(*each) for each in parts))


def _size_and_cookie(value: bytes) -> tuple[bytes, bytes]:
    match ber.elements(value):
        case [(ber.SEQUENCE, inner)]:
            match ber.elements(inner):
                case [(ber.INTEGER, size), (ber.OCTETS, cookie)]:
                    return size, cookie
    raise ber.Malformed("the paging control is not one")
