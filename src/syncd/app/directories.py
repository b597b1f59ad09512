"""Sources that are read: from what the file says of them to what reads and maps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property
from typing import TYPE_CHECKING

from syncd.core.types import Types
from syncd.errors import ConfigError
from syncd.ldap.accounts import Rules, condition
from syncd.ldap.config import LdapConfig, SearchConfig
from syncd.ldap.ldif_source import LdifConfig, LdifSource
from syncd.reconcile.mapping import DirectoryMapping, compile_mapping
from syncd.settings import sources as written

if TYPE_CHECKING:
    from syncd.ldap.source import LdapSource


@dataclass(frozen=True)
class Directory:
    """A source that is read whole, ready to be reconciled."""

    config: LdapConfig | LdifConfig
    mapping: DirectoryMapping
    schedule: written.Schedule

    @cached_property
    def source(self) -> LdapSource | LdifSource:
        """One for the life of the process: it remembers its servers. Most commands read none and do without ldap3."""
        if isinstance(self.config, LdifConfig):
            return LdifSource(self.config)
        from syncd.ldap.source import LdapSource  # noqa: PLC0415 - loads ldap3

        return LdapSource(self.config, self.mapping.wanted)


def directory(name: str, source: written.LdapSource | written.LdifSource, types: Types, timezone: tzinfo) -> Directory:
    accounts = _account_rules(source.accounts, timezone)
    if isinstance(source, written.LdifSource):
        mapping = compile_mapping(source.attributes, source.group_attributes, types=types, accounts=accounts)
        file = LdifConfig(
            name=name,
            path=source.path,
            accept_unmarked_files_as_complete=source.accept_unmarked_files_as_complete,
            key_attribute=source.key_attribute,
            canaries=tuple(source.canaries),
        )
        return Directory(file, mapping, source.schedule)
    mapping = compile_mapping(
        source.attributes,
        source.group_attributes,
        nested=source.groups.nested if source.groups else True,
        types=types,
        accounts=accounts,
    )
    config = LdapConfig(
        name=name,
        urls=source.url,
        users=_search(source.users),
        groups=_search(source.groups) if source.groups else None,
        bind_dn=source.bind_dn,
        bind_password=source.bind_password,
        sasl=source.sasl,
        sasl_authzid=source.sasl_authzid,
        starttls=source.starttls,
        ca_file=source.ca_file,
        client_cert_file=source.client_cert_file,
        client_key_file=source.client_key_file,
        tls_do_not_verify_certificates=source.tls_do_not_verify_certificates,
        connect_timeout_s=_seconds(source.connect_timeout.total_seconds()),
        receive_timeout_s=_seconds(source.receive_timeout.total_seconds()),
        deadline_s=_seconds(source.deadline.total_seconds()),
        retries=source.retries,
        page_size=source.page_size,
        canaries=source.canaries,
        key_attribute=source.key_attribute,
        deltas=source.schedule.delta is not None and not (source.groups and source.groups.by),
    )
    problems = config.problems()
    if problems:
        raise ConfigError("; ".join(problems))
    return Directory(config, mapping, source.schedule)


def _account_rules(given: written.Accounts, timezone: tzinfo) -> Rules:
    return Rules(
        flavour=given.flavour,
        ignore=frozenset(name.lower() for name in given.ignore),
        lockout=given.lockout,
        disabled=condition(given.disabled) if given.disabled else None,
        locked=condition(given.locked) if given.locked else None,
        starts_at=given.starts_at,
        ends_at=given.ends_at,
        zone=timezone,
    )


def _search(search: written.UserSearch | written.GroupSearch) -> SearchConfig:
    if isinstance(search, written.GroupSearch):
        return SearchConfig(search.base, search.filter, search.scope, by=search.by, left_out=search.left_out)
    return SearchConfig(search.base, search.filter, search.scope)


def _seconds(seconds: float) -> int:
    return max(1, int(seconds))
