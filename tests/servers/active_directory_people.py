"""Fills a domain that was just provisioned: people, groups and the account that syncd reads with. Run by /usr/bin/python3.

active_directory_people.py SMB_CONF READER_PASSWORD < COMPANY

COMPANY is LDIF change records of more people, who are nobody's business here.
"""

import sys

from ldb import SCOPE_BASE, SCOPE_SUBTREE
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB
from samba.sd_utils import SDUtils

BASE = "DC=ad,DC=example,DC=org"
ENABLED, DISABLED = 0x220, 0x222  # normal account, no password required; ACCOUNTDISABLE
DIRSYNC, TOMBSTONES = "syncd-dirsync", "syncd-tombstones"  # accounts that read with a right more than `syncd`
REPLICATING_CHANGES = "1131f6aa-9c07-11d1-f79f-00c04fc2dcd2"  # DS-Replication-Get-Changes
BIG = 1505  # members of the group that comes in ranges


def person(name: str, given: str, surname: str, control: int = ENABLED, **more: str) -> str:
    said = {
        "sAMAccountName": name,
        "userPrincipalName": f"{name}@ad.example.org",
        "givenName": given,
        "sn": surname,
        "mail": f"{name}@example.org",
        "userAccountControl": str(control),
        **more,
    }
    return entry(f"CN={given} {surname},OU=People,{BASE}", "user", **said)


def group(name: str, *members: str, **more: str) -> str:
    lines = "".join(f"member: {each}\n" for each in members)
    return entry(f"CN={name},OU=Groups,{BASE}", "group", sAMAccountName=name, **more).rstrip("\n") + f"\n{lines}\n"


def entry(dn: str, kind: str, **said: str) -> str:
    return f"dn: {dn}\nobjectClass: {kind}\n" + "".join(f"{k}: {v}\n" for k, v in said.items()) + "\n"


def people() -> str:
    return "".join(
        (
            person("alice", "Alice", "Archer"),
            person("bob", "Bob", "Baker", DISABLED),
            person("carol", "Carol", "Carter", accountExpires="135540000000000000"),
            person("dora", "Dora", "Dean", accountExpires="133801632000000000"),
            person("erin", "Erin", "Ellis"),
            person("frank", "Frank", "Fisher", pwdLastSet="0"),
            person("grace", "Grace", "Green"),
        )
    )


def cn(name: str) -> str:
    given, _, surname = name.partition(" ")
    return f"CN={given} {surname},OU=People,{BASE}"


def named(group: str) -> str:
    return f"CN={group},OU=Groups,{BASE}"


def groups() -> str:
    return "".join(
        (
            group("emea-sales", cn("Alice Archer")),
            group("sales", named("emea-sales"), cn("Carol Carter")),
            group("crm-admins", named("sales")),
            group("ring-a", cn("Erin Ellis")),
            group("ring-b", named("ring-a"), cn("Frank Fisher")),
            group("staff", cn("Grace Green")),
            group("everything", cn("Alice Archer"), *(f"CN=thing {n:04},OU=Things,{BASE}" for n in range(BIG - 1))),
        )
    )


def main(smb_conf: str, password: str, company: str) -> None:
    lp = LoadParm()
    lp.load(smb_conf)
    db = SamDB(session_info=system_session(), lp=lp)
    db.transaction_start()
    db.add_ldif(
        "".join(entry(f"OU={name},{BASE}", "organizationalUnit") for name in ("People", "Groups", "Services", "Things"))
    )
    # Anything may be a member; containers are made in a tenth of the time that accounts take.
    db.add_ldif("".join(entry(f"CN=thing {n:04},OU=Things,{BASE}", "container") for n in range(BIG - 1)))
    db.add_ldif(people() + groups())
    db.modify_ldif(
        f"dn: CN=ring-a,OU=Groups,{BASE}\nchangetype: modify\nadd: member\nmember: CN=ring-b,OU=Groups,{BASE}\n"
    )
    # Whose primary group is not Domain Users: she is no `member` of it any more.
    (found,) = db.search(f"CN=staff,OU=Groups,{BASE}", SCOPE_BASE, attrs=["objectSid"])
    sid = ndr_unpack(security.dom_sid, found["objectSid"][0])
    rid = str(sid).rpartition("-")[2]
    db.modify_ldif(f"dn: {cn('Grace Green')}\nchangetype: modify\nreplace: primaryGroupID\nprimaryGroupID: {rid}\n")
    db.modify_ldif(
        f"dn: {BASE}\nchangetype: modify\nreplace: lockoutThreshold\nlockoutThreshold: 3\n"
        "replace: pwdProperties\npwdProperties: 0\n"
    )
    db.add_ldif(entry(f"CN=syncd,OU=Services,{BASE}", "user", sAMAccountName="syncd"))
    db.setpassword("(sAMAccountName=syncd)", password)
    db.setpassword("(sAMAccountName=erin)", "Erin-password-1")
    db.enable_account("(sAMAccountName=syncd)")
    db.modify_ldif(company)
    db.transaction_commit()
    for name in (DIRSYNC, TOMBSTONES):
        db.add_ldif(entry(f"CN={name},OU=Services,{BASE}", "user", sAMAccountName=name))
        db.setpassword(f"(sAMAccountName={name})", password)
        db.enable_account(f"(sAMAccountName={name})")
    rights = SDUtils(db)
    rights.dacl_add_ace(BASE, f"(OA;;CR;{REPLICATING_CHANGES};;{sid_of(db, DIRSYNC)})")
    deleted = f"CN=Deleted Objects,{BASE}"
    (found,) = db.search(deleted, SCOPE_BASE, attrs=["nTSecurityDescriptor"], controls=["show_deleted:1"])
    said = ndr_unpack(security.descriptor, found["nTSecurityDescriptor"][0])
    text = said.as_sddl(security.dom_sid(db.get_domain_sid()))
    first, _, rest = text.partition("(A;")
    granted = "".join(f"(A;CI;RPLC;;;{sid_of(db, name)})" for name in (DIRSYNC, TOMBSTONES))
    more = f"{first}{granted}(A;{rest}"
    rights.modify_sd_on_dn(deleted, more, controls=["show_deleted:1", "sd_flags:1:4"])


def sid_of(db: SamDB, name: str) -> str:
    (found,) = db.search(BASE, SCOPE_SUBTREE, f"(sAMAccountName={name})", attrs=["objectSid"])
    return str(ndr_unpack(security.dom_sid, found["objectSid"][0]))


if __name__ == "__main__":
    main(*sys.argv[1:], sys.stdin.read())
