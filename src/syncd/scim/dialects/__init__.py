"""What providers send that RFC 7644 does not have, turned into RFC form before anything else looks at it.

    body -> message_in_rfc_form (PATCH), document_in_rfc_form (POST, PUT) -> messages
    operations -> patch_in_rfc_form -> patch.py        filter -> filter_in_rfc_form -> core/filter.py

tolerance.py says what a tolerance is, bodies.py, operations.py and values.py hold their forms, table.py lists them with the
policies that hold them, reading.py applies the policy of one connection to one request.
"""

from syncd.scim.dialects.reading import (
    document_in_rfc_form,
    filter_in_rfc_form,
    message_in_rfc_form,
    patch_in_rfc_form,
)
from syncd.scim.dialects.table import ALL, DEFAULT, NAMES, POLICIES, PROVIDERS, TOLERANCES, TOLERANT, tolerated
from syncd.scim.dialects.tolerance import Tolerance

__all__ = [
    "ALL",
    "DEFAULT",
    "NAMES",
    "POLICIES",
    "PROVIDERS",
    "TOLERANCES",
    "TOLERANT",
    "Tolerance",
    "document_in_rfc_form",
    "filter_in_rfc_form",
    "message_in_rfc_form",
    "patch_in_rfc_form",
    "tolerated",
]
