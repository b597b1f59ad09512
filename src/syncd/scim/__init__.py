"""SCIM 2.0 (RFC 7643, RFC 7644): what a provider sends becomes values and deltas; what is stored becomes answers.

    PATCH      messages.parse_patch -> dialects.patch_in_rfc_form -> members.split_members (groups) -> patch.apply_patch
    POST, PUT  messages.parse_resource -> dialects.document_in_rfc_form -> messages.require_schema -> core.resource.canonical
    GET        messages.parse_query -> the store -> projection.project, if asked -> messages.list_response

All of these are pure; discovery.py says of the server what the schemas hold. Routes are the only edge.
"""
