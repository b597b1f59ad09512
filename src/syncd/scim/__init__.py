"""SCIM 2.0 (RFC 7643, RFC 7644): what a provider sends becomes values and deltas; what is stored becomes answers.

    PATCH      messages.parse_object -> dialects -> messages.patch_operations -> dialects -> members.split_members (groups)
               -> patch.apply_patch
    POST, PUT  messages.parse_object -> dialects -> messages.require_schema -> core.resource.canonical
    GET        messages.parse_query -> dialects -> the store -> projection.project, if asked -> messages.list_response

All of these are pure; discovery.py says of the server what the schemas hold. Routes are the only edge.
"""
